"""Augmentation of training patches: a function of (seed, epoch, position) alone.

Every patch is augmented by itself, in `tf.map_fn`, and not as a slice of its batch. It costs little here, and it is
what makes the result independent of the batch to the last bit: TensorFlow may compute `log`, `exp` and `sin` by other
code for the last few numbers of a tensor than for the rest, and split a matrix product by the number of threads.

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

from histobench.core.errors import HistobenchError
from histobench.core.recipes import AUGMENTATIONS

# The paper names rotation, shifts and zoom, where it gives no range these are ours: the usual mild ones.
ROTATION = 20.0  # degrees, either way
SHIFT = 0.1  # of the side, either way
ZOOM = 0.1  # scale of 1 - ZOOM to 1 + ZOOM, drawn for each axis, as Keras does

# Optical density of pure hematoxylin, eosin and DAB in red, green and blue. H&E has no DAB: the third row takes what
# the first two leave over, and is jittered with them, as Tellez et al. do.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Ours, between the "light" (0.05) and the "strong" (0.2) setting of Tellez et al. 2019.
STAIN_SCALE = 0.1  # a concentration is multiplied by 1 - STAIN_SCALE to 1 + STAIN_SCALE
STAIN_SHIFT = 0.05  # and moved by so much either way, in units of natural logarithms

# Named rather than left to TensorFlow, which otherwise chooses by the device.
GENERATOR = "philox"


def augment(images: tf.Tensor, positions: tf.Tensor, *, kinds: Sequence[str], seed: int, epoch: int) -> tf.Tensor:
    """Augment a batch of patches; usable in `tf.data.Dataset.map`.

    What happens to a patch depends on (seed, epoch, position) alone: not on its batch, its place there or the number of
    threads. Each kind draws numbers of its own, so that naming another one leaves them as they were.

    Parameters
    ----------
    images : (n, height, width, 3) uint8, height and width known when the graph is built.
    positions : (n,) int64, the position of each patch in its split.
    kinds : any of `core.recipes.AUGMENTATIONS`, in any order; they are applied in the order in which they stand there.

        - "d4": one of the eight flips and quarter turns of a square, each equally likely;
        - "author": the set of the paper's author: rotation, shift of width and height, and zoom, as one affine
          transform with bilinear interpolation, filled up by reflection. The ranges (`ROTATION`, `SHIFT`, `ZOOM`) are
          ours where the paper does not give them;
        - "stain": jitter of the concentrations of hematoxylin, eosin and what they leave over (`STAIN_SCALE`,
          `STAIN_SHIFT`).
    seed, epoch : of the run.

    Returns
    -------
    (n, height, width, 3) float32 in 0..255.
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
    """Return the `n` random numbers of one patch for one kind: (n,) float32 in [-1, 1)."""
    key = tf.constant([seed, epoch], tf.int64)
    for part in (position, AUGMENTATIONS.index(kind)):
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(part, tf.int64), alg=GENERATOR)
    return tf.random.stateless_uniform((n,), key, minval=-1.0, maxval=1.0, alg=GENERATOR)


def _d4(image: Any, draws: Any) -> Any:
    """Flip a patch upside down or not, left to right or not, and transpose it or not: the eight symmetries of a square.

    Parameters
    ----------
    image : (side, side, 3) of any type.
    draws : (3,) float32 in [-1, 1), of which only the sign counts.
    """
    vertical, horizontal, transposed = tf.unstack(draws < 0)
    flipped = tf.raw_ops.Reverse(tensor=image, dims=tf.stack([vertical, horizontal, False]))
    # TensorFlow can't see that the shape outlives a transposition that is decided at run time.
    return tf.ensure_shape(tf.transpose(flipped, tf.where(transposed, [1, 0, 2], [0, 1, 2])), image.shape)


def _author(image: Any, draws: Any) -> Any:
    """Rotate, shift and zoom a patch around its centre.

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
    # From a pixel of the result to the point in the patch it is taken from: zoom, then rotate, then shift.
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
    """Change how much of each stain a patch took up.

    Parameters
    ----------
    image : (height, width, 3) float32 in 0..255.
    draws : (6,) float32 in [-1, 1): scale, then shift, of each stain.

    Returns
    -------
    (height, width, 3) float32, at most 256 and above -1: to be clipped.
    """
    scale, shift = 1 + STAIN_SCALE * draws[:3], STAIN_SHIFT * draws[3:]
    # To concentrations, scaled, and back to densities, as one matrix: three times fewer operations per pixel.
    mix = tf.constant(np.linalg.inv(STAINS), tf.float32) @ (scale[:, None] * tf.constant(STAINS, tf.float32))
    offset = tf.reduce_sum(shift[:, None] * tf.constant(STAINS, tf.float32), axis=0)
    # One level is added on the way in and taken off on the way out, which gives black a density and loses nothing.
    density = -tf.math.log((image + 1) / 256)
    red, green, blue = tf.split(density, 3, axis=-1)
    # Written out, since a matrix product over many pixels may round otherwise on another number of threads.
    density = red * mix[0] + green * mix[1] + blue * mix[2] + offset
    return 256 * tf.exp(-density) - 1


# Of each kind, what is done to a patch, and how many random numbers that takes.
TRANSFORMS = {"d4": (_d4, 3), "author": (_author, 5), "stain": (_stain, 6)}
