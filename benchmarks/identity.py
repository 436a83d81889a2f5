"""What it costs to know data by their content: looks at a folder of small files, and checks of what is read.

    .venv/bin/python benchmarks/identity.py --files 100000 --patches 20000

The files are of random bytes, 6 kB each, as PNG patches of IDC are. They have just been written and lie in the system's
memory: a disk's time comes on top. The patches are of PCam's size.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
from isal import isal_zlib

from histobench.core import prepared, source_files

FILE_BYTES, IN_A_FOLDER = 6000, 5000
BATCH, REPEATS = 32, 5


def write_files(folder: Path, number: int) -> None:
    """Write files of different content."""
    content = np.random.default_rng(1).bytes(FILE_BYTES)
    for each in range(number):
        place = folder / str(each // IN_A_FOLDER)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{each}.png").write_bytes(content + each.to_bytes(8))


def seconds(job: Callable[[], Any]) -> float:
    """Return what a call takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def looks(folder: Path, number: int) -> None:
    """Print the seconds of a first and of a second look at a folder."""
    write_files(folder / "patches", number)
    time.sleep(source_files.RACY / 1e9)  # until the files count as settled
    first, second = (
        seconds(lambda: source_files.content(folder / "patches", folder / "cache.json", print)) for _ in range(2)
    )
    size = (folder / "cache.json").stat().st_size / 1e6
    print(f"{number} files: first look {first:.2f} s, second {second:.2f} s, {second / first:.2f} of the first's time")
    print(f"the cache of digests takes {size:.1f} MB")


def records(folder: Path, number: int) -> None:
    """Print the ratio of reading patches with and without the check of every patch, and what digests cost."""
    from support.small import prepare

    prepare(folder, {"train": number, "valid": 4, "test": 4}, shape=(96, 96, 3), size=256)
    part = prepared.Records(folder, "train")
    order = np.random.default_rng(1).permutation(number)

    def read() -> None:
        for start in range(0, number, BATCH):
            part.take(order[start : start + BATCH])

    read()
    times: dict[str, list[float]] = {"with": [], "without": []}
    checksum = isal_zlib.crc32
    for _ in range(REPEATS):
        times["with"].append(seconds(read))
        known, part.checksums = part.checksums, np.zeros(number, np.uint32)
        isal_zlib.crc32 = lambda _: 0
        times["without"].append(seconds(read))
        isal_zlib.crc32, part.checksums = checksum, known
    checked, unchecked = (min(each) / number * 1e6 for each in times.values())
    print(f"a patch of 96 px: {checked:.1f} us with its check, {unchecked:.1f} us without")
    print(f"reading with checks takes {checked / unchecked:.2f} of the time without")
    data = np.random.default_rng(1).bytes(1 << 28)
    per_gb = min(seconds(lambda: hashlib.sha256(data)) for _ in range(REPEATS)) / len(data) * 1e9
    print(f"a sha256, as of features, weights and source files: {per_gb:.2f} s per GB")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="in the folder that is looked at")
    parser.add_argument("--patches", type=int, default=20_000, help="in the data set that is read")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        looks(Path(folder, "looks"), given.files)
        common.measure(records, Path(folder, "records"), given.patches)


if __name__ == "__main__":
    main()
