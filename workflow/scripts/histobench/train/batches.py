"""Batches of patches or features: their order, and the resizing and scaling of patches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras.applications import imagenet_utils

from histobench.core.features import Features
from histobench.core.prepared import Records


def order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of `n` training patches in an epoch: a permutation that depends on (seed, epoch) alone.

    So a run that is resumed at an epoch has the order of an uninterrupted run, and a head on cached features has the
    order of end-to-end training.
    """
    return np.random.default_rng([seed, epoch]).permutation(n)


def resize(images: Any, side: int) -> Any:
    """Resize patches to side x side px by bilinear interpolation, unless they already have this size."""
    if images.shape[1:3] == (side, side):
        return images
    return tf.image.resize(images, (side, side))


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
    images = tf.cast(images, tf.float32)
    if preprocessing == "unit":
        return images / 255.0
    if preprocessing == "none":
        return images
    return imagenet_utils.preprocess_input(images, data_format="channels_last", mode=preprocessing)


def spans(n: int, size: int) -> list[tuple[int, int]]:
    """Return starts and ends of parts of `size` out of `n` patches, of which the last may be shorter.

    A single last patch is added to the part before. Batch norm has no variance over one patch, and TensorFlow computes
    a batch of one by other kernels, with other last bits. In a batch of two or more, the result for a patch does not
    depend on the others.
    """
    starts = list(range(0, n, size))
    if size > 1 and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


def batches(
    part: Records | Features,
    positions: npt.NDArray[np.int64],
    *,
    batch_size: int,
    image: Mapping[str, Any] | None,
    augment: Callable[[Any, Any], Any] | None = None,
) -> tf.data.Dataset:
    """Return batches of the inputs at `positions`, in this order, and their labels.

    Parameters
    ----------
    part : patches, or the features that a backbone made of them.
    positions : (n,) int64, in `part`.
    batch_size : of all batches but the last, see :func:`spans`.
    image : `preprocessing` and `side` of the patches, see :meth:`histobench.core.study.Study.input`; None for features.
    augment : takes uint8 patches and their positions, see :func:`histobench.train.augmentation.augment`.

    Returns
    -------
    data : batches of inputs, (batch, side, side, 3) or (batch, features) float32, and labels, (batch, 1) float32.
    """
    limits = np.array(spans(len(positions), batch_size))

    def gather(start: np.int64, end: np.int64) -> tuple[Any, Any, Any]:
        chosen = positions[start:end]
        return part.take(chosen), part.labels[chosen, None], chosen

    def load(start: Any, end: Any) -> tuple[Any, Any]:
        inputs, labels, chosen = tf.numpy_function(
            gather, [start, end], [part.dtype, tf.float32, tf.int64], stateful=False
        )
        inputs.set_shape((None, *part.shape))
        labels.set_shape((None, 1))
        chosen.set_shape((None,))
        if augment is not None:
            inputs = augment(inputs, chosen)
        if image is not None:
            inputs = scale(resize(inputs, image["side"]), image["preprocessing"])
        return inputs, labels

    # There is nothing for tf.data to tune, and its tuning thread delays the end of an epoch: it sleeps for 10, 20, 40
    # ms and so on, and an iterator ends only after it has woken up (seen in TensorFlow 2.21).
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        tf.data.Dataset.from_tensor_slices((limits[:, 0], limits[:, 1]))
        .map(load, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
        .with_options(options)
    )
