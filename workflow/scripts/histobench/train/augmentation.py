"""Augmentation of training patches, as a function of (seed, epoch, position) alone.

The random numbers of a patch are drawn on the host, by a counter-based generator; a layer in front of the network
applies them to whole batches on the device. XLA compiles it in one piece, so that on a CPU the result does not depend
on the batch or the number of threads: TensorFlow's own operations compute `log` and `exp` of the last few numbers of a
tensor otherwise.

References
----------
- Keras, `ImageDataGenerator`: the transforms of "author-inceptionv3" and "author-b6"; their ranges stand in the code of
  the paper's author, erbon7/pcam_analysis.
- Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Anal Quant Cytol Histol 23
  (2001) 291-299: the stain matrix.
- Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled
  stain-invariant convolutional networks", IEEE Trans Med Imaging 37 (2018) 2126-2136, and Tellez et al., "Quantifying
  the effects of data augmentation and stain color normalization in convolutional neural networks for computational
  pathology", Med Image Anal 58 (2019) 101544: jitter of the stains.
- Liu et al., "Detecting cancer metastases on gigapixel pathology images", arXiv:1703.02442: the ranges of "colour".
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError
from histobench.train.keras_backend import compiled, ops

Floats = npt.NDArray[np.float64]

# Of the author's sets. Rotation, which differs between them, stands in `KINDS`, in degrees.
SHIFT = 0.2  # fraction of the side, in both directions
ZOOM = 0.2  # scales of 1 - ZOOM to 1 + ZOOM, drawn for each axis

# Optical density of pure hematoxylin, eosin and DAB in red, green and blue. H&E has no DAB: the third row stands for
# the residual of the first two and is changed with them, as by Tellez et al.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# By kind: a concentration is multiplied by 1 - scale to 1 + scale, and shifted by up to the second number, in both
# directions, in units of natural logarithms. "stain" is our choice between the two settings of Tellez et al. 2019.
STAIN = {"stain-light": (0.05, 0.05), "stain": (0.1, 0.05), "stain-strong": (0.2, 0.2)}

# In both directions, as by Liu et al.: brightness in levels of 0 to 255, hue in turns, saturation and contrast as
# factors of 1 - c to 1 + c.
BRIGHTNESS, SATURATION, HUE, CONTRAST = 64.0, 0.25, 0.04, 0.75
# How bright a colour looks, by ITU-R BT.601, the weights of grey in Pillow and in `tf.image`.
LUMA = np.array([0.299, 0.587, 0.114])

# Largest deviation of the Gaussian, in pixels, our choice; and pixels on each side of the middle that it covers.
BLUR, BLUR_RADIUS = 1.5, 4


class Kind(NamedTuple):
    """A kind of augmentation.

    Attributes
    ----------
    numbers : how many random numbers a patch takes.
    prepare : makes of these numbers, (n, numbers) in [-1, 1), and the shape of a patch, on the host, what the device
        takes.
    shape, dtype : of that, for one patch.
    apply : does to patches, on the device, what that says.
    """

    numbers: int
    prepare: Callable[[Floats, tuple[int, ...]], npt.NDArray[Any]]
    shape: tuple[int, ...]
    dtype: str
    apply: Callable[[Any, Any], Any]


def draw(kinds: Sequence[str], seed: int, epoch: int, n: int, shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    """Draw the random numbers of augmentation of all patches of a split for an epoch.

    Each kind has a stream of random numbers of its own, by NumPy's counter-based generator Philox, with (seed, epoch,
    kind) as its key. Those of a patch stand where its position says, so they depend on no other patch.

    Parameters
    ----------
    kinds : any of `AUGMENTATIONS`.
    seed, epoch : of the run.
    n : number of patches.
    shape : (height, width, 3) of a patch in pixels.

    Returns
    -------
    draws : of each kind, in the order of `AUGMENTATIONS`, what :class:`Augmentation` takes: an array with a row for
        each patch, of the shapes and types in `KINDS`.
    """
    draws = {}
    for kind in filter(kinds.__contains__, AUGMENTATIONS):
        generator = np.random.Generator(np.random.Philox([seed, epoch, AUGMENTATIONS.index(kind)]))
        numbers = generator.uniform(-1, 1, (n, KINDS[kind].numbers))
        draws[kind] = KINDS[kind].prepare(numbers, shape).astype(KINDS[kind].dtype)
    return draws


class Augmentation(keras.layers.Layer):  # type: ignore[misc]
    """Applies random numbers of :func:`draw` to patches, one kind after another in the order of `AUGMENTATIONS`.

    The kinds:

    - "d4": one of the eight flips and quarter turns of a square, each equally likely;
    - "author-inceptionv3", "author-b6": rotation, shift, zoom and flips, as by the paper's author for these models, as
      one affine transform with bilinear interpolation; places outside get the nearest pixel (`SHIFT`, `ZOOM`);
    - "stain-light", "stain", "stain-strong": random changes of the concentrations of hematoxylin, eosin and their
      residual (`STAIN`);
    - "colour": brightness, saturation, hue and contrast, in this order (`BRIGHTNESS` and the others);
    - "blur": a Gaussian blur of 0 to `BLUR` pixels.

    Parameters
    ----------
    kinds : any of `AUGMENTATIONS`.
    shape : (height, width, 3) of a patch in pixels.

    Raises
    ------
    HistobenchError
        if "d4" is asked for patches that are not square.
    """

    def __init__(self, kinds: Sequence[str], shape: tuple[int, ...]) -> None:
        super().__init__(dtype="float32")
        if "d4" in kinds and shape[0] != shape[1]:
            raise HistobenchError(
                f"augmentation: 'd4' turns patches by 90 degrees and needs square ones, these have "
                f"{shape[0]} x {shape[1]} px: choose another kind or cut the patches square"
            )
        self._kinds = [kind for kind in AUGMENTATIONS if kind in kinds]
        self._shape, transforms = shape, [KINDS[kind].apply for kind in self._kinds]

        def augment(images: Any, *draws: Any) -> Any:
            for transform, numbers in zip(transforms, draws, strict=True):
                images = transform(images, numbers)
            return ops.clip(ops.cast(images, "float32"), 0.0, 255.0)

        self._augment = compiled(augment)

    def inputs(self) -> dict[str, Any]:
        """Return Keras's inputs for the random numbers of each kind."""
        return {kind: keras.Input(KINDS[kind].shape, dtype=KINDS[kind].dtype, name=kind) for kind in self._kinds}

    def call(self, inputs: Sequence[Any]) -> Any:
        """Return (n, height, width, 3) float32 in 0 to 255, of patches in uint8 and the numbers of each kind."""
        return ops.reshape(self._augment(*inputs), (-1, *self._shape))


