"""Expected seconds of the jobs of a study, and the minutes to ask a scheduler for.

The unit of cost is a forward pass over one patch; `Costs.passes` counts those of an epoch. The seconds of a pass follow
from Table 2 of Bonnet 2024 (arXiv:2108.13661) for the cells printed there, and are estimated from these for all others.
Such estimates can be wrong by factors: for B2 and B6 on the paper's cards, they are two to five times too high.
"""

import math
import statistics
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from histobench.core import paths, recipes, runs
from histobench.core.cells import Cell
from histobench.core.errors import HistobenchError
from histobench.core.formats import FORMATS, Dataset
from histobench.core.modes import MODES
from histobench.core.prepared import manifest
from histobench.core.study import Study
from histobench.tuning import search_settings

TABLE_2 = Path(__file__).parents[4] / "config" / "paper" / "table2.csv"
# Table 2 was measured on PCam by the paper's recipe.
PAPER_SIDE, PAPER_BATCH = FORMATS["pcam"].patch_size, 32
# Cells that Table 2 lacks are estimated from these: its only model with a backbone, and its newest card.
REFERENCE_MODEL, REFERENCE_DEVICE = "inceptionv3", "a100"

# Multiply-adds of a forward pass of the whole model over a patch of 96 px, as histobench.train.model_size counts them.
MULTIPLY_ADDS = {
    "b2": 149_520_640, "b6": 257_678_976, "inceptionv3": 339_373_664, "vgg19": 3_583_312_128,
    "resnet50": 708_755_712, "mobilenet": 104_536_832, "densenet121": 520_634_624, "densenet169": 617_234_688,
    "densenet201": 788_349_184, "efficientnetv2b0": 132_828_192, "efficientnetv2b1": 187_657_248,
    "efficientnetv2b2": 216_035_056, "p4m": 968_897_430, "z2": 120_706_950,
}  # fmt: skip
# Passes that training on a patch costs: one forward, and one backward each for the gradients of inputs and of weights.
# So counted, InceptionV3 in modes "full" and "tl" of Table 2 has the same seconds of a pass on each card, to 5 %.
TRAINING_PASSES = 3
# Seconds of a multiply-add on two cores: measured 1.3e-11 (B2) to 2.3e-11 (MobileNet), B6 and InceptionV3 in between,
# over epochs of 384 simulated patches of 96 px. An estimate.
CPU_SECONDS = 2e-11
# Seconds of a step of a head on cached features, in batches of 32: measured 1 to 2.5 ms on 1,024 and 2,048 features.
HEAD_STEP_SECONDS = 2e-3
# Seconds in which nearest neighbours compare two patches: on two cores measured 6e-8 to 9e-8, by 1,024 and by 2,048
# features. On a card, whose part takes little beside reading and sorting, an estimate.
PAIR_SECONDS, CARD_PAIR_SECONDS = 7.5e-8, 1e-8
# Seconds before the first step of a job: measured on two cores, 5 for the import of TensorFlow and 1 (B2) to 124
# (DenseNet201) for building a CNN and tracing its first step.
START_UP = 60.0
# The same for a trial's head on cached features, without the import. An estimate.
HEAD_START_UP = 2.0
# Time limits are the expected time multiplied by this: a job that is cut off has to queue again, while a limit that is
# too high costs only a later place in the queue.
MARGIN = 3
SHORTEST, STEP = 30, 10  # minutes


class Estimate(NamedTuple):
    """Expected seconds, and their origin: "measured", "published" (Table 2) or "estimated"."""

    seconds: float
    origin: str


class Learned(NamedTuple):
    """Measured seconds of finished jobs, besides those of epochs.

    Attributes
    ----------
    start : of a run, all but its epochs, by model, mode and device.
    predict : of predictions, by cell.
    extract : of extractions, by data set, model, scaling and device.
    """

    start: Mapping[tuple[str, str, str], float] = MappingProxyType({})
    predict: Mapping[Cell, float] = MappingProxyType({})
    extract: Mapping[tuple[str, str, str, str], float] = MappingProxyType({})


