"""What reading patches costs, in time and in memory of the process, beside mapping the shards, in one run.

    .venv/bin/python benchmarks/reading.py --patches 20000
    .venv/bin/python benchmarks/reading.py --patches 262144 --sparse --train b2

Batches of 32 and of 128 patches of PCam's size are taken at random places. `first` is the first pass over all patches,
when the system has them in its memory and the process has not seen them; `again` a later pass: both in time of the
processor. `from disk` is a pass over some that the system does not have, in real time. Sparse patches are zeros that
take no disk, so that there is nothing to tell of it.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

SHAPE, BATCHES, PASSES = (96, 96, 3), (32, 128), 3


class Mapped:
    """Patches as they are read by NumPy from mapped shards, each with its check."""

    def __init__(self, folder: Path) -> None:
        from histobench.core.prepared import Split, shard_names

        frame = np.dtype([("length", "<u8"), ("length_crc", "<u4"), ("image", "u1", SHAPE), ("image_crc", "<u4")])
        self.shards = [np.memmap(folder / name, frame, mode="r")["image"] for name in shard_names("train")]
        self.checksums = Split(folder, "train").checksums.tolist()

    def take(self, positions: Any) -> Any:
        """Return the patches at these positions."""
        from isal import isal_zlib

        result = np.empty((len(positions), *SHAPE), np.uint8)
        for row, position in enumerate(positions):
            result[row] = self.shards[position % len(self.shards)][position // len(self.shards)]
            assert isal_zlib.crc32(result[row]) == self.checksums[position]
        return result


def opened(folder: Path, how: str) -> Any:
    """Return the training part, read or mapped."""
    from histobench.core.prepared import Records

    return Mapped(folder) if how == "mapped" else Records(folder, "train")


def microseconds(part: Any, order: Any, batch: int, clock: Callable[[], float] = time.process_time) -> float:
    """Take all batches; return what a patch takes."""
    start = clock()
    for first in range(0, len(order), batch):
        part.take(order[first : first + batch])
    return (clock() - start) / len(order) * 1e6


def read_through(folder: Path) -> None:
    """Read all shards, so that the system has them in its memory."""
    block = bytearray(1 << 20)
    for path in folder.glob("*.tfrecord"):
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def reading(folder: Path, how: str, patches: int, cold: bool) -> tuple[dict[str, float], float]:
    """Return microseconds per patch, and how much memory of the process reading took in MiB."""
    order = np.random.default_rng(1).permutation(patches)
    taken = {}
    if cold and hasattr(os, "posix_fadvise"):
        for path in folder.glob("*.tfrecord"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        some = order[: max(1, patches // 8)]
        taken["from disk"] = microseconds(opened(folder, how), some, BATCHES[0], time.perf_counter)
    read_through(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = opened(folder, how)
    taken["first"] = microseconds(part, order, BATCHES[0])
    for batch in BATCHES:
        taken[f"again, by {batch}"] = min(microseconds(part, order, batch) for _ in range(PASSES))
    return taken, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def train(folder: Path, model: str, target: Path) -> tuple[float, float]:
    """Train one epoch on all patches; return seconds and the peak memory of the process in MiB."""
    from histobench.core.job import Task
    from histobench.train import run
    from support import small

    start = time.perf_counter()
    spec = small.specification(model, "full", side=SHAPE[0], epochs=1, batch_size=32)
    run.train(Task(spec, folder, threads=2), target)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_sparse(folder: Path, counts: dict[str, int]) -> None:
    """Write a data set of black patches whose shards take no disk."""
    import pandas as pd
    from isal import isal_zlib

    from histobench.core import prepared
    from histobench.core.files import digest, write_sealed

    folder.mkdir()
    size = int(np.prod(SHAPE))
    parts = []
    for split, n in counts.items():
        known = {"split": split, "patch_id": [f"{split}-{number}" for number in range(n)], "group": ""}
        parts.append(pd.DataFrame(known | {"label": np.arange(n) % 2, "crc32": isal_zlib.crc32(bytes(size))}))
        for number, name in enumerate(names := prepared.shard_names(split)):
            with (folder / name).open("wb") as file:
                file.truncate(len(range(number, n, len(names))) * (size + prepared.BEFORE_IMAGE + prepared.AFTER_IMAGE))
    pd.concat(parts).to_parquet(folder / "index.parquet")
    about = {"shape": SHAPE, "patches_sha256": "", "index_sha256": digest(folder / "index.parquet")}
    write_sealed(folder / "manifest.json", about)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=20_000, help="for training")
    parser.add_argument("--sparse", action="store_true", help="black patches that take no disk")
    parser.add_argument("--train", metavar="MODEL", help="also train this model for an epoch")
    given = parser.parse_args()
    counts = {"train": given.patches, "valid": 32, "test": 32}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "data")
        if given.sparse:
            write_sparse(folder, counts)
        else:
            from support import small

            small.prepare(folder, counts, SHAPE, size=256)
        results = {}
        for how in ("read", "mapped"):
            results[how], memory = common.measure(reading, folder, how, given.patches, not given.sparse)
            told = ", ".join(f"{what} {taken:.1f}" for what, taken in results[how].items())
            print(f"{how:6}: {told} us/patch; memory of the process {memory:.0f} MiB", flush=True)
        for what, taken in results["read"].items():
            print(f"{what}: reading takes {taken / results['mapped'][what]:.2f} of the time of mapping")
        if given.train:
            seconds, peak = common.measure(train, folder, given.train, Path(name, "run"))
            print(f"{given.train}: an epoch of {given.patches} patches in {seconds:.0f} s, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
