"""Jobs as processes of their own, to be killed: ``python -m support.jobs train|extract|tune DATA FOLDER JSON``."""

import json
import os
import sys
from pathlib import Path

os.environ.update(TF_NUM_INTRAOP_THREADS="2", TF_NUM_INTEROP_THREADS="2", OMP_NUM_THREADS="2")
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")


def train(data: Path, folder: Path, spec: dict, features: str | None = None, code: str = "c") -> None:
    from histobench.train import predict, run

    common = {"spec": spec, "data": data, "features": Path(features) if features else None}
    run.train(**common, weights=None, folder=folder, code=code, threads=2, card="")
    predict.predict(**common, weights=folder / "best.weights.h5", output=folder / "predictions.csv", card="")


def extract(
    data: Path, folder: Path, spec: dict, chunk: int = 2048, weights: str | None = None, code: str = "c"
) -> None:
    from histobench.train import extract

    common = {"spec": spec, "data": data, "weights": Path(weights) if weights else None, "folder": folder}
    extract.extract(**common, code=code, threads=2, card="", chunk=chunk)


def tune(
    data: Path,
    folder: Path,
    spec: dict,
    features: str | None = None,
    code: str = "c",
    worker: int = 1,
    workers: int = 1,
) -> None:
    from histobench.train import search

    parts = {"data": data, "features": Path(features) if features else None, "weights": None}
    numbers = {"threads": 2, "worker": worker, "workers": workers}
    search.search(spec=spec, **parts, folder=folder, code=code, card="", **numbers)


if __name__ == "__main__":
    job, data, folder, arguments = sys.argv[1:]
    {"train": train, "extract": extract, "tune": tune}[job](Path(data), Path(folder), **json.loads(arguments))
