"""What cached features save: transfer learning on them, extraction included, beside end to end, in one run.

    .venv/bin/python benchmarks/transfer.py --models mobilenet inceptionv3

The patches are made up, the backbone's weights random with calibrated batch norm, read from a file as ImageNet's
would be: neither changes what a step costs. Every job is a process of its own, as in the workflow; its seconds are told
with and without the import of TensorFlow.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import common

from histobench.core.job import Task
from support import small

SIDE = 96  # of PCam's patches


def job(what: str, model: str, data: Path, folder: Path, epochs: int, threads: int) -> dict[str, float]:
    """Extract "features", or train on them ("cached") or "end_to_end", in this process; return its seconds."""
    started = time.perf_counter()
    from histobench.train import extract, run

    imported = time.perf_counter()
    weights = None if what == "cached" else folder / "backbone.weights.h5"
    if what == "features":
        spec = small.features_specification(model, side=SIDE)
        extract.extract(Task(spec, data, weights=weights, threads=threads), folder / what)
    else:
        spec = small.specification(model, "tl", side=SIDE, epochs=epochs, batch_size=32, transfer=what)
        features = folder / "features" if what == "cached" else None
        run.train(Task(spec, data, features, weights, threads=threads), folder / what)
    return {"import": imported - started, "work": time.perf_counter() - imported}


def write_weights(model: str, data: Path, path: Path) -> None:
    """Write a weights file of a random backbone with calibrated batch norm."""
    from histobench.core.prepared import Records
    from histobench.train import batch_norm, models

    spec = small.features_specification(model, side=SIDE)
    backbone = models.backbone(spec["model"], models.input_shape(spec["input"]), seed=2)
    batch_norm.calibrate(backbone, Records(data, "train"), spec["input"])
    backbone.save_weights(path)


def compare(model: str, data: Path, folder: Path, epochs: int, threads: int) -> None:
    """Measure both ways for one model and print what the one saves."""
    folder.mkdir()
    write_weights(model, data, folder / "backbone.weights.h5")
    seconds = {}
    for what in ("features", "cached", "end_to_end"):
        seconds[what] = common.measure(job, what, model, data, folder, epochs, threads)
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
    arguments = parser.parse_args()
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ.update(dict.fromkeys(threads, str(arguments.threads)))
    few = arguments.patches // 8
    counts = {"train": arguments.patches, "valid": few, "test": min(few, 32)}  # end to end asks for no test patches
    with tempfile.TemporaryDirectory() as folder:
        data = small.prepare(Path(folder, "data"), counts, (SIDE, SIDE, 3))
        for model in arguments.models:
            compare(model, data, Path(folder, model), arguments.epochs, arguments.threads)


if __name__ == "__main__":
    main()
