"""P4M-DenseNet, a CNN whose score does not change when a patch is turned or mirrored, and a plain one of its size.

Feature maps are functions on the group p4m: of the place, and of the eight orientations of a square. A layer commutes
with the eight flips and turns, and the mean over places and orientations at the end is the same for all of them.

References
----------
- Veeling, Linmans, Winkens, Cohen and Welling, "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018,
  arXiv:1806.03962: the architecture and its 119 thousand parameters, here 123,400.
- Cohen and Welling, "Group Equivariant Convolutional Networks", ICML 2016, arXiv:1602.07576: the convolution.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.errors import HistobenchError
from histobench.core.recipes import PAPER, Dense
from histobench.train.keras_backend import ops

layers = keras.layers

# Dense blocks of one layer, with a transition that halves the sides between each two; a kernel covers 3 x 3 pixels.
BLOCKS, KERNEL = 5, 3
# Maps that the first convolution and each block make; of the plain network as many as give it about the parameters.
P4M_MAPS, Z2_MAPS = 9, 25


def turned(images: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return images, (height, width, ...), turned by quarters, `orientation` modulo 4, after a mirroring from 4 on."""
    return np.rot90(images[:, ::-1] if orientation >= 4 else images, orientation % 4)


def _products() -> npt.NDArray[np.int64]:
    """Return which orientation, (8, 8), is that of the first one after the second."""
    square = np.arange(KERNEL**2).reshape(KERNEL, KERNEL)
    known = {turned(square, each).tobytes(): each for each in range(8)}
    return np.array([[known[turned(turned(square, b), a).tobytes()] for b in range(8)] for a in range(8)])


PRODUCTS = _products()
INVERSES = PRODUCTS.argmin(axis=1)  # orientation 0 changes nothing


class GroupConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A valid convolution without bias that commutes with flips and turns.

    It has one kernel. The map of an orientation is made by that kernel turned by it, whose part for an orientation h of
    the input is that of the kernel for h seen from there.

    Parameters
    ----------
    maps : number of output maps, each with eight orientations.
    side : of the kernel in pixels.
    lifts : whether the input is an image, (n, height, width, channels), not maps, (n, height, width, 8 x maps),
        orientation by orientation.
    """

    def __init__(self, maps: int, side: int, *, lifts: bool = False) -> None:
        super().__init__()
        self._maps, self._side, self._orientations = maps, side, 1 if lifts else 8

    def build(self, input_shape: Any) -> None:
        """Make the kernel, (side, side, orientations of the input x channels, maps)."""
        self._channels = int(input_shape[-1]) // self._orientations
        places = np.arange(self._side**2).reshape(self._side, self._side)
        # For each place, orientation of the input and orientation of the output, the row of the kernel's numbers.
        self._rows = np.stack(
            [
                turned(places, g).reshape(-1, 1) * self._orientations
                + (PRODUCTS[INVERSES[g]][None] if self._orientations == 8 else 0)
                for g in range(8)
            ],
            axis=-1,
        ).astype(np.int32)
        self._kernel = self.add_weight(
            name="kernel",
            shape=(self._side, self._side, self._orientations * self._channels, self._maps),
            initializer="he_normal",
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return (n, height - side + 1, width - side + 1, 8 x maps)."""
        rows = ops.reshape(self._kernel, (-1, self._channels, self._maps))
        kernels = ops.take(rows, self._rows, axis=0)  # places, orientations in, out, channels, maps
        kernels = ops.transpose(kernels, (0, 1, 3, 2, 4))
        kernels = ops.reshape(kernels, (self._side, self._side, self._orientations * self._channels, 8 * self._maps))
        return ops.conv(inputs, ops.cast(kernels, inputs.dtype), strides=1, padding="valid")


def p4m(shape: tuple[int, int, int], _: Dense = PAPER) -> keras.Model:
    """Return P4M-DenseNet for scaled patches; it has no dense layer but its output.

    Raises
    ------
    HistobenchError
        if the network would not be invariant, since a side before one of its poolings is odd, or a patch is too small.
    """
    side = shape[0]
    if shape[0] != shape[1] or side % 16 or side < 80:
        raise HistobenchError(
            f"models.p4m: expected square patches whose side is a multiple of 16 px, 80 or more, found {shape[0]} x "
            f"{shape[1]} px: a side before one of the poolings would be odd, and the score of a turned patch another. "
            "Say `resize: 96` in the recipe"
        )
    return _dense_net(shape, P4M_MAPS, grouped=True)


def z2(shape: tuple[int, int, int], _: Dense = PAPER) -> keras.Model:
    """Return a DenseNet of the same depth, and about the same number of parameters, without symmetry."""
    return _dense_net(shape, Z2_MAPS, grouped=False)


def _dense_net(shape: tuple[int, int, int], maps: int, *, grouped: bool) -> keras.Model:
    orientations = 8 if grouped else 1

    def convolved(x: Any, maps: int, side: int, *, lifts: bool = False) -> Any:
        if grouped:
            return GroupConvolution(maps, side, lifts=lifts)(x)
        return layers.Conv2D(maps, side, use_bias=False, kernel_initializer="he_normal")(x)

    def normalised(x: Any) -> Any:
        """Batch norm, shared by the orientations of a map, and relu."""
        by_map = (int(x.shape[1]), int(x.shape[2]) * orientations, int(x.shape[3]) // orientations)
        whole = tuple(map(int, x.shape[1:]))
        x = layers.Reshape(by_map)(x) if grouped else x
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        return layers.Reshape(whole)(x) if grouped else x

    def joined(x: Any, new: Any) -> Any:
        """Return all maps, orientation by orientation."""
        sides = tuple(map(int, x.shape[1:3]))
        each = [layers.Reshape((*sides, orientations, int(y.shape[3]) // orientations))(y) for y in (x, new)]
        return layers.Reshape((*sides, -1))(layers.Concatenate(axis=-1)(each))

    inputs = keras.Input(shape)
    x = convolved(inputs, maps, KERNEL, lifts=True)
    for block in range(BLOCKS):
        if block:
            known = int(x.shape[3]) // orientations
            x = layers.AveragePooling2D(2)(convolved(normalised(x), known, 1))
        x = joined(layers.Cropping2D(KERNEL // 2)(x), convolved(normalised(x), maps, KERNEL))
    x = normalised(x)
    known = int(x.shape[3]) // orientations
    # The mean over places and orientations.
    x = layers.GlobalAveragePooling1D()(layers.Reshape((-1, known))(x))
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="p4m" if grouped else "z2")
