"""What preparing PCam costs: patches per second, peak memory and its slope, beside two other ways, in one run.

    .venv/bin/python benchmarks/prepare.py --patches 40000

The patches are simulated. `serial` does the same without the thread that reads ahead. The plain script does what most
do: gunzip with Python's gzip, read all patches into memory, write TFRecords. Each way has a process of its own: memory
is its peak resident set, TensorFlow included; time is without the import of TensorFlow.
"""

import argparse
import resource
import tempfile
import time
from importlib import import_module
from pathlib import Path

import common

from histobench.core.formats import FORMATS, Dataset, Source

PCAM = FORMATS["pcam"]


def counts(n: int) -> dict[str, int]:
    """Return PCam's proportions: 80 % training, 10 % validation, 10 % test."""
    return {"train": n - 2 * (n // 10), "valid": n // 10, "test": n // 10}


def simulate(folder: Path, counts: dict[str, int]) -> None:
    """Write simulated patches as PCam's files, of at most 40 slides in a split."""
    from histobench.core import simulation

    slides = {split: min(40, n // 2) for split, n in counts.items()}
    simulation.write_pcam(folder, counts, slides, seed=1)


def ours(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Prepare as the workflow does."""
    from histobench.core import datasets
    from histobench.train import records

    upstream = Source("pcam", "pcam", str(source), PCAM.files, counts, PCAM.shares, PCAM.patch_size, "simulated")
    dataset, tally = Dataset("pcam", upstream, "published"), datasets.Tally()
    about = {"dataset": "pcam", "format": "pcam", "patches_are": "simulated", "split": "published", "leaky": False}
    records.write(target, datasets.read(dataset, tally), tally, about)


def serial(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Prepare as the workflow does, reading and writing by turns."""
    from histobench.train import records

    records._ahead = lambda items: items
    ours(source, target, counts)


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


WAYS = {"ours": ours, "serial": serial, "plain": plain}


def job(how: str, folder: Path, sizes: list[int]) -> list[tuple[float, float]]:
    """Prepare all sizes in this process, and return seconds and peak in MiB of each.

    The smaller come first, since a peak only grows.
    """
    import_module("tensorflow")  # both need it, and it takes as long for a few patches as for all
    measured = []
    for size in sizes:
        start = time.perf_counter()
        WAYS[how](folder / str(size), folder / f"{how}-{size}", counts(size))
        seconds = time.perf_counter() - start
        measured.append((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    return measured


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=40_000, help="in all; a quarter of them is measured, too")
    n = parser.parse_args().patches
    sizes, seconds = [n // 4, n], {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            print(f"simulating {size} patches", flush=True)
            simulate(Path(folder, str(size)), counts(size))
        for how in WAYS:
            measured = common.measure(job, how, Path(folder), sizes)
            for size, (taken, peak) in zip(sizes, measured, strict=True):
                print(f"{how:6} {size:7} patches: {size / taken:7.0f} patches/s, peak {peak:6.0f} MiB", flush=True)
            (_, low), (seconds[how], high) = measured
            slope = (high - low) * 2**20 / (n - n // 4)
            print(f"{how:6} peak memory grows by {slope:.0f} bytes per patch")
    print(f"ours takes {seconds['ours'] / seconds['plain']:.2f} of the plain script's time")
    print(f"ours takes {seconds['ours'] / seconds['serial']:.2f} of the time without reading ahead")


if __name__ == "__main__":
    main()
