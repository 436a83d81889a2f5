"""Augmentation of training patches, as a function of (seed, epoch, position) alone.

The random numbers of a patch are drawn on the host, by a counter-based generator; a layer in front of the network
applies them to whole batches on the device. XLA compiles it in one piece, so that on a CPU the result does not depend
on the batch or the number of threads: TensorFlow's own operations compute `log` and `exp` of the last few numbers of a
tensor otherwise.

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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError
from histobench.train.keras_backend import compiled, ops

Floats = npt.NDArray[np.float64]

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
    - "author": rotation, shift and zoom, as by the paper's author, as one affine transform with bilinear interpolation
      and reflection at the borders (`ROTATION`, `SHIFT`, `ZOOM`);
    - "stain": random changes of the concentrations of hematoxylin, eosin and their residual (`STAIN_SCALE`,
      `STAIN_SHIFT`).

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


def _sources(draws: Floats, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the affine transforms from a pixel of the result to its source in the patch, (n, 6).

    Parameters
    ----------
    draws : (n, 5) in [-1, 1): angle, shift in x and y, zoom in x and y.
    shape : of a patch.

    Returns
    -------
    xx, xy, x0, yx, yy, y0 : the source of the pixel (x, y) is (xx x + xy y + x0, yx x + yy y + y0), all in pixels,
        counted from the centre of the patch.
    """
    height, width = shape[:2]
    angle, x0, y0, zoom_x, zoom_y = (draws * [np.radians(ROTATION), SHIFT * width, SHIFT * height, ZOOM, ZOOM]).T
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * (1 + zoom_x), -sin * (1 + zoom_y), x0, sin * (1 + zoom_x), cos * (1 + zoom_y), y0], axis=1)


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

    Places beyond the edge are reflected at it: d c b a | a b c d | d c b a.

    Parameters
    ----------
    place : float32, in pixels from the centre.
    size : of the patch along the axis.
    """
    from_edge = ops.abs(place + size / 2)
    from_edge = from_edge - 2 * size * ops.floor(from_edge / (2 * size))
    place = ops.clip(ops.minimum(from_edge, 2 * size - from_edge) - 0.5, 0.0, size - 1.0)
    before = ops.floor(place)
    pixel = ops.cast(before, "int32")
    return pixel, ops.minimum(pixel + 1, size - 1), (place - before)[..., None]


def _mixes(draws: Floats, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ARG001
    """Return by what the optical densities of a patch change, (n, 4, 3).

    Parameters
    ----------
    draws : (n, 6) in [-1, 1): scales, then shifts, of the stains.

    Returns
    -------
    The first three rows are one matrix for: density to concentration, scaling, and back to density; the last row is
    added.
    """
    scales, shifts = 1 + STAIN_SCALE * draws[:, :3], STAIN_SHIFT * draws[:, 3:]
    mixes = np.linalg.inv(STAINS) @ (scales[:, :, None] * STAINS)
    return np.concatenate([mixes, (shifts @ STAINS)[:, None]], axis=1)


def _stain(images: Any, mixes: Any) -> Any:
    """Change the concentration of each stain in patches, (n, height, width, 3) in 0 to 255, by :func:`_mixes`.

    Returns
    -------
    images : (n, height, width, 3) float32 in (-1, 256], not clipped.
    """
    # One level is added here and subtracted at the end, so that the density of black is finite.
    density = -ops.log((ops.cast(images, "float32") + 1) / 256)
    of_red, of_green, of_blue, more = (mixes[:, row][:, None, None, :] for row in range(4))
    density = density[..., 0:1] * of_red + density[..., 1:2] * of_green + density[..., 2:3] * of_blue + more
    return 256 * ops.exp(-density) - 1


KINDS = {
    "d4": Kind(3, _which_of_eight, (), "int32", _d4),
    "author": Kind(5, _sources, (6,), "float32", _affine),
    "stain": Kind(6, _mixes, (4, 3), "float32", _stain),
}
