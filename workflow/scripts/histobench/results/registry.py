"""The tables and figures of a study: their inputs and captions, and their places on the page.

Imported by the Snakefile, so it imports nothing heavy. Rules, page and tests take their lists from here. To add a table
or figure, write its function and add an :class:`Item` to `PAGE`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Item:
    """A table or a figure.

    Attributes
    ----------
    name : stem of its files, followed by `_{dataset}` if there is one for every data set.
    kind : "table" or "figure".
    module, function : the function that makes it and its module below the library. The function takes
        :class:`histobench.results.inputs.Inputs`. For a table it returns a :class:`histobench.results.printing.Table`,
        for a figure the figure and its notes, besides the announcements that all figures have; and, where these are
        not about all cells of the study or of the data set, a third: the cells that they are about.
    inputs : names of its input files, see `INPUTS` in ``rules/items.smk``.
    title : its heading on the page; tables have titles of their own.
    caption : what it shows: in Snakemake's report, and for a figure on the page.
    of_dataset : whether there is one for every data set.
    needs : what a study must have for it: "runs", "searches", "encoders" (embeddings of others), "subsets" (runs on
        parts of training patches), "scores" (of test patches), "published" (scores on the whole of a published data
        set), "patches" (scores, and the test patches themselves), "places" (the same, where their places in the slides
        are known), "own patches" (the same as "patches", but not where these are those of another data set of the
        study, of which this one is a subset), "records" (all patches), "audit" (scores, and all patches, in parts),
        "leaky" (a data set with a leaky split beside one without, of one source), "ablation" (its steps), "external"
        (runs on other data sets than their own), "robustness" (scores of changed patches), "exported" (an exported
        model), or "" for nothing.
    """

    name: str
    kind: str
    module: str
    function: str
    inputs: tuple[str, ...]
    caption: str
    title: str = ""
    of_dataset: bool = False
    needs: str = ""

    def stem(self, dataset: str) -> str:
        """Return the stem of its files for a data set."""
        return f"{self.name}_{dataset}" if self.of_dataset else self.name


@dataclass(frozen=True)
class Section:
    """The heading of a section of the page, and a sentence of introduction."""

    title: str
    text: str = ""


# The function of an item is called `<name>_table` or `<name>_figure`. Its module is `results/tables/<name>`, or what
# `module` says; for a figure `results/figures/<name>`, or `results/figures/<module>`.


def _table(name: str, inputs: tuple[str, ...], caption: str, *, module: str = "", **options: Any) -> Item:
    module = module or f"results/tables/{name}"
    return Item(name, "table", module, f"{name}_table", ("runs", "cells", *inputs), caption, **options)


def _figure(name: str, title: str, inputs: tuple[str, ...], caption: str, *, module: str = "", **options: Any) -> Item:
    module, inputs = f"results/figures/{module or name}", ("runs", "cells", *inputs)
    return Item(name, "figure", module, f"{name}_figure", inputs, caption, title, **options)


_of_dataset = partial(_figure, of_dataset=True, needs="scores")

# For phones; the page shows it in place of "forest", see `report.Figure`.
_forest_narrow = _figure(
    "forest_narrow",
    "AUC by model and mode, narrow",
    ("performance",),
    "Test AUC of every model and mode, with its 95 % interval, beside the published one, for phones.",
    module="forest",
)

PAGE: tuple[Section | Item, ...] = (
    Section("At a glance"),
    _table(
        "best",
        ("performance",),
        "The best model of each data set, chosen by its AUC on the validation patches; its metrics on the test "
        "patches.",
    ),
    _figure(
        "forest",
        "AUC by model and mode",
        ("performance",),
        "Test AUC of every model and mode, with its 95 % interval, beside the published one; of each recipe where they "
        "have several, of several devices the first in the matrix. Tables hold tuned recipes, averages of scores, and "
        "linear heads and nearest neighbours beside other heads.",
    ),
    Section("Data set {dataset}"),
    _table(
        "performance",
        ("published", "replicates"),
        "Loss, accuracy and AUC on the test set of every cell, beside the published values. The paper's Tables 3 and "
        "4.",
        of_dataset=True,
    ),
    _figure(
        "examples",
        "Example patches",
        ("patches",),
        "Patches of the test set, six of each class, evenly spaced over it. In PCam the square marks the 32 px centre "
        "whose tissue decides the label. The paper's Figures 1 and 2.",
        of_dataset=True,
        needs="own patches",
    ),
    _of_dataset(
        "roc",
        "ROC curves",
        ("predictions",),
        "ROC curves on the test set, means over seeds. Bands, pointwise 95 %, belong to the models that are best on "
        "the validation set.",
        module="curves",
    ),
    _of_dataset(
        "precision_recall",
        "Precision and recall",
        ("predictions",),
        "Precision against recall on the test set, means over seeds. Bands, pointwise 95 %, belong to the models that "
        "are best on the validation set.",
        module="curves",
    ),
    _of_dataset(
        "calibration",
        "Calibration",
        ("predictions",),
        "Share of positives against mean score in 15 bins of equal mass, with Brier score, slope and intercept. Hidden "
        "under 1,000 test patches.",
    ),
    _of_dataset(
        "learning_curves",
        "Learning curves",
        ("histories",),
        "Loss and accuracy of training and validation by epoch, each seed in a shade of its own. The dot marks the "
        "epoch whose weights were kept.",
    ),
    _of_dataset(
        "groups",
        "Accuracy by slide or patient",
        ("metrics",),
        "Accuracy on the test set by slide or patient, below the number of their patches.",
    ),
    _figure(
        "patient_maps",
        "Slides or patients put together",
        ("patches", "predictions"),
        "Test slides or patients, put together from their patches: as they are, their labels, and their scores.",
        of_dataset=True,
        needs="places",
    ),
    _figure(
        "gallery",
        "The surest errors",
        ("patches", "errors", "heatmaps"),
        "The most confident errors of the run that is best on the validation set, with Grad-CAM for the predicted "
        "class where one network of this study has scored them.",
        of_dataset=True,
        needs="patches",
    ),
    _table(
        "contradicted",
        ("predictions", "patches"),
        "Test patches whose label the models contradict most surely, for a pathologist to look at.",
        of_dataset=True,
        needs="own patches",
    ),
    _figure(
        "contradicted_patches",
        "Labels that the models contradict",
        ("patches", "contradicted"),
        "Test patches whose label the mean score of all runs contradicts most surely.",
        module="contradicted",
        of_dataset=True,
        needs="own patches",
    ),
    Section(
        "Robustness on {dataset}",
        "What scores are worth when test patches are turned, stained otherwise, compressed or out of focus.",
    ),
    _figure(
        "auc_by_change",
        "AUC on changed patches",
        ("robustness",),
        "Test AUC, with its 95 % interval, on patches that were changed, beside that on patches as they are (dotted).",
        module="robustness",
        of_dataset=True,
        needs="robustness",
    ),
    _table(
        "robustness",
        ("metrics", "changed_scores", "slide_metadata"),
        "The AUC on test patches that were turned, stained otherwise, compressed or blurred, its difference from that "
        "of unchanged ones, and how far scores and decisions change.",
        of_dataset=True,
        needs="robustness",
    ),
    Section("Exported model of {dataset}", "The card of the files in models/{dataset}/, which score other patches."),
    _table(
        "model_card",
        ("model",),
        "The card of the model that the study exports from the data set: what it is for, what it was made of, and what "
        "it reaches.",
        of_dataset=True,
        needs="exported",
    ),
    Section(
        "Audit of {dataset}",
        "What the data hold twice, what stands on both sides of the split, and what the AUC is without it.",
    ),
    _table(
        "audit",
        ("audit", "manifest"),
        "Patches that are equal, or show in part the same, within the parts of a data set and between them; slides or "
        "patients on both sides; labels that contradict each other.",
        of_dataset=True,
        needs="records",
    ),
    _figure(
        "duplicates",
        "Patches that are there twice",
        ("audit", "records"),
        "Pairs of patches that are equal pixel for pixel, as stored, turned or mirrored; and pairs that show in part "
        "the same. Those in two parts of the data set come first.",
        of_dataset=True,
        needs="records",
    ),
    _table(
        "leaks",
        ("performance", "predictions", "audit"),
        "The AUC of the best model on all test patches, and without those that are there twice or that training or "
        "validation patches give away; and how many independent patches they are worth.",
        of_dataset=True,
        needs="audit",
    ),
    Section(
        "Leaky split", "What it adds to the AUC that patches of one slide or patient are on both sides of a split."
    ),
    _table(
        "leaky_split",
        ("predictions",),
        "The AUC of each model by a split of patches, less its AUC by a split of slides or patients.",
        needs="leaky",
    ),
    Section(
        "Transfer learning against full training",
        "Over models, as in the paper, and for each model on the same test patches.",
    ),
    _figure(
        "auc_by_mode",
        "AUC by mode",
        ("performance",),
        "Test AUC by training mode, a point per model; boxes from five models up. The paper's Figure 4.",
    ),
    _table(
        "tests",
        ("published", "performance"),
        "Transfer learning against full training over models: the test that the paper ran, and the paired one.",
    ),
    _table(
        "contrasts",
        ("replicates", "predictions"),
        "Differences of the AUC between cells on the same test patches, with paired intervals and p values.",
    ),
    Section("External validation", "Runs on the test patches of data sets that they have not learned from."),
    _figure(
        "external_validation",
        "Trained on against tested on",
        ("external",),
        "Test AUC, with its 95 % interval, on the test patches of each data set, of runs that were trained on it and "
        "of runs that were trained on another.",
        module="external",
        needs="external",
    ),
    _table(
        "external",
        ("replicates", "metrics", "external_metrics", "external_replicates"),
        "What runs reach on their own test patches, and on those of data sets that they have not learned from.",
        needs="external",
    ),
    Section(
        "Ablation",
        "What each step from one recipe to another adds, on validation patches.",
    ),
    _figure(
        "ablation_steps",
        "What each step adds",
        ("ablation",),
        "Difference of the validation AUC that each step of a recipe makes, with its paired 95 % interval; to the "
        "right, the AUC that it reaches.",
        module="ablation",
        needs="ablation",
    ),
    _table(
        "ablation",
        ("predictions",),
        "The validation AUC of each step from one recipe to another, and its difference to the one before.",
        needs="ablation",
    ),
    Section("Published by others", "Classifiers of the same test patches."),
    _table(
        "others",
        ("others",),
        "Published values of others than the paper, beside the best run of the same kind on the same test patches.",
        needs="published",
    ),
    Section(
        "Search for hyperparameters",
        "Trials, cost, and the AUC beside that of the recipe before tuning, on the same test patches.",
    ),
    _figure(
        "tuned",
        "Tuned against untuned",
        ("searches",),
        "Test AUC, with its 95 % interval, of the tuned recipes beside the recipe before tuning.",
        module="search",
        needs="searches",
    ),
    _table(
        "searches",
        ("published", "search_outputs", "performance"),
        "Every search for hyperparameters: its trials and cost, its best trial on validation patches, and the AUC of "
        "the tuned recipe on test patches.",
        module="tuning/search_tables",
        needs="searches",
    ),
    _figure(
        "search",
        "Trials",
        ("trials",),
        "Trials of the searches for hyperparameters: their values (axes), epochs of training (area), and scores on "
        "validation patches (colour). A configuration that was promoted has a circle for each of its rounds.",
        needs="searches",
    ),
    _table(
        "trials",
        ("search_outputs",),
        "All trials of all searches, the best first.",
        module="tuning/search_tables",
        needs="searches",
    ),
    Section("Claims of the paper"),
    _table(
        "claims",
        ("published", "sizes", "performance", "speed"),
        "The paper's claims, checked on its own tables and on this study's.",
    ),
    Section("How much data is enough"),
    _figure(
        "auc_against_training_data",
        "AUC against training patches and slides",
        ("performance",),
        "Test AUC of models that were trained on parts of the training patches, all tested on the same patches, with "
        "95 % intervals over these. Parts of one seed lie within each other.",
        needs="subsets",
    ),
    Section("Size of the models"),
    _figure(
        "auc_against_size",
        "AUC against depth and parameters",
        ("published", "performance", "sizes"),
        "Test AUC of models trained in full against their depth (all layers) and their parameters at 96 px, with "
        "ImageNet's top. The paper's Figure 3.",
    ),
    _table(
        "models",
        ("published", "sizes"),
        "Sizes of the models under each definition, beside the published ones. The paper's Table 1.",
    ),
    Section("Features of others", "What is known of the encoders whose features heads were trained on."),
    _table(
        "encoders",
        ("imported",),
        "Features that others have computed: their encoder, the patches that it saw, its licence, and whether it was "
        "trained on slides of the data set, as far as the user states it; and what was imported.",
        needs="encoders",
    ),
    Section("Seconds", "The cost of training, and the AUC that it reaches."),
    _table(
        "speed",
        ("published",),
        "Seconds per epoch on each device, beside the paper's Table 2, with the first epoch, training and validation, "
        "patches per second, the share of the card's peak, memory and energy.",
    ),
    _figure(
        "auc_against_seconds",
        "AUC against seconds of training",
        ("performance",),
        "Test AUC of every cell against its seconds of training, which for a head on cached features include their "
        "extraction.",
        needs="scores",
    ),
    Section(
        "Time and memory of the jobs",
        "What they asked for and what they took, and lines for a profile by which the next study asks for less.",
    ),
    _table(
        "requested_and_used",
        ("jobs", "requests"),
        "Time, memory and cores that jobs asked for, beside what they took, by rule and model.",
        needs="runs",
    ),
    Section("Controls", "Values that a CNN has to beat."),
    _table(
        "controls",
        ("control_metrics", "shuffled_labels"),
        "The AUC of colour alone (floor) and with shuffled labels (control).",
        needs="runs",
    ),
)
"""The page from top to bottom; its second section is repeated for every data set."""

ITEMS = {item.name: item for item in (*PAGE, _forest_narrow) if isinstance(item, Item)}


def stems(kind: str, datasets: Iterable[str], has: Callable[[str, str], bool]) -> dict[str, tuple[Item, str]]:
    """Return the tables or the figures of a study by the stems of their files, each with its data set ("" for none).

    Parameters
    ----------
    kind : "table" or "figure".
    datasets : of the study, in their order.
    has : whether the study, or one of its data sets ("" for the study), has what an item `needs`.
    """
    return {
        item.stem(dataset): (item, dataset)
        for item in ITEMS.values()
        if item.kind == kind
        for dataset in (datasets if item.of_dataset else ("",))
        if not item.needs or has(item.needs, dataset)
    }
