"""How cost grows: seconds and memory of all that keeps a row per patch, on ten million of them, beside plain ways.

    .venv/bin/python benchmarks/scale.py --rows 10000000

Rows are real, pixels sparse: a patch is a single pixel, and four patches in five are for training. Each step is a
process of its own, whose memory is its peak resident set, libraries included; seconds are told as they pass and as the
processor counts them, which says more on a busy machine. The plain ways are those that most
scripts take: a set of names, tables read whole, a weight per patch and resample.
"""

import argparse
import hashlib
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np

CHUNK = 256
OF_A_SLIDE = 20_000
SHUFFLES = 50
FEW = 20  # resamples of the plain bootstrap, which would take an hour for all


Step = tuple[str, float, float, float]
"""What was done, in how many seconds, of which the processor's, and the peak memory of the process in MiB."""


class Clock:
    """Tells what was done since it was made or asked."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def lap(self, what: str) -> Step:
        """Return a step and start anew."""
        (start, used), self.start = self.start, (time.perf_counter(), time.process_time())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return what, self.start[0] - start, self.start[1] - used, memory


def counts(rows: int) -> dict[str, int]:
    """Return the numbers of patches: 80 % training, 10 % validation, 10 % test."""
    return {"train": rows - 2 * (rows // 10), "valid": rows // 10, "test": rows // 10}


def patches(rows: int) -> Iterator[Any]:
    """Yield patches of one pixel by slide."""
    from histobench.core.datasets import Patches

    rng = np.random.default_rng(1)
    for split, n in counts(rows).items():
        for start in range(0, n, CHUNK):
            numbers = range(start, min(start + CHUNK, n))
            slides = [f"{split}-{number // OF_A_SLIDE:05d}" for number in numbers]
            ids = [f"{slide}__{number:08d}.png" for slide, number in zip(slides, numbers, strict=True)]
            labels = rng.integers(0, 2, len(ids), dtype=np.uint8)
            labels[:2] = 0, 1
            images = rng.integers(0, 256, (len(ids), 1, 1, 3), dtype=np.uint8)
            yield Patches(split, images, labels, ids, slides, np.full((len(ids), 2), -1, np.int32))


def prepare(folder: Path, rows: int) -> list[Step]:
    """Write the data set."""
    from histobench.core.datasets import Tally
    from histobench.train import records

    steps: list[Step] = []
    clock = Clock()

    def noted() -> Iterator[Any]:
        yield from patches(rows)
        steps.append(clock.lap("prepare: writing, a pixel each"))

    records.write(folder, noted(), Tally(), {"dataset": "many"})
    return [*steps, clock.lap("prepare: bookkeeping")]


def prepare_plainly(folder: Path, rows: int) -> list[Step]:
    """Look for names that come twice, and compute the digest, in tables held whole."""
    import pandas as pd

    clock = Clock()
    index = pd.read_parquet(folder / "index.parquet")
    seen: set[str] = set()
    for start in range(0, rows, CHUNK):
        some = index["patch_id"].iloc[start : start + CHUNK].tolist()
        assert not seen.intersection(some)
        seen.update(some)
    hashlib.sha256(index.to_csv(index=False).encode()).hexdigest()
    return [clock.lap("prepare: bookkeeping, plainly")]


def opening(folder: Path, _rows: int) -> list[Step]:
    """Open the training patches, order an epoch, and read some in that order."""
    from histobench.core.prepared import Records
    from histobench.train.batches import order

    clock = Clock()
    part = Records(folder, "train")
    steps = [clock.lap("opening the training part")]
    positions = order(len(part), 1, 1)
    steps.append(clock.lap("ordering an epoch"))
    part.take(positions[:32])
    return steps


def opening_plainly(folder: Path, rows: int) -> list[Step]:
    """Read the index whole, texts and checksums as lists."""
    import pandas as pd

    clock = Clock()
    index = pd.read_parquet(folder / "index.parquet", columns=["split", "patch_id", "group", "label", "crc32"])
    index = index[index["split"] == "train"]
    lists = [index[name].tolist() for name in ("patch_id", "group", "crc32")]
    assert len(lists[0]) == counts(rows)["train"]
    return [clock.lap("opening the training part, plainly")]


def predictions(folder: Path, rows: int) -> list[Step]:
    """Write predictions of as many patches as there are, half for validation, half test."""
    from histobench.core import prepared, runs

    clock = Clock()
    part = prepared.Split(folder, "train")
    names, groups = part.ids, part.groups
    steps = [clock.lap("names and groups of the training part")]
    rng = np.random.default_rng(2)

    def of(split: str, n: int) -> Iterator[tuple[str, str, str, int, str]]:
        labels = np.arange(n) % 2
        scores = (1 / (1 + np.exp(-rng.normal(2 * labels - 1, 2)))).astype(np.float32)
        known = (itertools.islice(itertools.cycle(each), n) for each in (names, groups))
        for number, (name, group, label, score) in enumerate(
            zip(*known, labels.tolist(), map(str, scores), strict=True)
        ):
            # Patches stand once, also where there are more than for training.
            yield split, name if number < len(names) else f"{name}-{number}", group, label, score

    half = rows // 2
    runs.write_predictions(folder / "predictions.csv", itertools.chain(of("valid", half), of("test", half)))
    return [*steps, clock.lap(f"writing {2 * half:,} predictions")]


def evaluating(folder: Path, rows: int) -> list[Step]:
    """Evaluate these predictions, and the metrics of the bootstrap again by patch on as many as a test part has."""
    from histobench.results import evaluation, metrics
    from histobench.results.bootstrap import RESAMPLES

    clock = Clock()
    evaluation.write(folder / "predictions.csv", folder / "metrics.json", folder / "bootstrap.csv")
    steps = [clock.lap(f"evaluating them, {RESAMPLES} resamples of slides")]
    test = evaluation.read(folder / "predictions.csv")[: rows // 10]
    clock = Clock()
    metrics._bootstrap(test, np.arange(len(test)), RESAMPLES, seed=0)
    return [*steps, clock.lap(f"{RESAMPLES} resamples of {len(test):,} single patches")]


def resampling(_folder: Path, rows: int) -> list[Step]:
    """Compute the AUC of a few resamples of slides, of as many patches as a test part has."""
    from histobench.results import metrics

    labels, scores, units = scored(rows)
    wins, drawn = metrics._Wins(labels, scores, units), np.ones(units.max() + 1, np.int64)
    clock = Clock()
    for _ in range(FEW):
        wins.count(drawn)
    return [clock.lap(f"the AUC of {FEW} resamples of {len(labels):,} patches")]


def resampling_plainly(_folder: Path, rows: int) -> list[Step]:
    """Do the same by a weight for each patch."""
    from sklearn.metrics import roc_auc_score

    labels, scores, units = scored(rows)
    drawn = np.ones(units.max() + 1, np.int64)
    clock = Clock()
    for _ in range(FEW):
        roc_auc_score(labels, scores, sample_weight=drawn[units])
    return [clock.lap("the same AUCs, plainly")]


def scored(rows: int) -> tuple[Any, Any, Any]:
    """Return labels, scores and slides of a test part."""
    rng = np.random.default_rng(3)
    labels = np.arange(rows // 10) % 2
    return labels, rng.normal(labels, 1), np.arange(len(labels)) // max(1, len(labels) // 500)


def controls(folder: Path, _rows: int) -> list[Step]:
    """Compute both controls of the data set."""
    from histobench.core import prepared
    from histobench.core.runs import write_predictions
    from histobench.results import controls

    clock = Clock()
    index = prepared.index(folder, controls.COLUMNS)
    floor = controls.colour_floor(index)
    write_predictions(folder / "floor.csv", floor.itertuples(index=False, name=None))
    steps = [clock.lap("the floor of colour")]
    controls.shuffled_labels(index, shuffles=SHUFFLES)
    return [*steps, clock.lap(f"{SHUFFLES} of 200 shuffles")]


def surest_errors(folder: Path, _rows: int) -> list[Step]:
    """Find the surest errors of a run."""
    import pandas as pd

    from histobench.results import figure_data

    clock = Clock()
    figure_data.surest_errors(pd.DataFrame({"valid_auc": [0.5], "folder": [str(folder)]}), 6)
    return [clock.lap("the surest errors")]


STEPS: list[Callable[[Path, int], list[Step]]] = [
    *(prepare, prepare_plainly, opening, opening_plainly, predictions, evaluating, resampling, resampling_plainly),
    *(controls, surest_errors),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="patches in all")
    rows = parser.parse_args().rows
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "many")
        for step in STEPS:
            for what, seconds, used, memory in common.measure(step, folder, rows):
                measured[what] = used
                print(f"{what:50} {seconds:8.2f} s, of the processor {used:8.2f} s, peak {memory:6.0f} MiB", flush=True)
    for what in ("prepare: bookkeeping", "opening the training part"):
        print(f"{what} takes {measured[what] / measured[f'{what}, plainly']:.2f} of the plain way's time")
    ours = next(seconds for what, seconds in measured.items() if what.startswith("the AUC of"))
    print(f"the AUC of resamples takes {ours / measured['the same AUCs, plainly']:.3f} of the plain way's time")


if __name__ == "__main__":
    main()
