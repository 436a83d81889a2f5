"""What the audit of a data set costs, in time and in memory of the process, at several sizes, with the slope.

    .venv/bin/python benchmarks/audit.py --patches 10000 20000 40000

Simulated patches of PCam's size, a tenth of them equal to others when turned and a hundredth shifted by a few pixels.
What grows with the square of their number, the comparison of hashes, is measured for as many as PCam has.
`plain` finds equal ones by eight digests of every patch and similar ones by comparing the difference hashes of all
patches with each other, on the smallest size; it finds no shifted ones.
"""

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd

TURNED, SHIFTED = 10, 100
SLIDES = 40


def chunks(n: int) -> Iterator[tuple[str, range]]:
    """Yield the numbers of the patches of each chunk, with their part: four fifths are for training."""
    from histobench.core.datasets import CHUNK

    ends = {"train": range(4 * n // 5), "valid": range(4 * n // 5, 9 * n // 10), "test": range(9 * n // 10, n)}
    for split, numbers in ends.items():
        for start in range(0, len(numbers), CHUNK):
            yield split, numbers[start : start + CHUNK]


def planted(numbers: range) -> tuple[range, range]:
    """Return the places in a chunk of patches that are turned copies, and shifted ones, of those before them."""
    return range(TURNED, len(numbers), TURNED), range(SHIFTED - 5, len(numbers), SHIFTED)


def simulated(n: int) -> Iterator[Any]:
    """Yield chunks of patches, as `prepare` gets them."""
    from histobench.core.datasets import Patches
    from histobench.core.simulation import PCAM, draw_style, pcam_patch
    from histobench.results.duplicates import TURNS
    from support.planted import shifted, turn

    styles = [draw_style(np.random.default_rng([1, slide]), PCAM) for slide in range(SLIDES)]
    rng = np.random.default_rng(0)
    for split, numbers in chunks(n):
        images = np.stack(
            [pcam_patch(np.random.default_rng([2, i]), styles[i // 2 % SLIDES], i % 2)[0] for i in numbers]
        )
        copies, moved = planted(numbers)
        for place in copies:
            images[place] = turn(images[place - 1], int(rng.integers(TURNS)))
        for place in moved:
            images[place] = turn(shifted(images[place - 1], 3, -2), int(rng.integers(TURNS)))
        labels = np.array([i % 2 for i in numbers], np.uint8)
        ids, groups = [f"{split}-{i}" for i in numbers], [f"{split}-{i % SLIDES}" for i in numbers]
        yield Patches(split, images, labels, ids, groups, np.full((len(images), 2), -1, np.int32))


def prepare(folder: Path, n: int) -> None:
    """Write the records."""
    from support import small

    small.write(folder, simulated(n))


def audit(folder: Path) -> tuple[float, float, int, int]:
    """Audit them; return seconds of the processor, peak memory in MiB, and how many copies and pairs were found."""
    from histobench.results import audit

    start = time.process_time()
    audit.write(folder, 1)
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, copies, near = audit.read([folder / name for name in audit.AUDIT_FILES])
    return seconds, peak / 1024, int(copies.duplicated("same").sum()), len(near)


def plain(folder: Path) -> float:
    """Find equal patches by eight digests of each, and similar ones by all pairs; return seconds of the processor."""
    from histobench.results.audit import Parts
    from histobench.results.duplicates import TURNS
    from support.planted import turn

    start = time.process_time()
    parts, digests, hashes = Parts(folder), [], []
    edges = np.linspace(0, 96, 10).astype(int)
    for numbers in np.array_split(np.arange(len(parts.rows)), max(1, len(parts.rows) // 256)):
        images = parts.take(numbers)
        digests += [min(sha256(turn(image, way).tobytes()).digest() for way in range(TURNS)) for image in images]
        cells = np.add.reduceat(
            np.add.reduceat(images[..., 1].astype(np.int32), edges[:-1], axis=1), edges[:-1], axis=2
        )
        bits = np.packbits((np.diff(cells[:, :8], axis=2) > 0).reshape(len(images), 64), axis=1)
        hashes.append(bits.view(np.uint64)[:, 0])
    every = np.concatenate(hashes)
    for number, each in enumerate(every):
        np.flatnonzero(np.bitwise_count(every[number + 1 :] ^ each) <= 3)
    return time.process_time() - start


def comparing(folder: Path, n: int) -> float:
    """Compare hashes of as many patches as PCam has, drawn band by band from those of these; return seconds."""
    from histobench.results import duplicates
    from histobench.results.audit import Parts

    parts, rng = Parts(folder), np.random.default_rng(0)
    numbers = np.arange(min(len(parts.rows), 2000))
    known = pd.concat(
        [
            duplicates.windows(parts.take(some)[..., 1], some)
            for some in np.array_split(numbers, 1 + len(numbers) // 256)
        ]
    )
    drawn = known.sample(n * len(known) // len(numbers), replace=True, random_state=0)
    drawn["patch"] = np.sort(rng.integers(0, n, len(drawn))).astype(np.int32)
    hashes, bits = known["hash"].to_numpy(), np.uint64(duplicates.BITS)
    drawn["hash"] = np.uint64(0)
    for _ in range(duplicates.BANDS):
        drawn["hash"] = (drawn["hash"].to_numpy() << bits) | (
            rng.choice(hashes, len(drawn)) & ((np.uint64(1) << bits) - 1)
        )
        hashes = hashes >> bits
    start = time.process_time()
    duplicates.by_hash(drawn, parts.take(numbers[:1]).shape[1], {})
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--patches", type=int, nargs="+", default=[10_000, 20_000, 40_000], help="sizes, the least first"
    )
    parser.add_argument("--whole", type=int, default=327_680, help="patches to extrapolate to")
    given = parser.parse_args()
    sizes = given.patches
    taken = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            common.measure(prepare, folder := Path(name, "data"), n)
            seconds, memory, copies, pairs = common.measure(audit, folder)
            taken.append((n, seconds, memory))
            expected = np.sum([[len(places) for places in planted(numbers)] for _, numbers in chunks(n)], axis=0)
            print(
                f"{n:,} patches: {seconds:.1f} s of the processor, {1e6 * seconds / n:.0f} us/patch, "
                f"peak memory {memory:.0f} MiB; "
                f"found {copies} of {expected[0]} copies, {pairs} of {expected[1]} shifted",
                flush=True,
            )
            if n == sizes[0]:
                ratio = seconds / common.measure(plain, folder)
                print(f"{n:,} patches: the audit takes {ratio:.2f} of the plain way's time")
                seconds = common.measure(comparing, folder, given.whole)
                print(f"hashes of {given.whole:,} patches are compared in {seconds:.1f} s")
    for (fewer, seconds, memory), (more, longer, larger) in itertools.pairwise(taken):
        slope, growth = (longer - seconds) / (more - fewer), (larger - memory) / (more - fewer)
        print(
            f"from {fewer:,} to {more:,}: {1e6 * slope:.0f} us and {1024 * growth:.2f} kB more for each patch; "
            f"for {given.whole:,} at that slope {(longer + slope * (given.whole - more)) / 60:.1f} min, "
            f"{larger + growth * (given.whole - more):.0f} MiB"
        )


if __name__ == "__main__":
    main()
