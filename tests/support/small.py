"""Small patches that have something to learn, and specifications of runs on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from histobench.core import recipes
from histobench.core.catalogue import CATALOGUE
from histobench.core.datasets import Patches, Tally
from histobench.tuning.search_settings import relevant_recipe

SHAPE = (40, 40, 3)
COUNTS = {"train": 70, "valid": 24, "test": 30}
RECIPE = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": {"name": "adam", "learning_rate": 0.001},
    "input_scaling": "paper",
    "best_epoch": "val_accuracy",
}
# What a recipe can say of how training goes. It stops after three epochs: none is better than the first by so much.
EVERY_KEY = {
    "epochs": 5,
    "optimizer": {"name": "adamw", "learning_rate": 0.001, "weight_decay": 0.01, "clipnorm": 1.0},
    "schedule": {"name": "cosine", "warmup_epochs": 1, "alpha": 0.1},
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "average_weights": {"momentum": 0.9},
    "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 10},
}


def patches(split: str, n: int, seed: int, shape=SHAPE) -> Patches:
    """Patches whose label shows in the green channel, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.uint8)
    images = rng.integers(0, 200, (n, *shape), dtype=np.uint8)
    images[..., 1] += (labels * 50)[:, None, None]
    ids = [f"{split}-{i}" for i in range(n)]
    return Patches(split, images, labels, ids, [f"{split}{i % 5}" for i in range(n)], np.full((n, 2), -1, np.int32))


class Arrays:
    """Patches in memory, which a training takes as it takes those of a prepared data set."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels.astype(np.float32)
        self.shape, self.dtype = images.shape[1:], str(images.dtype)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: np.ndarray) -> np.ndarray:
        return self.images[positions]


def write(folder: Path, chunks: Iterable[Patches], **about: Any) -> Path:
    """Write a prepared data set."""
    from histobench.train import records

    known = {"dataset": "small", "patches_are": "simulated", "split": "published", "leaky": False, "format": "pcam"}
    records.write(folder, chunks, Tally(), known | about)
    return folder


def prepare(folder: Path, counts: dict[str, int], shape=SHAPE, size: int = 16) -> Path:
    """Write a prepared data set, in chunks of a size, as `prepare` gets them."""
    chunks = []
    for seed, (split, n) in enumerate(counts.items()):
        whole = patches(split, n, seed, shape)
        for start in range(0, n, size):
            part = slice(start, start + size)
            fields = (getattr(whole, name)[part] for name in ("images", "labels", "ids", "groups", "places"))
            chunks.append(Patches(split, *fields))
    return write(folder, chunks)


def specification(
    model: str = "b6", mode: str = "full", *, seed: int = 1, side: int = SHAPE[0], **recipe: Any
) -> dict[str, Any]:
    """A run's specification, as the study makes it, of a model with random weights."""
    whole = RECIPE | recipe
    cached = mode == "tl" and recipes.transfer(whole) == "cached"
    return {
        "run": {"dataset": "small", "model": model, "mode": mode, "recipe": "r", "device": "cpu", "seed": seed},
        "model": model_specification(model),
        "recipe": recipes.relevant(whole, mode),
        "input": None if cached else image_specification(model, side, whole["input_scaling"]),
    }


SEARCH = {
    "method": "hyperband",
    "objective": "val_auc",
    "max_epochs": 10,
    "factor": 3,
    "iterations": 1,
    "seed": 1,
    "space": {
        "learning_rate": {"min": 1e-5, "max": 1e-2, "sampling": "log"},
        "batch_size": {"min": 8, "max": 32, "step": 8},
    },
}


def search_specification(model: str = "mobilenet", mode: str = "tl", *, recipe: dict[str, Any] | None = None, **search):
    """What a search depends on, as the study says it: the author's space, with batches that suit few patches."""
    search = SEARCH | search
    spec = specification(model, mode, seed=search["seed"], search=search, **(recipe or {}))
    return spec | {"recipe": relevant_recipe(spec["recipe"])}


def features_specification(model: str, *, side: int = SHAPE[0], input_scaling: str = "paper") -> dict[str, Any]:
    """A specification of cached features, as the study makes it, of a backbone with random weights."""
    return {
        "features": {"dataset": "small", "model": model, "scaling": input_scaling, "device": "cpu"},
        "model": model_specification(model),
        "input": image_specification(model, side, input_scaling),
    }


def model_specification(model: str) -> dict[str, Any]:
    """Return the specification of a model of the catalogue, or of "tiny", see `support.tiny`."""
    if model == "tiny":
        from support import tiny

        tiny.install()
    application = "Tiny" if model == "tiny" else CATALOGUE[model].application
    return {"key": model, "application": application, "weights_origin": "random"}


def image_specification(model: str, side: int, input_scaling: str = "paper") -> dict[str, Any]:
    preprocessing = "unit" if input_scaling == "paper" else CATALOGUE[model].preprocessing
    return {"preprocessing": preprocessing, "side": side}
