"""The card of an exported model, in words: what it is for, what it was made of, and what it reaches.

Its headings are those of Mitchell et al. 2019, "Model cards for model reporting", as far as they apply. Every number
is of the model's ``model.json``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.results import chosen_runs
from histobench.results.columns import MISSING, plain, read_csv
from histobench.results.figures.calibration import MIN_PATCHES
from histobench.results.modes import MODES

LICENCES = {
    "pcam": "PCam is in the public domain (CC0; Veeling et al. 2018).",
    "idc": "The publishers of these patches (Cruz-Roa et al. 2014; Janowczyk and Madabhushi 2016) state no licence "
    "that is known here: ask them before you pass on what is made of them.",
}
OWN_LICENCE = "These patches are the user's own, and so is what may be done with them."
WEIGHTS_LICENCES = {
    "ImageNet": "Its training started from weights that Keras publishes for `keras.applications`, whose page names the "
    "licence of each. They learned from ImageNet, whose images are for research and teaching that is not commercial.",
    "random": "Its training started from random weights.",
    "": "Its training started from random weights.",
}
UNITS = {"patch": "patches", "group": "slides or patients"}
SPLITS = {"train": "training", "valid": "validation", "test": "test"}
CODE = """```python
import keras

model = keras.saving.load_model("model.keras")
scores = model.predict(patches)[:, 0]  # patches: (n, {side}, {side}, 3), RGB, 0 to 255
```"""
# Keys of a recipe that the first sentence on training says, and `search`, whose findings it says in their place.
SAID_FIRST = ("epochs", "batch_size", "optimizer", "best_epoch", "search")
PICTURES = {
    "failures.png": "The surest errors on test patches, with Grad-CAM where it is known where the network looked.",
    "calibration.png": "Share of positives against the mean score, of the models on this data set.",
    "changes.png": "AUC on test patches that were turned, stained otherwise, compressed or blurred.",
}


@dataclass(frozen=True)
class Part:
    """A heading of the card, and its sentences, which may be a list."""

    heading: str
    sentences: Sequence[str]
    listed: bool = False

    @property
    def markdown(self) -> str:
        """The sentences in Markdown."""
        return "\n".join(f"- {each}" for each in self.sentences) if self.listed else " ".join(self.sentences)


def parts(model: Mapping[str, Any]) -> list[Part]:
    """Return the parts of the card of a model; `model` is the content of its ``model.json``."""
    found = [
        Part("Model", _about(model)),
        Part("Intended use", _use(model)),
        Part("Data", _data(model)),
        Part("Training", _training(model)),
        Part("Metrics", _metrics(model)),
        Part("Decisions", _decisions(model), listed=True),
        Part("Slides or patients", _groups(model["per_group"])),
        Part("Calibration", _calibration(model["metrics"])),
        Part("Robustness", _robustness(model["robustness"])),
        Part("Other data sets", [_elsewhere(row) for row in model["external"] if row["tested_on"] != model["dataset"]]),
        Part("Environment", _environment(model)),
        Part("Licences", _licences(model)),
    ]
    return [part for part in found if part.sentences]


def pictures(model: Mapping[str, Any], errors: Path | None) -> list[str]:
    """Return which of `PICTURES` show something of the model: figures of a study may be of other runs on the data set.

    Parameters
    ----------
    model : the content of ``model.json``.
    errors : CSV file with the errors that the first of them shows, and their `run`; None if the study has none.
    """
    whose = set() if errors is None else set(read_csv(errors, ["run"])["run"])
    about = {
        "failures.png": model["run"] in whose,
        "calibration.png": model["metrics"]["test"]["n"] >= MIN_PATCHES,
        "changes.png": bool(model["robustness"]),
    }
    return [name for name in PICTURES if about[name]]


def markdown(model: Mapping[str, Any], notes: Sequence[str], pictures: Sequence[str]) -> str:
    """Return the card as a Markdown document.

    Parameters
    ----------
    model : the content of ``model.json``.
    notes : what readers must know before they read any number, see :mod:`histobench.results.announcements`.
    pictures : which of `PICTURES` lie beside the card.
    """
    title = f"# {model['model_name']}, trained on {model['dataset']}"
    announced = "\n>\n".join(f"> **{note}**" for note in notes)
    text = [title, announced, *(f"## {part.heading}\n\n{part.markdown}" for part in parts(model))]
    text.insert(3, f"## Scoring patches\n\n{CODE.format(side=model['patch_size'])}")
    if pictures:
        text.append("## Pictures")
        text += [f"![{PICTURES[name]}]({name})\n\n{PICTURES[name]}" for name in pictures]
    return "\n\n".join(filter(None, text)) + "\n"


def _about(model: Mapping[str, Any]) -> list[str]:
    several = model["networks"] > 1
    made = (
        f"The mean score of {model['networks']} networks, one for each fold of a cross-validation."
        if several
        else "One network."
    )
    scale = model["microns_per_pixel"]
    size = f"{model['patch_size']} x {model['patch_size']} px" + (f" of {scale:g} µm" if scale else "")
    why = "it has the best AUC on validation patches" if model["chosen"] == chosen_runs.BEST else "it was named"
    if model["better"]:
        why += f", of the runs that have a network (better is {model['better']})"
    parameters = f" of {model['parameters']:,.0f} parameters" if model["parameters"] else ""
    return [
        f"{made} {model['model_name']}{parameters}, {MODES[model['mode']].in_words}, recipe {model['recipe']}.",
        f"It takes patches of {size}, RGB in 0 to 255, and gives the probability of tumour.",
        f"It is the run {model['run']} of the study {model['study']}, chosen because {why}; "
        "no test patch had a part in the choice.",
    ]


def _use(model: Mapping[str, Any]) -> list[str]:
    return [
        "For research on patches and slides like those that it was trained on: to compare classifiers, and to look for "
        "places worth a pathologist's look.",
        "Not for diagnosis, and for no decision about a patient: it was tested on the patches of this study and on "
        "nothing else, and no authority has seen it.",
        "A score is that of one patch, which says nothing of the tissue around it."
        + (" In PCam, tumour in the central 32 px alone decides." if model["data"]["format"] == "pcam" else ""),
    ]


def _data(model: Mapping[str, Any]) -> list[str]:
    data = model["data"]
    kinds = {
        "published": "the published patches",
        "subset": "a subset of the published patches",
        "simulated": "simulated patches, which are no tissue",
        "own": "patches of one's own",
    }
    counted = []
    for split, count in data["patches"].items():
        groups = f" of {count['groups']:,} slides or patients" if count["groups"] else ""
        counted.append(f"{count['n']:,} {SPLITS.get(split, split)}{groups} ({count['tumour_fraction']:.0%} tumour)")
    of_fold = "In the first fold: " if model["networks"] > 1 else "Patches: "
    left_out = "; ".join(f"{number:,} {reason}" for reason, number in data["excluded"].items())
    return [
        f"{model['dataset']}: {kinds[data['patches_are']]}, in the format {data['format']}, split {data['split']}.",
        f"{of_fold}{', '.join(counted)}.",
        *([f"Left out: {left_out}."] if left_out else []),
        *(
            ["Patches of one patient can be in training and in test, which flatters the model."]
            if data["leaky"]
            else []
        ),
    ]


def _training(model: Mapping[str, Any]) -> list[str]:
    told = model["training"]
    recipe = told["recipe"]
    median = ", in the median of the folds" if model["networks"] > 1 else ""
    optimizer = {key: value for key, value in recipe["optimizer"].items() if key != "name"}
    others = {key: value for key, value in recipe.items() if key not in SAID_FIRST}
    named = f"{recipe['optimizer']['name']} ({_said(optimizer)})"
    return [
        f"{recipe['epochs']} epochs, batches of {recipe['batch_size']}, optimizer {named}, seed {model['seed']}; "
        f"kept are the weights of epoch {told['best_epoch']}{median} (best_epoch {recipe['best_epoch']}).",
        *([f"Further keys of the recipe: {_said(others)}."] if others else []),
    ]


def _said(value: Any) -> str:
    """Return a value of a configuration in words."""
    if isinstance(value, Mapping):
        said = ((key, f"({_said(each)})" if isinstance(each, Mapping) else _said(each)) for key, each in value.items())
        return ", ".join(f"{key} {each}" for key, each in said)
    return " and ".join(map(str, value)) if isinstance(value, list) else f"{value}"


def _with_interval(name: str, value: Any, interval: Sequence[float] | None) -> str:
    if not interval or pd.isna(interval[0]):
        return f"{name} {plain(_number(value))}"
    return f"{name} {plain(_number(value))} ({interval[0]:.3f} to {interval[1]:.3f})"


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _metrics(model: Mapping[str, Any]) -> list[str]:
    test, intervals = model["metrics"]["test"], model["metrics"]["intervals"]
    named = {
        "AUC": "auc",
        "accuracy": "accuracy",
        "balanced accuracy": "balanced_accuracy",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "F1": "f1",
        "cross-entropy": "loss",
    }
    shown = [_with_interval(name, test[key], intervals.get(key)) for name, key in named.items()]
    each = " Each was scored by the network that had not seen its slide or patient." if model["networks"] > 1 else ""
    floor = model["metrics"]["colour_floor_auc"]
    return [
        f"On {test['n']:,} test patches, {test['positives']:,} of them tumour, with decisions at 0.5: "
        f"{', '.join(shown)}; average precision {plain(_number(test['average_precision']))}.{each}",
        f"95 % intervals by bootstrap over {UNITS.get(intervals['unit'], intervals['unit'])}"
        + (", which ignores that patches of one slide are alike." if intervals["ignores_clustering"] else "."),
        f"A logistic regression on the mean and deviation of each patch's colours has AUC {plain(_number(floor))}.",
    ]


def _decisions(model: Mapping[str, Any]) -> list[str]:
    # Else readers take the two for exchanged.
    why = (
        "The highest threshold that keeps a sensitivity and the lowest that keeps a specificity: of a model that can "
        "keep both at once the first is the higher one."
    )
    return [
        f"{point['name'][0].upper()}{point['name'][1:]}: above {point['threshold']:.4g}, {_rates(point['test'])} on "
        f"test patches, {_rates(point['valid'])} on the validation patches that it was chosen on."
        for point in model["operating_points"]
    ] + ([why] if len(model["operating_points"]) == 3 else [])


def _rates(point: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {plain(_number(point[name]))}" for name in ("sensitivity", "specificity"))


def _groups(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    if not groups:
        return ["They are not known of the test patches, so their spread is not, either."]
    frame = pd.DataFrame(groups)
    lines = [
        f"{len(frame):,} in the test patches; accuracy of the median one {frame['accuracy'].median():.3f}, of the "
        f"worst {frame['accuracy'].min():.3f}, of the best {frame['accuracy'].max():.3f}."
    ]
    aucs = frame["auc"].dropna()
    if len(aucs):
        lines.append(
            f"AUC within one, of the {len(aucs):,} with both classes: median {aucs.median():.3f}, "
            f"{aucs.min():.3f} to {aucs.max():.3f}."
        )
    return lines


def _calibration(metrics: Mapping[str, Any]) -> list[str]:
    brier, slope, intercept = (
        plain(_number(value))
        for value in (metrics["test"]["brier"], metrics["calibration_slope"], metrics["calibration_intercept"])
    )
    return [
        f"On test patches: Brier score {brier}, slope {slope} (below 1 scores are too extreme, above 1 too near "
        f"to one half), intercept {intercept} (above 0 they are too low, below 0 too high)."
    ]


def _robustness(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Not looked at: the study does not score changed patches by this run (`robustness`)."]
    shown = "; ".join(f"{row['change']} {plain(_number(row['auc']))}" for row in rows)
    return [f"AUC by change of the test patches: {shown}."]


def _elsewhere(row: Mapping[str, Any]) -> str:
    auc = _with_interval("AUC", row["auc"], [row["auc_low"], row["auc_high"]] if row["auc_low"] is not None else None)
    return f"{row['tested_on']}, {row['n']:,.0f} test patches: {auc}, a mean over the seeds of the cell."


def _environment(model: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in model["versions"].items())
    differences = ", ".join(f"{name} {value:.1g}" for name, value in model["largest_difference"].items())
    when = f" on {model['exported'][:10]}" if model["exported"] else ""
    return [
        f"Exported{when} with {versions}.",
        f"Trained until {model['training']['ended'][:10]} by the code {model['training']['code']}, a digest of all "
        "modules of histobench that training depends on.",
        f"Largest difference of a score from the run's own, over {model['compared_patches']:,} validation patches: "
        f"{differences}.",
    ]


def _licences(model: Mapping[str, Any]) -> list[str]:
    data, origin = model["data"], model["weights_started_from"]
    of_data = LICENCES[data["format"]] if data["patches_are"] in ("published", "subset") else OWN_LICENCE
    if data["patches_are"] == "simulated":
        of_data = "Its patches are simulated."
    return [of_data, WEIGHTS_LICENCES.get(origin, f"Its training started from {origin or MISSING}.")]
