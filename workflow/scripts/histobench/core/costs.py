"""What the jobs of a study are expected to take: seconds, where they come from, and minutes to ask a scheduler for.

The unit is a forward pass over one patch; an epoch is so many of them (`Costs.passes`). What a pass takes is known of
the cells that Table 2 of Bonnet 2024 (arXiv:2108.13661) prints, and estimated from these for all others. Such estimates
are off by factors: of B2 and B6 on the paper's cards, two to five times too much.
"""

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from histobench.core import recipes, runs, searches
from histobench.core.formats import FORMATS, Dataset
from histobench.core.modes import MODES
from histobench.core.prepared import SPLITS, manifest
from histobench.core.study import Run, Study

TABLE_2 = Path(__file__).parents[4] / "config" / "paper" / "table2.csv"
# Of what Table 2 holds: PCam by the paper's recipe.
PAPER_SIDE, PAPER_BATCH = FORMATS["pcam"].patch_size, 32
# Whose seconds the others are estimated from: the one model in Table 2 with a backbone, and the newest card.
REFERENCE_MODEL, REFERENCE_DEVICE = "inceptionv3", "a100"

# Multiply-adds of a forward pass over a patch of 96 px of the model as trained: histobench.train.anatomy counts them.
MULTIPLY_ADDS = {
    "b2": 149_520_640,
    "b6": 257_678_976,
    "inceptionv3": 339_373_664,
    "vgg19": 3_583_312_128,
    "resnet50": 708_755_712,
    "mobilenet": 104_536_832,
    "densenet121": 520_634_624,
    "densenet169": 617_234_688,
    "densenet201": 788_349_184,
    "efficientnetv2b0": 132_828_192,
    "efficientnetv2b1": 187_657_248,
    "efficientnetv2b2": 216_035_056,
}
# Passes that training on a patch costs: forward, and backward by inputs and by weights. By it InceptionV3's seconds in
# Table 2, trained in full and on a frozen backbone, give the same seconds of a pass on each card, to 5 %.
TRAINING_PASSES = 3
# Seconds of a multiply-add of a forward pass on two cores: 1.3e-11 (B2) to 2.3e-11 (MobileNet), with B6 and InceptionV3
# between, measured on this project's machine over epochs of 384 simulated patches of 96 px. An estimate.
CPU_SECONDS = 2e-11
# Seconds of a step of a head on cached features, in batches of 32: there, 1 to 2.5 ms on 1,024 and 2,048 features.
HEAD_STEP_SECONDS = 2e-3
# Seconds before the first step of a job: 5 for the import of TensorFlow, 1 (B2) to 124 (DenseNet201) for building a CNN
# and tracing its first step, measured on two cores; this lies between.
START_UP = 60.0
# Of a trial's head on cached features. An estimate.
HEAD_START_UP = 2.0
# Time limits: so many times what is expected, since a job that is cut off waits in the queue again, and a limit that is
# not used up costs nothing but a place further back in it.
MARGIN = 3
SHORTEST, STEP = 30, 10  # minutes


class Estimate(NamedTuple):
    """Expected seconds, and what they rest on: "measured", "published" (Table 2) or "estimated"."""

    seconds: float
    origin: str