class Costs:
    """Costs of the jobs of a study.

    The Snakefile uses it for every job. So it reads no run folders, and time limits do not depend on measured seconds.

    Parameters
    ----------
    study : to which the jobs belong.
    measured : seconds of an epoch of the cells where they were measured, see :func:`measured`.
    learned : what else was measured, see :func:`histobench.core.usage.learned`.
    """

    def __init__(
        self, study: Study, measured: Mapping[Cell, float] | None = None, learned: Learned | None = None
    ) -> None:
        self._study, self._measured, self._learned = study, measured or {}, learned or Learned()
        self._published = _table_2()
        self._cards = {device for device, _, _ in self._published}
        self._patches = {name: patches(dataset) for name, dataset in study.datasets.items()}

    def epoch(self, cell: Cell) -> Estimate:
        """Return the seconds of an epoch, training and validation, on average over the epochs of the recipe."""
        if (measured := self._measured.get(cell)) is not None:
            return Estimate(measured, "measured")
        settings = self._study.recipes[cell.recipe]
        if "knn" in settings:
            return Estimate(self._neighbours(cell, "valid"), "estimated")
        if self._study.cached(cell.mode, cell.recipe):
            steps = math.ceil(sum(self._covered(cell)) / settings["batch_size"])
            return Estimate(steps * HEAD_STEP_SECONDS, "estimated")
        seconds, origin = self._pass(cell.model, cell.mode, cell.device)
        side = self._study.input(cell.dataset, cell.model, recipes.scaling(settings))["side"]
        others = {key for key in ("precision", "jit_compile", "augmentation") if settings.get(key)}
        if others or settings["batch_size"] != PAPER_BATCH:  # the steps differ from the paper's
            origin = "estimated"
        return Estimate(self.passes(cell) * seconds * _area(side), origin)

    def passes(self, cell: Cell) -> float:
        """Return the number of forward passes over a patch in an epoch, on average over the epochs of the recipe."""
        train, valid = self._covered(cell)
        settings = self._study.recipes[cell.recipe]
        # Fraction of the epochs in which the backbone is trained.
        trained = 1 - MODES[cell.mode].frozen_epochs(settings) / recipes.epochs(settings)
        return train * (1 + (TRAINING_PASSES - 1) * trained) + valid

    def train(self, cell: Cell) -> Estimate:
        """Return the seconds of a run."""
        seconds, origin = self.epoch(cell)
        return Estimate(self._start(cell) + recipes.epochs(self._study.recipes[cell.recipe]) * seconds, origin)

    def tune(self, cell: Cell) -> Estimate:
        """Return the seconds of the search of a recipe, all its jobs together."""
        seconds, origin = self.epoch(cell)
        trials, epochs = search_settings.budget(self._study.recipes[cell.recipe]["search"])
        build = HEAD_START_UP if self._study.cached(cell.mode, cell.recipe) else START_UP
        return Estimate(trials * build + epochs * seconds, origin)

    def tune_job(self, cell: Cell) -> Estimate:
        """Return the seconds of each job of the search of a recipe."""
        seconds, origin = self.tune(cell)
        workers = search_settings.workers(self._study.recipes[cell.recipe]["search"])
        return Estimate(START_UP + seconds / workers, origin)

    def predict(self, cell: Cell) -> Estimate:
        """Return the seconds of a prediction: one pass over validation and test patches, or over their features."""
        if (measured := self._learned.predict.get(cell)) is not None:
            return Estimate(measured, "measured")
        if "knn" in self._study.recipes[cell.recipe]:
            return Estimate(self._start(cell) + self._neighbours(cell, "valid", "test"), "estimated")
        seconds, origin = self.epoch(cell)
        if self._study.cached(cell.mode, cell.recipe):
            return Estimate(self._start(cell), origin)
        scored = self._patches[cell.dataset]["valid"] + self._patches[cell.dataset]["test"]
        return Estimate(self._start(cell) + seconds / self.passes(cell) * scored, origin)

    def predict_turned(self, cell: Cell) -> Estimate:
        """Return the seconds of a prediction that passes over each patch in its eight flips and turns."""
        seconds, origin = self.predict(cell)
        return Estimate(self._start(cell) + 8 * max(0.0, seconds - self._start(cell)), origin)

    def predict_external(self, cell: Cell, dataset: str) -> Estimate:
        """Return the seconds of a prediction of the test patches of another data set."""
        seconds, _ = self._pass(cell.model, cell.mode, cell.device)
        side = self._study.input(cell.dataset, cell.model, recipes.scaling(self._study.recipes[cell.recipe]))["side"]
        counts = self._patches[dataset]
        scored = counts["test"] if "test" in counts else sum(counts.values())
        return Estimate(self._start(cell) + scored * seconds * _area(side), "estimated")

    def extract(self, dataset: str, model: str, scaling: str, device: str) -> Estimate:
        """Return the seconds of the extraction of a backbone's features: one pass over all patches."""
        if (measured := self._learned.extract.get((dataset, model, scaling, device))) is not None:
            return Estimate(measured, "measured")
        seconds, origin = self._pass(model, "tl", device)
        side = self._study.input(dataset, model, scaling)["side"]
        return Estimate(START_UP + sum(self._patches[dataset].values()) * seconds * _area(side), origin)

    def _start(self, cell: Cell) -> float:
        """Return the seconds before the first step of a run."""
        return self._learned.start.get((cell.model, cell.mode, cell.device), START_UP)

    def _neighbours(self, cell: Cell, *parts: str) -> float:
        """Return the seconds in which the nearest training patches of the patches of some parts are found."""
        counts, on_card = self._patches[cell.dataset], "gpu_model" in self._study.devices[cell.device]
        each = CARD_PAIR_SECONDS if on_card else PAIR_SECONDS
        return counts["train"] * sum(counts[part] for part in parts) * each

    def _covered(self, cell: Cell) -> tuple[int, int]:
        """Return the number of patches of an epoch, in training and in validation."""
        counts, settings = self._patches[cell.dataset], self._study.recipes[cell.recipe]
        batch = settings["batch_size"]
        train = min(counts["train"], settings.get("steps_per_epoch", math.inf) * batch)
        return int(train), int(min(counts["valid"], settings.get("validation_steps", math.inf) * batch))

    def _pass(self, model: str, mode: str, device: str) -> Estimate:
        """Return the seconds of a forward pass over one patch of 96 px, within an epoch of this mode."""
        multiply_adds = MULTIPLY_ADDS.get(model, MULTIPLY_ADDS[REFERENCE_MODEL])
        properties = self._study.devices[device]
        if "gpu_model" not in properties:
            return Estimate(multiply_adds * CPU_SECONDS, "estimated")
        # The modes of Table 2. Fine-tuning has no row of its own, but passes like those of "full".
        steps = "tl" if MODES[mode].cacheable else "full"
        if (device, model, steps) in self._published:
            origin = "estimated" if MODES[mode].unfreezes else "published"
            return Estimate(self._published[device, model, steps], origin)
        card, faster = device, 1.0
        if device not in self._cards:
            card = REFERENCE_DEVICE
            reference = self._study.devices.get(REFERENCE_DEVICE, {})
            if "peak_tflops" in properties and "peak_tflops" in reference:
                faster = properties["peak_tflops"]["float32"] / reference["peak_tflops"]["float32"]
        seconds = self._published.get((card, model, steps))
        if seconds is None:
            seconds = self._published[card, REFERENCE_MODEL, steps] * multiply_adds / MULTIPLY_ADDS[REFERENCE_MODEL]
        return Estimate(seconds / faster, "estimated")


