"""What cached features save: transfer learning on them, extraction included, beside end to end, in one run.

    .venv/bin/python benchmarks/transfer.py --models mobilenet inceptionv3

The patches are simulated, the backbone's weights random with calibrated batch norm, read from a file as ImageNet's
would be: neither changes what a step costs. Every job is a process of its own, as in the workflow; its seconds are told
with and without the import of TensorFlow.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import common

BATCH_SIZE = 32
IMAGE = {"preprocessing": "unit", "side": common.PCAM.patch_size}


def model_specification(model: str) -> dict[str, Any]:
    """Return what a specification says of a model with random weights."""
    from histobench.core.catalogue import CATALOGUE

    return {"key": model, "application": CATALOGUE[model].application, "weights_origin": "random"}


def specification(what: str, model: str, epochs: int) -> dict[str, Any]:
    """Return the specification of cached features, or of a run by the paper's protocol, "cached" or "end_to_end"."""
    if what == "features":
        cell = {"dataset": "pcam", "model": model, "scaling": "paper", "device": "cpu"}
        return {"features": cell, "model": model_specification(model), "input": IMAGE}
    return {
        "run": {"dataset": "pcam", "model": model, "mode": "tl", "recipe": "paper", "device": "cpu", "seed": 1},
        "model": model_specification(model),
        "recipe": {
            "epochs": epochs,
            "batch_size": BATCH_SIZE,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "input_scaling": "paper",
            "best_epoch": "val_accuracy",
            "transfer": what,
        },
        "input": None if what == "cached" else IMAGE,
    }


def write_weights(model: str, data: Path, path: Path) -> None:
    """Write a weights file of a random backbone with calibrated batch norm."""
    from histobench.core.prepared import Records
    from histobench.train import calibration, models

    backbone = models.backbone(model_specification(model), models.input_shape(IMAGE), seed=2)
    calibration.calibrate(backbone, Records(data, "train"), IMAGE)
    backbone.save_weights(path)


def job(what: str, model: str, data: Path, folder: Path, epochs: int, threads: int) -> None:
    """Do one job in this process and print its seconds."""
    started = time.perf_counter()
    from histobench.train import extract, run

    imported = time.perf_counter()
    shared: dict[str, Any] = {
        "spec": specification(what, model, epochs), "data": data, "folder": folder / what,
        "weights": None if what == "cached" else folder / "backbone.weights.h5",
        "code": "", "threads": threads, "card": "",
    }  # fmt: skip
    if what == "features":
        extract.extract(**shared)
    else:
        run.train(**shared, features=folder / "features" if what == "cached" else None)
    print(json.dumps({"import": imported - started, "work": time.perf_counter() - imported}))


def compare(model: str, data: Path, folder: Path) -> None:
    """Measure both ways for one model and print what the one saves."""
    folder.mkdir()
    write_weights(model, data, folder / "backbone.weights.h5")
    seconds = {}
    for what in ("features", "cached", "end_to_end"):
        seconds[what] = common.measure(what, model, data, folder)
        print(
            f"{model}, {what}: {seconds[what]['work']:.1f} s, and {seconds[what]['import']:.1f} s to import", flush=True
        )
    equal = (folder / "cached/history.csv").read_bytes() == (folder / "end_to_end/history.csv").read_bytes()
    cached = [sum(seconds[what][part] for what in ("features", "cached")) for part in ("work", "import")]
    whole = [seconds["end_to_end"][part] for part in ("work", "import")]
    print(
        f"{model}: end to end takes {whole[0] / cached[0]:.2f} times as long as on cached features, extraction "
        f"included; {sum(whole) / sum(cached):.2f} times with the imports; histories equal: {equal}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mobilenet", "inceptionv3"])
    parser.add_argument("--patches", type=int, default=4096, help="for training; an eighth as many for validation")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(arguments.threads))
    )
    if arguments.job:
        what, model, data, folder = arguments.job
        job(what, model, Path(data), Path(folder), arguments.epochs, arguments.threads)
        return

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        few = arguments.patches // 8
        counts = {"train": arguments.patches, "valid": few, "test": min(few, 32)}  # end to end asks for no test patches
        common.simulate(folder / "source", counts)
        common.prepare(folder / "source", folder / "data", counts)
        for model in arguments.models:
            compare(model, folder / "data", folder / model)


if __name__ == "__main__":
    main()
