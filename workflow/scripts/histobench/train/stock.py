"""A run's network as a model of Keras's own layers alone, which any installation of Keras opens."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.errors import HistobenchError
from histobench.train.model_size import leaves
from histobench.train.models import Standardization
from histobench.train.p4m import GroupConvolution

layers = keras.layers

# Means and deviations of ImageNet's pixels, as in `keras.applications.imagenet_utils`: "caffe" in blue, green, red of 0
# to 255, "torch" in red, green, blue of 0 to 1.
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN, TORCH_DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def stock(network: keras.Model, image: Mapping[str, Any], side: int, name: str | None = None) -> keras.Model:
    """Return a model from patches as they are to the probability of tumour, with a network's weights.

    Parameters
    ----------
    network : from scaled patches, see :func:`histobench.train.whole_network.load`.
    image : `side` and `preprocessing` of its inputs, see :meth:`histobench.core.study.Study.input`.
    side : of the patches in pixels.
    name : of the model; by default the network's.

    Returns
    -------
    model : from (n, side, side, 3), uint8 or float32 in 0 to 255, to (n, 1) float32. A convolution of orientations is
        the plain one that it equals.
    """
    patches = x = keras.Input((side, side, 3), name="patches")
    if image["side"] != side:
        resizing = layers.Resizing(image["side"], image["side"], interpolation="bilinear", data_format="channels_last")
        # Of whole numbers it would give whole numbers. Unless it is told otherwise it takes any call for training, and
        # all layers behind it with it (seen in Keras 3.15).
        x = resizing(layers.Rescaling(1.0, name="float")(x), training=False)
    for layer in _scaling(image["preprocessing"]):
        x = layer(x)
    plain = keras.models.clone_model(network, clone_function=_plain, recursive=True)
    for ours, theirs in zip(leaves(network), leaves(plain), strict=True):
        if isinstance(ours, GroupConvolution):
            theirs.set_weights([_kernel(ours)])
        elif theirs.weights:  # numbers of a Rescaling are none
            theirs.set_weights(ours.get_weights())
    return keras.Model(patches, plain(x), name=name or network.name)


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a layer of Keras that computes what a layer does, without its weights."""
    if isinstance(layer, GroupConvolution):
        side, _, _, maps = _kernel(layer).shape
        return layers.Conv2D(maps, side, use_bias=False, name=layer.name)
    if isinstance(layer, Standardization):
        mean, scale = map(np.asarray, layer.get_weights())
        return layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name=layer.name)
    if isinstance(layer, layers.Normalization):  # of EfficientNet, whose constants have no place in an ONNX file
        mean, scale = np.asarray(layer.mean).ravel(), 1 / np.sqrt(np.asarray(layer.variance).ravel())
        return layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name=layer.name)
    return layer.__class__.from_config(layer.get_config())


def _kernel(convolution: GroupConvolution) -> npt.NDArray[np.float32]:
    """Return the kernel of the plain convolution that one of orientations is, (side, side, channels, maps)."""
    ((side, _, channels, _),) = (value.shape for value in convolution.get_weights())
    # Its answers to inputs that are one in one place and channel, and nothing elsewhere.
    ones = np.eye(side * side * channels, dtype=np.float32).reshape(-1, side, side, channels)
    return np.asarray(convolution(ones)).reshape(side, side, channels, -1)


def _scaling(preprocessing: str) -> list[keras.layers.Layer]:
    """Return layers that scale patches, (n, height, width, 3) in 0 to 255, as `histobench.train.inputs.scale` does."""
    if preprocessing == "none":
        return []
    if preprocessing == "unit":
        return [layers.Rescaling(1 / 255)]
    if preprocessing == "tf":
        return [layers.Rescaling(1 / 127.5, -1.0)]
    if preprocessing == "torch":
        scale = 1 / TORCH_DEVIATION
        return [layers.Rescaling((scale / 255).tolist(), (-TORCH_MEAN * scale).tolist())]
    if preprocessing == "caffe":
        # No layer reverses channels, but a convolution of one pixel does, exactly.
        reverse = layers.Conv2D(3, 1, trainable=False, name="blue_green_red")
        reverse.build((None, None, None, 3))
        reverse.set_weights([np.eye(3, dtype=np.float32)[::-1][None, None], -np.array(CAFFE_MEAN, np.float32)])
        return [reverse]
    raise HistobenchError(f"preprocessing: expected unit, none, tf, torch or caffe, found {preprocessing!r}")