class Costs:
    """What the jobs of a study cost.

    The Snakefile asks for every job, so this reads no run folders, and a time limit does not depend on what has been
    measured so far.

    Parameters
    ----------
    study : the study.
    measured : seconds of an epoch that were measured, by (dataset, model, mode, recipe, device): see :func:`measured`.
    """

    def __init__(self, study: Study, measured: Mapping[tuple[str, ...], float] | None = None) -> None:
        self._study, self._measured = study, measured or {}
        self._published = _table_2()
        self._cards = {device for device, _, _ in self._published}
        self._patches = {name: patches(dataset) for name, dataset in study.datasets.items()}

    def epoch(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> Estimate:
        """Return what an epoch takes, training and validation, on average over those of the recipe."""
        if (found := self._measured.get((dataset, model, mode, recipe, device))) is not None:
            return Estimate(found, "measured")
        words = self._study.recipes[recipe]
        if self._study.cached(mode, recipe):
            steps = math.ceil(sum(self._covered(dataset, recipe)) / words["batch_size"])
            return Estimate(steps * HEAD_STEP_SECONDS, "estimated")
        seconds, origin = self._pass(model, mode, device)
        side = self._study.input(dataset, model, recipes.scaling(words))["side"]
        # Steps of another kind than the paper's.
        others = {key for key in ("precision", "jit_compile", "augmentation") if words.get(key)}
        if others or words["batch_size"] != PAPER_BATCH:
            origin = "estimated"
        return Estimate(self.passes(dataset, mode, recipe) * seconds * _area(side), origin)

    def passes(self, dataset: str, mode: str, recipe: str) -> float:
        """Return how many forward passes over a patch an epoch costs, on average over those of the recipe."""
        train, valid = self._covered(dataset, recipe)
        words = self._study.recipes[recipe]
        # The share of its epochs in which the backbone is trained.
        trained = 1 - MODES[mode].frozen_epochs(words) / int(words["epochs"])
        return train * (1 + (TRAINING_PASSES - 1) * trained) + valid

    def train(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> Estimate:
        """Return what a run takes, all its epochs."""
        seconds, origin = self.epoch(dataset, model, mode, recipe, device)
        return Estimate(START_UP + self._study.recipes[recipe]["epochs"] * seconds, origin)

    def tune(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> Estimate:
        """Return what the search of a recipe takes, all its jobs together."""
        seconds, origin = self.epoch(dataset, model, mode, recipe, device)
        trials, epochs = searches.budget(self._study.recipes[recipe]["search"])
        build = HEAD_START_UP if self._study.cached(mode, recipe) else START_UP
        return Estimate(trials * build + epochs * seconds, origin)

    def predict(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> Estimate:
        """Return what the scores of a run take: a pass over validation and test patches, or a head over features."""
        seconds, origin = self.epoch(dataset, model, mode, recipe, device)
        if self._study.cached(mode, recipe):
            return Estimate(START_UP, origin)
        scored = self._patches[dataset]["valid"] + self._patches[dataset]["test"]
        return Estimate(START_UP + seconds / self.passes(dataset, mode, recipe) * scored, origin)

    def extract(self, dataset: str, model: str, scaling: str, device: str) -> Estimate:
        """Return what the features of a frozen backbone take: a pass over all patches."""
        seconds, origin = self._pass(model, "tl", device)
        side = self._study.input(dataset, model, scaling)["side"]
        return Estimate(START_UP + sum(self._patches[dataset].values()) * seconds * _area(side), origin)

    def train_minutes(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> int:
        """Return the minutes to ask for, for a run."""
        return _minutes(self.train(dataset, model, mode, recipe, device))

    def tune_minutes(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> int:
        """Return the minutes to ask for, for each job of a search."""
        seconds, origin = self.tune(dataset, model, mode, recipe, device)
        workers = searches.workers(self._study.recipes[recipe]["search"])
        return _minutes(Estimate(START_UP + seconds / workers, origin))

    def predict_minutes(self, dataset: str, model: str, mode: str, recipe: str, device: str) -> int:
        """Return the minutes to ask for, for the scores of a run."""
        return _minutes(self.predict(dataset, model, mode, recipe, device))

    def extract_minutes(self, dataset: str, model: str, scaling: str, device: str) -> int:
        """Return the minutes to ask for, for the features of a backbone."""
        return _minutes(self.extract(dataset, model, scaling, device))

    def _covered(self, dataset: str, recipe: str) -> tuple[int, int]:
        """Return the patches of an epoch, in training and in validation."""
        counts, words = self._patches[dataset], self._study.recipes[recipe]
        batch = words["batch_size"]
        train = min(counts["train"], words.get("steps_per_epoch", math.inf) * batch)
        return int(train), int(min(counts["valid"], words.get("validation_steps", math.inf) * batch))

    def _pass(self, model: str, mode: str, device: str) -> Estimate:
        """Return the seconds of a forward pass over one patch of 96 px, within an epoch of this mode."""
        of_model = MULTIPLY_ADDS.get(model, MULTIPLY_ADDS[REFERENCE_MODEL])
        words = self._study.devices[device]
        if "gpu_model" not in words:
            return Estimate(of_model * CPU_SECONDS, "estimated")
        # The modes of Table 2. Fine-tuning has no row of its own, but passes like those of "full".
        steps = "tl" if MODES[mode].cacheable else "full"
        if (device, model, steps) in self._published:
            origin = "estimated" if MODES[mode].unfreezes else "published"
            return Estimate(self._published[device, model, steps], origin)
        card, faster = device, 1.0
        if device not in self._cards:
            card = REFERENCE_DEVICE
            reference = self._study.devices.get(REFERENCE_DEVICE, {})
            if "peak_tflops" in words and "peak_tflops" in reference:
                faster = words["peak_tflops"]["float32"] / reference["peak_tflops"]["float32"]
        seconds = self._published.get((card, model, steps))
        if seconds is None:
            seconds = self._published[card, REFERENCE_MODEL, steps] * of_model / MULTIPLY_ADDS[REFERENCE_MODEL]
        return Estimate(seconds / faster, "estimated")


def patches(dataset: Dataset) -> dict[str, int]:
    """Return about how many patches each split of a data set has, before it is prepared.

    Of patches in a folder of one's own nothing is known until they are prepared: until then they are taken to be as
    many as PCam's.
    """
    if known := dataset.counts():
        return known
    try:
        found = manifest(Path("results/data") / dataset.name)["patches"]
        return {name: int(found[name]["n"]) for name in SPLITS}
    except (OSError, ValueError, KeyError):
        return dict(FORMATS["pcam"].expected)


def measured(study: Study, results: Path = Path("results")) -> dict[tuple[str, ...], float]:
    """Return the seconds of an epoch, by (dataset, model, mode, recipe, device), of cells with a run that has epochs.

    The median over its runs and their epochs, see :func:`settled`.

    Parameters
    ----------
    study : whose run folders are read.
    results : the folder of all results.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for run in study.runs:
        if seconds := epoch_seconds(run_folder(study, run, results)):
            cell = (run.dataset, run.model, run.mode, run.recipe, run.device)
            found.setdefault(cell, []).append(settled(seconds))
    return {cell: statistics.median(values) for cell, values in found.items()}


def run_folder(study: Study, run: Run, results: Path) -> Path:
    """Return a run's folder."""
    return results / study.name / "runs" / run.path


def epoch_seconds(folder: Path) -> list[float]:
    """Return the seconds, training and validation, of each epoch that a run has finished; none before the first.

    Parameters
    ----------
    folder : the run's folder, in which a job may be at work.
    """
    for rows in _timings(folder):
        return [float(row["training_seconds"]) + float(row["validation_seconds"]) for row in rows]
    return []


def settled(seconds: list[float]) -> float:
    """Return what an epoch takes: the median of those after the first, which traces the model and fills caches."""
    return statistics.median(seconds[1:] or seconds)


def _timings(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the timing of a run: of a finished one, else of one at work, whose steps may vanish at any moment."""
    if (path := folder / runs.TIMING).exists():
        yield runs.read_rows(path)
    # See histobench.train.checkpoints.
    for step in sorted((folder / ".state").glob("epoch-*"), reverse=True):
        try:
            yield json.loads((step / "progress.json").read_text(encoding="utf-8"))["timing"]
        except (OSError, ValueError, KeyError):
            continue


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


def _minutes(estimate: Estimate) -> int:
    wanted = max(SHORTEST, MARGIN * estimate.seconds / 60)
    return math.ceil(wanted / STEP) * STEP
