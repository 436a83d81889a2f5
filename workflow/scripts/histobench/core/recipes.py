"""What a recipe says, read for one mode of training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from histobench.core.modes import MODES

# Keys that say what the runs of a recipe are for: their seconds alone, or a comparison with the recipe before tuning.
# They change no result.
PURPOSE = ("timing_only", "tuned_from")


# Kinds of classifiers, as tables print them, see `classifier`.
CNN, DENSE_HEAD, LINEAR_HEAD, KNN = "CNN", "dense head", "linear head", "k-NN"
# Keys of a recipe that has `knn`: nothing is trained by it.
OF_KNN = ("knn", "input_scaling", "resize", "standardize", "transfer")


class Dense(NamedTuple):
    """The layers between a CNN's features and its output: units, and the rate of dropout after them.

    No `units` are no such layer: a linear classifier of the features. `dropout` None is what the model has by itself:
    0.5 in B6, none in all others.
    """

    units: int = 256
    dropout: float | None = None


PAPER = Dense()


def precision(recipe: Mapping[str, Any]) -> str:
    """Return the dtype policy, as Keras calls it, that a recipe trains in."""
    return str(recipe.get("precision", "float32"))


def jit_compile(recipe: Mapping[str, Any]) -> bool:
    """Say whether XLA compiles the steps of a recipe."""
    return bool(recipe.get("jit_compile", False))


def dense(recipe: Mapping[str, Any]) -> Dense:
    """Return the dense layers that a recipe asks for."""
    return Dense(recipe.get("dense_units", PAPER.units), recipe.get("dropout", PAPER.dropout))


def classifier(recipe: Mapping[str, Any], mode: str) -> str:
    """Return what a recipe trains in a mode: a `CNN`, whole or its upper layers, or what classifies frozen features."""
    if "knn" in recipe:
        return KNN
    if not MODES[mode].cacheable:
        return CNN
    searched = recipe.get("search", {}).get("space", {})
    return DENSE_HEAD if dense(recipe).units or "dense_units" in searched else LINEAR_HEAD


def standardize(recipe: Mapping[str, Any]) -> bool:
    """Say whether features are standardised before they are classified."""
    return bool(recipe.get("standardize", False))


def epochs(recipe: Mapping[str, Any]) -> int:
    """Return the number of epochs of a recipe, which is that of rows of the history: one for k nearest neighbours."""
    return int(recipe.get("epochs", 1))


def lower_is_better(measure: str) -> bool:
    """Say whether of a measure of the history, such as "val_loss", lower values are better."""
    return measure.endswith("loss")


def transfer(recipe: Mapping[str, Any]) -> str:
    """Return how heads on a frozen backbone are trained: on "cached" features of the backbone, or "end_to_end"."""
    augmented = recipe.get("augmentation") or "augmentation" in recipe.get("search", {}).get("space", {})
    return str(recipe.get("transfer", "end_to_end" if augmented else "cached"))


def scaling(recipe: Mapping[str, Any]) -> str:
    """Return the name of how a recipe makes inputs of patches: "paper", "native", or one with a size, "paper-75px"."""
    resize = recipe.get("resize")
    return str(recipe["input_scaling"]) + (f"-{resize}px" if resize else "")


def relevant(recipe: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Return what a recipe says for runs of a mode; of `transfer` also what it leaves unsaid."""
    said = {"transfer": transfer(recipe)} | dict(recipe)
    if "optimizer" in recipe:
        said["optimizer"] = recipe["optimizer"] | {"name": recipe["optimizer"]["name"].lower()}
    if "search" in recipe:
        # Not how many jobs share it.
        said["search"] = {key: value for key, value in recipe["search"].items() if key != "workers"}
    of_others = {each.key for each in MODES.values()} - {MODES[mode].key}
    return {key: value for key, value in said.items() if key not in of_others and key not in PURPOSE}
