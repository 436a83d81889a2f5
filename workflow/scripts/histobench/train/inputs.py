"""The layers in front of a network: from patches as they are stored, or their positions, to what the network takes.

They are compiled with the network, so that patches stay bytes until they are on the device.
"""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras.applications import imagenet_utils

from histobench.core.features import Features
from histobench.core.prepared import Records
from histobench.train.keras_backend import KERAS_2, ops

# Patches that are read at a time when they are put on the device.
CHUNK = 4096


def resize(images: Any, side: int) -> Any:
    """Resize patches to side x side px by bilinear interpolation, unless they already have this size."""
    if tuple(images.shape[1:3]) == (side, side):
        return images
    return ops.image.resize(ops.cast(images, "float32"), (side, side), data_format="channels_last")


def scale(images: Any, preprocessing: str) -> Any:
    """Scale a batch of patches for a model.

    Parameters
    ----------
    images : (n, height, width, 3) uint8, or float32 in 0 to 255.
    preprocessing : see :class:`histobench.core.catalogue.Model`.

    Returns
    -------
    (n, height, width, 3) float32.
    """
    images = ops.cast(images, "float32")
    if preprocessing == "unit":
        return images / 255.0
    if preprocessing == "none":
        return images
    return imagenet_utils.preprocess_input(images, data_format="channels_last", mode=preprocessing)


class Preprocessing(keras.layers.Layer):  # type: ignore[misc]
    """Resizing and scaling of patches, see :func:`resize` and :func:`scale`."""

    def __init__(self, side: int, preprocessing: str) -> None:
        super().__init__(dtype="float32")
        self._side, self._preprocessing = side, preprocessing

    def call(self, images: Any) -> Any:
        """Return (n, side, side, 3) float32, of patches (n, height, width, 3) uint8 or float32 in 0 to 255."""
        return scale(resize(images, self._side), self._preprocessing)


class Resident(keras.layers.Layer):  # type: ignore[misc]
    """All patches, or features, of a split, on the device; takes positions, gives what is there.

    They are read, and checked, once. While they are put there, the device holds them twice.
    """

    def __init__(self, part: Records | Features) -> None:
        super().__init__(dtype="float32")
        self._patches = self.add_weight(
            name="patches",
            shape=(len(part), *part.shape),
            dtype=part.dtype,
            initializer=lambda shape, dtype=None: _on_device(part),  # noqa: ARG005
            trainable=False,
        )

    def call(self, positions: Any) -> Any:
        """Return the patches, (n, *part.shape) of `part.dtype`, at positions, (n,) int32."""
        return ops.take(self._patches, positions, axis=0)


def nbytes(part: Records | Features) -> int:
    """Return the bytes of all patches, or features, of a split."""
    return len(part) * math.prod(part.shape) * np.dtype(part.dtype).itemsize


def _on_device(part: Records | Features) -> Any:
    starts = range(0, len(part), CHUNK)
    chunks = [part.take(np.arange(start, min(start + CHUNK, len(part)))) for start in starts]
    return ops.concatenate([ops.convert_to_tensor(chunk) for chunk in chunks], axis=0)


def join(
    network: keras.Model,
    part: Records | Features,
    image: Mapping[str, Any] | None,
    *,
    augmentation: Any = None,
    resident: bool = False,
) -> keras.Model:
    """Return a model that takes :class:`histobench.train.batches.Batches` of a part and shares the network's weights.

    Parameters
    ----------
    network : from scaled patches, or from features.
    part : patches, or features, of the shape and type that the model is to take.
    image : `side` and `preprocessing` of the patches, see :meth:`histobench.core.study.Study.input`; None for features.
    augmentation : a :class:`histobench.train.augmentation.Augmentation`, None for none. It is not imported here, since
        features do not depend on it.
    resident : put the part on the device; the model then takes positions in it.
    """
    if resident:
        inputs = {"positions": keras.Input((), dtype="int32", name="positions")}
        images = Resident(part)(inputs["positions"])
    else:
        inputs = {"patches": keras.Input(part.shape, dtype=part.dtype, name="patches")}
        images = inputs["patches"]
    if augmentation is not None:
        draws = augmentation.inputs()
        images = augmentation([images, *draws.values()])
        inputs |= draws
    if image is not None:
        images = Preprocessing(image["side"], image["preprocessing"])(images)
    model = keras.Model(inputs, network(images))
    if not KERAS_2:  # which does so by itself
        # In mixed precision the numbers of augmentation would be rounded.
        model.autocast = False
    return model