def _which_of_eight(draws: Floats, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ARG001
    """Return 0 to 7 of signs, (n, 3): one bit each for a vertical flip, a horizontal one and one along the diagonal."""
    return (draws < 0) @ [1, 2, 4]


def _d4(images: Any, which: Any) -> Any:
    """Flip patches, (n, side, side, 3) of any dtype, as (n,) numbers of :func:`_which_of_eight` say."""

    def chosen(bit: int) -> Any:
        return (which // bit % 2 == 1)[:, None, None, None]

    images = ops.where(chosen(1), ops.flip(images, axis=1), images)
    images = ops.where(chosen(2), ops.flip(images, axis=2), images)
    return ops.where(chosen(4), ops.transpose(images, (0, 2, 1, 3)), images)


def _sources(draws: Floats, shape: tuple[int, ...], *, rotation: float) -> npt.NDArray[Any]:
    """Return the affine transforms from a pixel of the result to its source in the patch, (n, 6).

    Parameters
    ----------
    draws : (n, 7) in [-1, 1): angle, shift in x and y, zoom in x and y; flips in x and y by their signs.
    shape : of a patch.
    rotation : largest angle in degrees.

    Returns
    -------
    xx, xy, x0, yx, yy, y0 : the source of the pixel (x, y) is (xx x + xy y + x0, yx x + yy y + y0), all in pixels,
        counted from the centre of the patch.
    """
    height, width = shape[:2]
    angle, right, down, zoom_x, zoom_y = (
        draws[:, :5] * [np.radians(rotation), SHIFT * width, SHIFT * height, ZOOM, ZOOM]
    ).T
    zoom_x, zoom_y = (1 + np.array([zoom_x, zoom_y])) * np.where(draws[:, 5:].T < 0, -1, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    # As in Keras the shift is turned with the patch.
    x0, y0 = cos * right - sin * down, sin * right + cos * down
    return np.stack([cos * zoom_x, -sin * zoom_y, x0, sin * zoom_x, cos * zoom_y, y0], axis=1)


def _affine(images: Any, sources: Any) -> Any:
    """Transform patches, (n, height, width, 3), by (n, 6) numbers of :func:`_sources`; return float32."""
    height, width = images.shape[1:3]
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    xx, xy, x0, yx, yy, y0 = (sources[:, number][:, None, None] for number in range(6))
    left, right, share_x = _neighbours(xx * x + xy * y + x0, width)
    upper, lower, share_y = _neighbours(yx * x + yy * y + y0, height)
    # Numbers of the pixels in the batch, which is one long row of them.
    first = ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None] * (height * width)
    pixels = ops.reshape(images, (-1, 3))

    def at(row: Any, column: Any) -> Any:
        return ops.cast(ops.take(pixels, first + row * width + column, axis=0), "float32")

    above = at(upper, left) * (1 - share_x) + at(upper, right) * share_x
    below = at(lower, left) * (1 - share_x) + at(lower, right) * share_x
    return above * (1 - share_y) + below * share_y


def _neighbours(place: Any, size: int) -> tuple[Any, Any, Any]:
    """Return the pixels on both sides of places along an axis, and the share of the second, (..., 1).

    Places beyond the edge are those of the pixel at the edge.

    Parameters
    ----------
    place : float32, in pixels from the centre.
    size : of the patch along the axis.
    """
    place = ops.clip(place + (size - 1) / 2, 0.0, size - 1.0)
    before = ops.floor(place)
    pixel = ops.cast(before, "int32")
    return pixel, ops.minimum(pixel + 1, size - 1), (place - before)[..., None]


def _mixes(draws: Floats, shape: tuple[int, ...], *, scale: float, shift: float) -> npt.NDArray[Any]:  # noqa: ARG001
    """Return by what the optical densities of a patch change, (n, 4, 3).

    Parameters
    ----------
    draws : (n, 6) in [-1, 1): scales, then shifts, of the stains.
    scale, shift : their largest changes.

    Returns
    -------
    The first three rows are one matrix for: density to concentration, scaling, and back to density; the last row is
    added.
    """
    scales, shifts = 1 + scale * draws[:, :3], shift * draws[:, 3:]
    mixes = np.linalg.inv(STAINS) @ (scales[:, :, None] * STAINS)
    return np.concatenate([mixes, (shifts @ STAINS)[:, None]], axis=1)


def _stain(images: Any, mixes: Any) -> Any:
    """Change the concentration of each stain in patches, (n, height, width, 3) in 0 to 255, by :func:`_mixes`.

    Returns
    -------
    images : (n, height, width, 3) float32 in (-1, 256], not clipped.
    """
    # One level is added here and subtracted at the end, so that the density of black is finite.
    density = _mixed(-ops.log((ops.cast(images, "float32") + 1) / 256), mixes)
    return 256 * ops.exp(-density) - 1


def _mixed(channels: Any, mixes: Any) -> Any:
    """Return the channels of images, (n, height, width, 3), times the first three of (n, 4, 3) rows, plus the fourth.

    Written out, since a product of matrices may sum in another order for another size of the batch.
    """
    of_red, of_green, of_blue, more = (mixes[:, row][:, None, None, :] for row in range(4))
    return channels[..., 0:1] * of_red + channels[..., 1:2] * of_green + channels[..., 2:3] * of_blue + more


def _colours(draws: Floats, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ARG001
    """Return by what the colours of a patch change, (n, 5, 3), see :func:`_colour`.

    Parameters
    ----------
    draws : (n, 4) in [-1, 1): brightness, saturation, hue, contrast.

    Notes
    -----
    Hue turns colours about the axis of greys, and saturation moves them from or to their grey: both are matrices, as
    those of HSV colours in `tf.image` are not.
    """
    brightness, angle = BRIGHTNESS * draws[:, 0, None, None], 2 * np.pi * HUE * draws[:, 2, None, None]
    saturation, contrast = 1 + SATURATION * draws[:, 1, None, None], 1 + CONTRAST * draws[:, 3, None, None]
    grey = np.tile(LUMA[:, None], 3)
    saturated = saturation * np.eye(3) + (1 - saturation) * grey
    # Rodrigues' formula, transposed, since rows are colours.
    axis = np.cross(np.full(3, 1 / np.sqrt(3)), np.eye(3))
    turned = np.cos(angle) * np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) / 3
    mixes = saturated @ turned
    added = brightness * np.ones(3) @ mixes
    return np.concatenate([mixes, added, np.tile(contrast, 3)], axis=1)


def _colour(images: Any, colours: Any) -> Any:
    """Change the colours of patches, (n, height, width, 3) in 0 to 255, by (n, 5, 3) numbers of :func:`_colours`.

    The first four rows are a mix of channels and what is added. The distance of a channel from its mean over the patch
    is multiplied by the last row.

    Returns
    -------
    images : (n, height, width, 3) float32, not clipped.
    """
    mixed = _mixed(ops.cast(images, "float32"), colours)
    # Of whole levels, whose sum is the same in whatever order.
    levels = ops.cast(ops.floor(mixed + 0.5), "int32")
    mean = ops.cast(ops.sum(levels, axis=(1, 2), keepdims=True), "float32") / (images.shape[1] * images.shape[2])
    return (mixed - mean) * colours[:, 4][:, None, None, :] + mean


def _gaussians(draws: Floats, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ARG001
    """Return of (n, 1) draws the weights of Gaussians at -`BLUR_RADIUS` to `BLUR_RADIUS` pixels, a row for each."""
    deviations = np.maximum(BLUR * (1 + draws) / 2, 1e-3)  # of less, nothing but the middle is left
    weights = np.exp(-0.5 * (np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1) / deviations) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _blur(images: Any, weights: Any) -> Any:
    """Blur patches, (n, height, width, 3), along both axes by (n, 2 `BLUR_RADIUS` + 1) weights; edges are repeated."""
    images = ops.cast(images, "float32")
    for axis in (1, 2):
        size = images.shape[axis]
        first, last = ops.take(images, [0], axis=axis), ops.take(images, [size - 1], axis=axis)
        padded = ops.concatenate([*[first] * BLUR_RADIUS, images, *[last] * BLUR_RADIUS], axis=axis)
        images = sum(
            (padded[:, start : start + size] if axis == 1 else padded[:, :, start : start + size])
            * weights[:, start][:, None, None, None]
            for start in range(2 * BLUR_RADIUS + 1)
        )
    return images


KINDS = {
    "d4": Kind(3, _which_of_eight, (), "int32", _d4),
    **{
        f"author-{model}": Kind(7, partial(_sources, rotation=degrees), (6,), "float32", _affine)
        for model, degrees in (("inceptionv3", 40), ("b6", 180))
    },
    **{
        kind: Kind(6, partial(_mixes, scale=scale, shift=shift), (4, 3), "float32", _stain)
        for kind, (scale, shift) in STAIN.items()
    },
    "colour": Kind(4, _colours, (5, 3), "float32", _colour),
    "blur": Kind(1, _gaussians, (2 * BLUR_RADIUS + 1,), "float32", _blur),
}
