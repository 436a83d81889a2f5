"""What preparing PCam costs: patches per second, peak memory and its slope, beside a plain script, in one run.

    .venv/bin/python benchmarks/prepare.py --patches 40000

The patches are simulated. The plain script does what most do: gunzip with Python's gzip, read all patches into memory,
write TFRecords. Each way has a process of its own: memory is its peak resident set, TensorFlow included; time is
without the import of TensorFlow.
"""

import argparse
import json
import resource
import tempfile
import time
from importlib import import_module
from pathlib import Path

import common


def counts(n: int) -> dict[str, int]:
    """Return PCam's proportions: 80 % training, 10 % validation, 10 % test."""
    return {"train": n - 2 * (n // 10), "valid": n // 10, "test": n // 10}


def plain(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Prepare as a plain script does."""
    import gzip

    import h5py
    import tensorflow as tf

    target.mkdir()
    for split in counts:
        name = f"camelyonpatch_level_2_split_{split}"
        with (
            h5py.File(gzip.open(source / f"{name}_x.h5.gz")) as x,
            h5py.File(gzip.open(source / f"{name}_y.h5.gz")) as y,
        ):
            images, labels = x["x"][()], y["y"][()].ravel()
        with tf.io.TFRecordWriter(str(target / f"{split}.tfrecord")) as writer:
            for image, label in zip(images, labels, strict=True):
                writer.write(bytes([label]) + image.tobytes())


WAYS = {"ours": common.prepare, "plain": plain}


def sizes(n: int) -> tuple[int, int]:
    """Return of how many patches the costs are measured."""
    return n // 4, n


def job(how: str, folder: Path, n: int) -> None:
    """Prepare all sizes in this process, the smaller first since a peak only grows, and print what each cost."""
    import_module("tensorflow")  # both need it, and it takes as long for a few patches as for all
    measured = []
    for size in sizes(n):
        start = time.perf_counter()
        WAYS[how](folder / str(size), folder / f"{how}-{size}", counts(size))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        measured.append({"seconds": seconds, "peak": peak})
    print(json.dumps(measured))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=40_000, help="in all; a quarter of them is measured, too")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n = arguments.patches
    if arguments.job:
        how, folder = arguments.job
        job(how, Path(folder), n)
        return

    few, all_of_them = sizes(n)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes(n):
            print(f"simulating {size} patches", flush=True)
            common.simulate(Path(folder, str(size)), counts(size))
        for how in WAYS:
            measured = common.measure(how, folder)
            for size, result in zip(sizes(n), measured, strict=True):
                speed = size / result["seconds"]
                print(f"{how:6} {size:7} patches: {speed:7.0f} patches/s, peak {result['peak']:6.0f} MiB", flush=True)
            slope = (measured[1]["peak"] - measured[0]["peak"]) * 2**20 / (all_of_them - few)
            print(f"{how:6} peak memory grows by {slope:.0f} bytes per patch")
            seconds[how] = measured[1]["seconds"]
    print(f"ours takes {seconds['ours'] / seconds['plain']:.2f} of the plain script's time")


if __name__ == "__main__":
    main()
