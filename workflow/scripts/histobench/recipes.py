"""What a recipe says, read for one mode of training."""

from collections.abc import Mapping
from typing import Any

from histobench.errors import HistobenchError

# What a recipe says for one mode alone.
OF_MODE = {"transfer": "tl", "finetune": "finetune"}
# What its runs are there for, which no result depends on: their seconds alone, or a comparison with the recipe before
# tuning.
PURPOSE = ("timing_only", "tuned_from")


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe that contradicts itself.

    Raises
    ------
    HistobenchError
        if it wants features cached that augmentation changes in every epoch, a head trained for as many epochs as
        there are, or results from parts of epochs.
    """
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


def transfer(recipe: Mapping[str, Any]) -> str:
    """Return how heads are trained in mode "tl": on "cached" features of the backbone, or "end_to_end"."""
    return str(recipe.get("transfer", "end_to_end" if recipe.get("augmentation") else "cached"))


def scaling(recipe: Mapping[str, Any]) -> str:
    """Return the name of how a recipe makes inputs of patches: "paper", "native", or one with a size, "paper-75px"."""
    resize = recipe.get("resize")
    return str(recipe["input_scaling"]) + (f"-{resize}px" if resize else "")


def relevant(recipe: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Return what a recipe says for runs of a mode; of `transfer` also what it leaves unsaid."""
    told = {"transfer": transfer(recipe)} | dict(recipe)
    return {key: value for key, value in told.items() if OF_MODE.get(key, mode) == mode and key not in PURPOSE}
