"""What cached features save: transfer learning on them, extraction included, beside end to end, in one run.

    .venv/bin/python benchmarks/transfer.py --models mobilenet inceptionv3

The patches are simulated, the backbone's weights random with calibrated batch norm, read from a file as ImageNet's
would be: neither changes what a step costs. Every job is a process of its own, as in the workflow; its seconds are told
with and without the import of TensorFlow.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

EPOCHS, BATCH_SIZE, SIDE = 15, 32, 96


def prepare(folder: Path, train: int) -> Path:
    """Prepare simulated patches: an eighth of the training patches for validation, as in PCam, and a few to test."""
    from histobench import datasets
    from histobench.datasets import simulated
    from histobench.datasets.published import PCAM_FILES
    from histobench.study import Dataset, Source
    from histobench.train import records

    counts = {"train": train, "valid": train // 8, "test": 32}
    simulated.write_pcam(folder / "source", counts, {"train": 40, "valid": 10, "test": 10}, seed=1)
    source = Source("pcam", "pcam", str(folder / "source"), PCAM_FILES, counts, SIDE, "simulated", None)
    about = {"dataset": "pcam", "format": "pcam", "patches_are": "simulated", "split": "published", "leaky": False}
    dataset, tally = Dataset("pcam", source, "published"), datasets.Tally()
    records.write(folder / "data", datasets.read(dataset, Path(), tally), tally, about)
    return folder / "data"


def specification(model: str, transfer: str) -> dict[str, Any]:
    """Return the specification of a run by the paper's protocol; for "features" and "weights", of cached features."""
    from histobench.catalogue import CATALOGUE

    image = {"preprocessing": "unit", "side": SIDE}
    spec: dict[str, Any] = {
        "model": {"key": model, "application": CATALOGUE[model].application, "weights_origin": "random"}
    }
    if transfer in ("features", "weights"):
        cell = {"dataset": "pcam", "model": model, "scaling": "paper", "device": "cpu"}
        return spec | {"features": cell, "input": image}
    return spec | {
        "run": {"dataset": "pcam", "model": model, "mode": "tl", "recipe": "paper", "device": "cpu", "seed": 1},
        "recipe": {
            "epochs": EPOCHS,
            "batch_size": BATCH_SIZE,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "input_scaling": "paper",
            "best_epoch": "val_accuracy",
            "transfer": transfer,
        },
        "input": None if transfer == "cached" else image,
    }


def write_weights(model: str, data: Path, path: Path) -> None:
    """Write a weights file of a random backbone with calibrated batch norm."""
    from histobench.datasets.prepared import Records
    from histobench.train import calibration, models

    spec = specification(model, "features")
    backbone = models.backbone(spec["model"], models.input_shape(spec["input"]), seed=2)
    calibration.calibrate(backbone, Records(data, "train"), spec["input"])
    backbone.save_weights(path)


def job(what: str, model: str, data: Path, folder: Path, threads: int) -> None:
    """Do one job in this process and print its seconds."""
    import os

    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)),
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="-1",
        KERAS_BACKEND="tensorflow",
    )
    started = time.perf_counter()
    from histobench.train import extract, run

    imported = time.perf_counter()
    weights = folder / f"{model}.weights.h5"
    common: dict[str, Any] = {
        "spec": specification(model, what), "data": data, "weights": None if what == "cached" else weights,
        "code": "", "threads": threads, "gpu_model": "",
    }  # fmt: skip
    if what == "weights":
        folder.mkdir()
        write_weights(model, data, weights)
    elif what == "features":
        extract.extract(folder=folder / what, **common)
    else:
        run.train(folder=folder / what, features=folder / "features" if what == "cached" else None, **common)
    print(json.dumps({"import": imported - started, "work": time.perf_counter() - imported}))


def measure(what: str, model: str, data: Path, folder: Path, threads: int) -> dict[str, float]:
    """Do one job in a process of its own."""
    command = [sys.executable, __file__, "--job", what, model, str(data), str(folder), "--threads", str(threads)]
    seconds: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    )
    print(f"{model}, {what}: {seconds['work']:.1f} s, and {seconds['import']:.1f} s to import", flush=True)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mobilenet", "inceptionv3"])
    parser.add_argument("--patches", type=int, default=4096, help="for training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        what, model, data, folder = arguments.job
        job(what, model, Path(data), Path(folder), arguments.threads)
        return

    with tempfile.TemporaryDirectory() as temporary:
        data = prepare(Path(temporary), arguments.patches)
        for model in arguments.models:
            folder = Path(temporary) / model
            measure("weights", model, data, folder, arguments.threads)
            seconds = {
                what: measure(what, model, data, folder, arguments.threads)
                for what in ("features", "cached", "end_to_end")
            }
            equal = (folder / "cached/history.csv").read_bytes() == (folder / "end_to_end/history.csv").read_bytes()
            cached = [sum(seconds[what][part] for what in ("features", "cached")) for part in ("work", "import")]
            whole = [seconds["end_to_end"][part] for part in ("work", "import")]
            print(
                f"{model}: end to end takes {whole[0] / cached[0]:.1f} times as long as on cached features, extraction "
                f"included; {sum(whole) / sum(cached):.1f} times with the imports; histories equal: {equal}",
                flush=True,
            )


if __name__ == "__main__":
    main()