def patches(dataset: Dataset) -> dict[str, int]:
    """Return the approximate number of patches in each split of a data set that may not be prepared yet.

    For the user's own patches the number is unknown until they are prepared; before, that of PCam is used.
    """
    if known := dataset.counts():
        return known
    try:
        counts = manifest(paths.of(paths.DATA, dataset=dataset.name))["patches"]
        return {name: int(count["n"]) for name, count in counts.items()}
    except HistobenchError:
        expected = dict(FORMATS["pcam"].expected)
        return dataset.selection.counts(expected) if dataset.selection else expected


def measured(study: Study) -> dict[Cell, float]:
    """Return measured seconds of an epoch, for cells with finished epochs, read from their run folders.

    They are the median over the runs of the cell, see :func:`typical`.
    """
    by_cell: dict[Cell, list[float]] = {}
    for run in study.runs:
        if seconds := epoch_seconds(paths.of(study.paths.run, run)):
            by_cell.setdefault(run.cell, []).append(typical(seconds))
    return {cell: statistics.median(values) for cell, values in by_cell.items()}


def epoch_seconds(folder: Path) -> list[float]:
    """Return the seconds, training and validation, of each finished epoch of a run that may be in progress.

    Of a damaged file there are none: it must not hide the plan of a whole study.
    """
    try:
        return [float(row["training_seconds"]) + float(row["validation_seconds"]) for row in _timing(folder)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def typical(seconds: list[float]) -> float:
    """Return the median of the epochs after the first one, which traces the model and fills caches."""
    return statistics.median(seconds[1:] or seconds)


def _timing(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's timing, of a run in progress from its last saved epoch."""
    if (path := folder / runs.TIMING).exists():
        with suppress(HistobenchError):  # it is damaged, which its readers say
            return list(runs.read_rows(path))
    # As histobench.train.checkpoints saves them. A running job may delete them at any moment.
    for step in sorted((folder / ".state").glob("epoch-*"), reverse=True):
        with suppress(OSError, ValueError, KeyError):
            return list(runs.read_json(step / "progress.json")["timing"])
    return []


def _table_2() -> dict[tuple[str, str, str], float]:
    """Return the seconds of a forward pass over one patch, by (device, model, mode), from the paper's Table 2."""
    counts = FORMATS["pcam"].expected
    passes = {
        "tl": counts["train"] + counts["valid"],
        "full": TRAINING_PASSES * counts["train"] + counts["valid"],
    }
    return {
        (row["device"], row["model"], row["mode"]): float(row["seconds_per_epoch"]) / passes[row["mode"]]
        for row in runs.read_rows(TABLE_2)
    }


def _area(side: int) -> float:
    return (side / PAPER_SIDE) ** 2


def minutes(estimate: Estimate, shortest: float = SHORTEST) -> int:
    """Return the time limit in minutes of a job that is expected to take so long, `shortest` at least."""
    wanted = max(shortest, MARGIN * estimate.seconds / 60)
    return math.ceil(wanted / STEP) * STEP
