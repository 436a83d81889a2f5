"""Augmentation of training patches, as a function of (seed, epoch, position) alone.

Each patch is augmented by itself, in `tf.map_fn`, so that the result does not depend on its batch. On whole batches,
TensorFlow may compute `log`, `exp` and `sin` differently for the last few numbers of a tensor, and split a matrix
product by the number of threads, which changes the last bits.

References
----------
- Keras, `ImageDataGenerator`: the kind of transform behind "author".
- Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Anal Quant Cytol Histol 23
  (2001) 291-299: the stain matrix.
- Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled
  stain-invariant convolutional networks", IEEE Trans Med Imaging 37 (2018) 2126-2136, and Tellez et al., "Quantifying
  the effects of data augmentation and stain color normalization in convolutional neural networks for computational
  pathology", Med Image Anal 58 (2019) 101544: jitter of the stains.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError

# The paper names rotation, shifts and zoom. Where it gives no range, these mild ones are our choice.
ROTATION = 20.0  # degrees, in both directions
SHIFT = 0.1  # fraction of the side, in both directions
ZOOM = 0.1  # scales of 1 - ZOOM to 1 + ZOOM, drawn for each axis, as in Keras

# Optical density of pure hematoxylin, eosin and DAB in red, green and blue. H&E has no DAB: the third row stands for
# the residual of the first two and is changed with them, as by Tellez et al.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Our choice, between the "light" (0.05) and the "strong" (0.2) setting of Tellez et al. 2019.
STAIN_SCALE = 0.1  # a concentration is multiplied by 1 - STAIN_SCALE to 1 + STAIN_SCALE
STAIN_SHIFT = 0.05  # and shifted by up to this, in both directions, in units of natural logarithms

# By default, TensorFlow would choose the generator by the device.
GENERATOR = "philox"


def augment(images: tf.Tensor, positions: tf.Tensor, *, kinds: Sequence[str], seed: int, epoch: int) -> tf.Tensor:
    """Augment a batch of patches, for instance in `tf.data.Dataset.map`.

    The result for a patch depends on (seed, epoch, position) alone, not on its batch or the number of threads. Each
    kind has random numbers of its own, which do not depend on the other kinds.

    Parameters
    ----------
    images : (n, height, width, 3) uint8 with static height and width.
    positions : (n,) int64, the position of each patch in its split.
    kinds : any of `AUGMENTATIONS`, in any order; they are applied in the order in which they stand there.

        - "d4": one of the eight flips and quarter turns of a square, each equally likely;
        - "author": rotation, shift and zoom, as by the paper's author, as one affine transform with bilinear
          interpolation and reflection at the borders (`ROTATION`, `SHIFT`, `ZOOM`);
        - "stain": random changes of the concentrations of hematoxylin, eosin and their residual (`STAIN_SCALE`,
          `STAIN_SHIFT`).
    seed, epoch : of the run.

    Returns
    -------
    images : (n, height, width, 3) float32 in 0..255.

    Raises
    ------
    HistobenchError
        if a kind is unknown, or "d4" is asked for patches that are not square.
    """
    images = tf.convert_to_tensor(images)
    shape = images.shape[1:]
    if "d4" in kinds and (shape[0] is None or shape[0] != shape[1]):
        raise HistobenchError(
            f"augmentation: 'd4' turns patches by 90 degrees and needs square ones, these have "
            f"{shape[0]} x {shape[1]} px: choose another kind or cut the patches square"
        )

    def one(patch: tuple[Any, Any]) -> Any:
        image, position = patch
        image = tf.cast(image, tf.float32)
        for kind in filter(kinds.__contains__, AUGMENTATIONS):
            transform, numbers = TRANSFORMS[kind]
            image = transform(image, _uniform(kind, numbers, seed, epoch, position))
        return tf.clip_by_value(image, 0.0, 255.0)

    return tf.map_fn(one, (images, positions), fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _uniform(kind: str, n: int, seed: int, epoch: int, position: Any) -> Any:
    """Return `n` random numbers of a patch for a kind, (n,) float32 in [-1, 1)."""
    key = tf.constant([seed, epoch], tf.int64)
    for part in (position, AUGMENTATIONS.index(kind)):
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(part, tf.int64), alg=GENERATOR)
    return tf.random.stateless_uniform((n,), key, minval=-1.0, maxval=1.0, alg=GENERATOR)


def _d4(image: Any, draws: Any) -> Any:
    """Flip a patch vertically, horizontally and along the diagonal, each or not: the eight symmetries of a square.

    Parameters
    ----------
    image : (side, side, 3) of any dtype.
    draws : (3,) float32 in [-1, 1), of which the signs are used.
    """
    vertical, horizontal, transposed = tf.unstack(draws < 0)
    flipped = tf.raw_ops.Reverse(tensor=image, dims=tf.stack([vertical, horizontal, False]))
    # TensorFlow can't infer the shape after a permutation that is chosen at run time.
    return tf.ensure_shape(tf.transpose(flipped, tf.where(transposed, [1, 0, 2], [0, 1, 2])), image.shape)


def _author(image: Any, draws: Any) -> Any:
    """Rotate, shift and zoom a patch about its centre.

    Parameters
    ----------
    image : (height, width, 3) float32.
    draws : (5,) float32 in [-1, 1): angle, shift in x and y, zoom in x and y.
    """
    height, width = image.shape[:2]
    angle, shift_x, shift_y, zoom_x, zoom_y = tf.unstack(
        draws * [math.radians(ROTATION), SHIFT * width, SHIFT * height, ZOOM, ZOOM]
    )
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The transform from a pixel of the result to its source in the patch: zoom, rotation, shift.
    xx, xy = cos * (1 + zoom_x), -sin * (1 + zoom_y)
    yx, yy = sin * (1 + zoom_x), cos * (1 + zoom_y)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    x0 = centre_x + shift_x - xx * centre_x - xy * centre_y
    y0 = centre_y + shift_y - yx * centre_x - yy * centre_y
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([xx, xy, x0, yx, yy, y0, 0.0, 0.0])[None],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def _stain(image: Any, draws: Any) -> Any:
    """Change the concentration of each stain in a patch.

    Parameters
    ----------
    image : (height, width, 3) float32 in 0..255.
    draws : (6,) float32 in [-1, 1): scales, then shifts, of the stains.

    Returns
    -------
    image : (height, width, 3) float32 in (-1, 256], not clipped.
    """
    scale, shift = 1 + STAIN_SCALE * draws[:3], STAIN_SHIFT * draws[3:]
    # One matrix for: density to concentration, scaling, and back to density. It takes a third of the operations.
    mix = tf.constant(np.linalg.inv(STAINS), tf.float32) @ (scale[:, None] * tf.constant(STAINS, tf.float32))
    offset = tf.reduce_sum(shift[:, None] * tf.constant(STAINS, tf.float32), axis=0)
    # One level is added here and subtracted at the end, so that the density of black is finite.
    density = -tf.math.log((image + 1) / 256)
    red, green, blue = tf.split(density, 3, axis=-1)
    # Written out, since the rounding of a matrix product over many pixels may depend on the number of threads.
    density = red * mix[0] + green * mix[1] + blue * mix[2] + offset
    return 256 * tf.exp(-density) - 1


# Of each kind, what is done to a patch, and how many random numbers that takes.
TRANSFORMS = {"d4": (_d4, 3), "author": (_author, 5), "stain": (_stain, 6)}
