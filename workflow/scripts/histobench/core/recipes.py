"""What a recipe says, read for one mode of training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from histobench.core import optimizers
from histobench.core.errors import HistobenchError
from histobench.core.modes import MODES
from histobench.tuning import search_settings

# What its runs are there for, which no result depends on: their seconds alone, or a comparison with the recipe before
# tuning.
PURPOSE = ("timing_only", "tuned_from")


class Dense(NamedTuple):
    """The layers between a CNN's features and its output: units, and the rate of dropout after them.

    `dropout` None is what the model has by itself: 0.5 in B6, none in all others.
    """

    units: int = 256
    dropout: float | None = None


PAPER = Dense()


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe that contradicts itself.

    Raises
    ------
    HistobenchError
        if it wants features cached that augmentation changes in every epoch, a head trained for as many epochs as
        there are, results from parts of epochs, an optimizer that Keras does not have, or a search that cannot be.
    """
    optimizers.check(name, recipe)
    if "search" in recipe:
        search_settings.check(name, recipe)
    short = {"steps_per_epoch", "validation_steps"} & set(recipe)
    if short and not recipe.get("timing_only"):
        raise HistobenchError(
            f"configuration: recipes.{name}: {', '.join(sorted(short))} cuts epochs short, which is for their seconds "
            "alone; say `timing_only: true` as well, or leave it out"
        )
    if recipe.get("augmentation") and recipe.get("transfer") == "cached":
        raise HistobenchError(
            f"configuration: recipes.{name}: `transfer: cached` computes the features of a patch once, `augmentation` "
            "changes the patch in every epoch; leave out one of them, or say `transfer: end_to_end`"
        )
    head_epochs = recipe.get("finetune", {}).get("head_epochs", 0)
    if head_epochs >= recipe["epochs"]:
        raise HistobenchError(
            f"configuration: recipes.{name}.finetune.head_epochs: {head_epochs} of {recipe['epochs']} epochs leave "
            "none for the upper layers"
        )


def precision(recipe: Mapping[str, Any]) -> str:
    """Return the dtype policy, as Keras calls it, that a recipe trains in."""
    return str(recipe.get("precision", "float32"))


def jit_compile(recipe: Mapping[str, Any]) -> bool:
    """Say whether XLA compiles the steps of a recipe."""
    return bool(recipe.get("jit_compile", False))


def dense(recipe: Mapping[str, Any]) -> Dense:
    """Return the dense layers that a recipe asks for."""
    return Dense(recipe.get("dense_units", PAPER.units), recipe.get("dropout", PAPER.dropout))


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
    optimizer = recipe["optimizer"] | {"name": recipe["optimizer"]["name"].lower()}
    told = {"transfer": transfer(recipe)} | dict(recipe) | {"optimizer": optimizer}
    if "search" in recipe:
        told["search"] = search_settings.relevant_search(recipe["search"])
    of_others = {each.key for each in MODES.values()} - {MODES[mode].key}
    return {key: value for key, value in told.items() if key not in of_others and key not in PURPOSE}
