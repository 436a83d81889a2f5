"""Records to batches: in which order, and scaled how."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras.applications import imagenet_utils

from histobench.datasets.prepared import Records


def order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of `n` training patches in an epoch: a permutation that depends on (seed, epoch) alone.

    A run that goes on at epoch 7 therefore sees what an uninterrupted one sees there, and heads trained on cached
    features see the order of end-to-end training.
    """
    return np.random.default_rng([seed, epoch]).permutation(n)


def scale(images: Any, input_scaling: str, preprocessing: str) -> Any:
    """Scale a batch of patches for a model.

    Parameters
    ----------
    images : (n, height, width, 3) uint8, or float32 in 0 to 255.
    input_scaling : "paper": x / 255 for every model, as the author's code does; "native": as the backbone was
        pretrained.
    preprocessing : what "native" means for the model, see :class:`histobench.catalogue.Model`.

    Returns
    -------
    (n, height, width, 3) float32.
    """
    images = tf.cast(images, tf.float32)
    if input_scaling == "paper" or preprocessing == "unit":
        return images / 255.0
    if preprocessing == "none":
        return images
    return imagenet_utils.preprocess_input(images, data_format="channels_last", mode=preprocessing)


def batches(
    records: Records,
    positions: npt.NDArray[np.int64],
    *,
    batch_size: int,
    input_scaling: str,
    preprocessing: str,
    augment: Callable[[Any, Any], Any] | None = None,
) -> tf.data.Dataset:
    """Return the patches at `positions`, in that order, as batches of (images, labels).

    Images are (batch, height, width, 3) float32, labels (batch, 1) float32; the last batch may be smaller. `augment`
    takes uint8 images and their positions, see :func:`histobench.train.augmentation.augment`.
    """

    def gather(chosen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        return records.images(chosen), records.labels[chosen, None]

    def load(chosen: Any) -> tuple[Any, Any]:
        images, labels = tf.numpy_function(gather, [chosen], [tf.uint8, tf.float32], stateful=False)
        images.set_shape((None, *records.shape))
        labels.set_shape((None, 1))
        if augment is not None:
            images = augment(images, chosen)
        return scale(images, input_scaling, preprocessing), labels

    return (
        tf.data.Dataset.from_tensor_slices(positions)
        .batch(batch_size)
        .map(load, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
    )
