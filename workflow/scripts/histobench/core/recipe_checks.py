"""Whether a recipe can be trained, by what it says alone."""

from collections.abc import Mapping
from typing import Any

from histobench.core import optimizers, recipes
from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError, named
from histobench.tuning import search_settings


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe that contradicts itself, or that cannot be trained."""
    where = f"configuration: recipes.{name}"
    if "knn" in recipe:
        if foreign := sorted(set(recipe) - set(recipes.OF_KNN)):
            raise HistobenchError(
                f"{where}: {', '.join(foreign)} {'does' if len(foreign) == 1 else 'do'} not go with `knn`, by which "
                f"nothing is trained; leave out what is none of {', '.join(recipes.OF_KNN)}"
            )
    else:
        optimizers.check(name, recipe)
    for key in ("knn", "standardize"):
        if recipe.get(key) and recipes.transfer(recipe) != "cached":
            raise HistobenchError(
                f"{where}: `{key}` works on features that are the same in every epoch, those of `transfer: cached`, "
                "not of end-to-end training, which augmentation needs as well; leave out one of them"
            )
    if "search" in recipe:
        search_settings.check(name, recipe)
    for kind in recipe.get("augmentation", []):
        named(f"recipes.{name}.augmentation", kind, dict.fromkeys(AUGMENTATIONS))
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
    if head_epochs >= recipes.epochs(recipe):
        raise HistobenchError(
            f"configuration: recipes.{name}.finetune.head_epochs: {head_epochs} of {recipe['epochs']} epochs leave "
            "none for the upper layers"
        )
    _check_stages(where, recipe)


def _check_stages(where: str, recipe: Mapping[str, Any]) -> None:
    """Refuse what does not fit into the epochs, and what cannot be used by trials of a search."""
    unfit = [key for key in ("schedule", "early_stopping", "average_weights") if key in recipe]
    if "search" in recipe and unfit:
        raise HistobenchError(
            f"{where}: {' and '.join(unfit)} cannot stand beside `search`, whose trials have other numbers of epochs. "
            "Search without, and write what is found into a recipe of its own"
        )
    head_epochs = recipe.get("finetune", {}).get("head_epochs", 0)
    warmup, shortest = recipe.get("schedule", {}).get("warmup_epochs", 0), recipe.get("epochs", 1) - head_epochs
    if head_epochs:
        shortest = min(shortest, head_epochs)
    if warmup >= shortest:
        raise HistobenchError(
            f"{where}.schedule.warmup_epochs: {warmup:g} of {shortest} epochs"
            f"{' of a stage of `finetune`' if head_epochs else ''} leave none for the decay"
        )
    patience = recipe.get("early_stopping", {}).get("patience", 0)
    if patience >= recipes.epochs(recipe):
        raise HistobenchError(
            f"{where}.early_stopping.patience: {recipe['epochs']} epochs are never stopped early after {patience} that "
            "are not better; say fewer, or leave out `early_stopping`"
        )
    lowest = recipe.get("schedule", {}).get("min_learning_rate", 0)
    rates = {"optimizer": recipe.get("optimizer"), "finetune": recipe.get("finetune")}
    for key, rate in ((key, said["learning_rate"]) for key, said in rates.items() if said):
        if lowest > rate:
            raise HistobenchError(
                f"{where}.schedule.min_learning_rate: {lowest:g} is above the learning rate of `{key}`, {rate:g}, "
                "which a plateau reduces"
            )
