"""What preparing PCam costs: patches per second, peak memory and its slope, beside a plain script, in one run.

    .venv/bin/python benchmarks/prepare.py --patches 40000

The patches are simulated. The plain script does what most do: gunzip with Python's gzip, read all patches into memory,
write TFRecords. Memory is the peak resident set of a process of its own, TensorFlow included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))


def counts(n: int) -> dict[str, int]:
    """Return PCam's proportions: 80 % training, 10 % validation, 10 % test."""
    return {"train": n - 2 * (n // 10), "valid": n // 10, "test": n // 10}


def ours(source: Path, target: Path, n: int) -> None:
    """Prepare as the workflow does."""
    from histobench import datasets
    from histobench.datasets.published import PCAM_FILES
    from histobench.study import Dataset, Source
    from histobench.train import records

    upstream = Source("pcam", "pcam", str(source), PCAM_FILES, counts(n), 96, "simulated", None)
    dataset, tally = Dataset("pcam", upstream, "published"), datasets.Tally()
    about = {"dataset": "pcam", "format": "pcam", "patches_are": "simulated", "split": "published", "leaky": False}
    records.write(target, datasets.read(dataset, Path(), tally), tally, about)


def plain(source: Path, target: Path, n: int) -> None:
    """Prepare as a plain script does."""
    import gzip

    import h5py
    import tensorflow as tf

    target.mkdir()
    for split in counts(n):
        name = f"camelyonpatch_level_2_split_{split}"
        with (
            h5py.File(gzip.open(source / f"{name}_x.h5.gz")) as x,
            h5py.File(gzip.open(source / f"{name}_y.h5.gz")) as y,
        ):
            images, labels = x["x"][()], y["y"][()].ravel()
        with tf.io.TFRecordWriter(str(target / f"{split}.tfrecord")) as writer:
            for image, label in zip(images, labels, strict=True):
                writer.write(bytes([label]) + image.tobytes())


def measure(how: str, source: Path, n: int, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--run", how, str(source), str(folder / f"{how}-{n}"), "--patches", str(n)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=40_000)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n = arguments.patches
    if arguments.run:
        how, source, target = arguments.run
        start = time.perf_counter()
        {"ours": ours, "plain": plain}[how](Path(source), Path(target), n)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}))
        return

    from histobench.datasets import simulated

    with tempfile.TemporaryDirectory() as temporary:
        folder, result = Path(temporary), {}
        for size in (n // 4, n):
            source = folder / str(size)
            print(f"simulating {size} patches", flush=True)
            simulated.write_pcam(source, counts(size), {"train": 40, "valid": 10, "test": 10}, seed=1)
            for how in ("ours", "plain"):
                result[how, size] = measure(how, source, size, folder)
                seconds, peak = result[how, size].values()
                print(f"{how:6} {size:7} patches: {size / seconds:7.0f} patches/s, peak {peak:6.0f} MiB", flush=True)
        for how in ("ours", "plain"):
            slope = (result[how, n]["peak_mib"] - result[how, n // 4]["peak_mib"]) * 2**20 / (n - n // 4)
            print(f"{how:6} peak memory grows by {slope:.0f} bytes per patch")
        print(
            f"ours takes {result['ours', n]['seconds'] / result['plain', n]['seconds']:.2f} of the plain script's time"
        )


if __name__ == "__main__":
    main()
