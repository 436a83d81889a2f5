"""Specifications of the catalogue to Keras models."""

import logging
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from histobench.errors import HistobenchError
from histobench.train.random_state import seed_everything

log = logging.getLogger(__name__)

layers = keras.layers

# The frozen backbone of a transfer-learning run with random weights stands in for a file of pretrained ones: it is the
# same in every run, whatever the run's seed.
BACKBONE_SEED = 20240101
# Batches of training patches from which the statistics of batch norm are calibrated, and patches in each.
CALIBRATION_BATCHES = 8
CALIBRATION_BATCH_SIZE = 64


def b2(shape: tuple[int, int, int]) -> keras.Model:
    """Return B2 of Bonnet 2024: two convolutions, 10 layers, 9.49 million parameters at 96 px."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 5, padding="same"),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, padding="same"),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(256),
            layers.Activation("relu"),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="b2",
    )


def b6(shape: tuple[int, int, int]) -> keras.Model:
    """Return B6 of Bonnet 2024: six valid convolutions, 28 layers, 2.39 million parameters at 96 px."""
    stack: list[Any] = [keras.Input(shape), layers.Conv2D(32, 3, activation="relu")]
    for place, filters in enumerate((32, 64, 64, 128, 128)):
        stack += [
            layers.Conv2D(filters, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
        ]
        if place % 2 == 0:  # the end of each pair
            stack += [layers.MaxPooling2D(2), layers.Dropout(0.3)]
    stack += [
        layers.Flatten(),
        layers.Dense(256, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Dropout(0.5),
        layers.Dense(1, activation="sigmoid"),
    ]
    return keras.Sequential(stack, name="b6")


HAND_MADE: dict[str, Callable[[tuple[int, int, int]], keras.Model]] = {"b2": b2, "b6": b6}


def build(
    spec: dict[str, Any],
    mode: str,
    shape: tuple[int, int, int],
    *,
    seed: int,
    weights: Path | None = None,
) -> keras.Model:
    """Return an uncompiled model that maps scaled patches to the probability of tumour.

    Parameters
    ----------
    spec : the fields of :class:`histobench.catalogue.Model` as a mapping.
    mode : "tl" freezes the backbone, whose batch norm then runs in inference mode; "full" and "scratch" train every
        layer.
    shape : (height, width, 3) of a patch in pixels.
    seed : the run's seed, from which all fresh weights come but those of a frozen random backbone.
    weights : file with the backbone's pretrained weights, in the format of Keras 3 (``.weights.h5``) or that of
        ``keras.applications`` (``.h5``); None for random ones.

    Notes
    -----
    The head of a CNN of ``keras.applications`` is the author's: global average pooling, Dense(256, relu),
    Dense(1, sigmoid).
    """
    seed_everything(BACKBONE_SEED if mode == "tl" else seed)
    if spec["application"] is None:
        return HAND_MADE[spec["key"]](shape)
    application = getattr(keras.applications, spec["application"], None)
    if application is None:
        raise HistobenchError(
            f"models.{spec['key']}.application: keras.applications of Keras {keras.__version__} has no "
            f"{spec['application']!r}"
        )
    backbone = application(include_top=False, weights=None, input_shape=shape, pooling="avg")
    if weights is not None:
        load_pretrained(backbone, weights)
    backbone.trainable = mode != "tl"
    seed_everything(seed)
    return keras.Sequential(
        [
            keras.Input(shape),
            backbone,
            layers.Dense(256, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ],
        name=spec["key"].replace(".", "_"),
    )


def load_pretrained(model: keras.Model, path: Path) -> None:
    """Load pretrained weights, and refuse a file that leaves any of the model's weights as it was."""
    before = [np.asarray(value) for value in model.get_weights()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # layer by layer; what is missing is counted below
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise HistobenchError(
            f"{path}: expected weights of {model.name} without its top ({len(before)} tensors); Keras says: {error}"
        ) from error
    kernels = [(old, new) for old, new in zip(before, model.get_weights(), strict=True) if old.ndim > 1]
    if same := sum(np.array_equal(old, new) for old, new in kernels):
        raise HistobenchError(
            f"{path}: expected weights of {model.name}, but {same} of its {len(kernels)} kernels were not in the file"
        )


def calibrate(backbone: keras.Model, images: Iterable[Any]) -> None:
    """Set the statistics of a random backbone's batch norm to those of training patches.

    As they come, with mean 0 and variance 1, random deep backbones shrink what passes through them until nothing is
    left of it (MobileNet's features of real patches have a standard deviation of 8e-21), and no head could learn.

    Parameters
    ----------
    backbone : its moving means and variances are changed, nothing else.
    images : batches of scaled patches, (n, height, width, 3) float32 each.

    Notes
    -----
    The average over batches is exact: momentum k / (k + 1) at batch k makes the moving average a cumulative one.
    """
    norms = [layer for layer in backbone.layers if isinstance(layer, layers.BatchNormalization)]
    momentum = [norm.momentum for norm in norms]
    trainable = backbone.trainable
    backbone.trainable = True  # batch norm that is frozen never looks at its batch
    for k, batch in enumerate(images):
        for norm in norms:
            norm.momentum = k / (k + 1)
        backbone(batch, training=True)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    backbone.trainable = trainable
    log.info("calibrated %d batch norms of the random %s on training patches", len(norms), backbone.name)
