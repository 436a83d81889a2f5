"""The size of a CNN: layers, parameters, file size and multiply-adds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from histobench.train.models import build
from histobench.train.p4m import GroupConvolution

layers = keras.layers

# Weights are saved as float32.
BYTES_PER_PARAMETER = 4
# Layers whose multiply-adds are counted. All are listed, since their base classes differ between Keras 2 and 3.
MULTIPLYING = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)


def describe(spec: Mapping[str, Any], sides: Sequence[int]) -> dict[str, int | float | None]:
    """Return the size of a CNN.

    Parameters
    ----------
    spec : the fields of :class:`histobench.core.catalogue.Model` as a mapping.
    sides : heights and widths in pixels of the patches that it may be trained on.

    Returns
    -------
    layers : number of layers; for a CNN of ``keras.applications``, those of the ImageNet model with its top.
    layers_with_weights : number of these with weights, including moving means and variances.
    layers_with_head : number of layers of the model as it is trained: those of the backbone and three of the head
        (average pooling and two dense layers), without the nested backbone itself.
    parameters_with_top : parameters of the ImageNet model with its top; equal to `parameters` for a hand-made CNN.
    parameters : parameters of the model as it is trained on patches of the first side, or of `smallest_input` if that
        is larger. They depend on the side for hand-made CNNs only.
    checkpoint_mb : size of `parameters` as float32, in MB (1e6 bytes).
    multiply_adds_<side> : multiply-adds of the model as it is trained for one patch of each side, see
        :func:`multiply_adds`; None if `smallest_input` is larger.

    Notes
    -----
    As in Keras's `model.layers`, input layers are counted for CNNs of ``keras.applications``, but not for hand-made
    Sequential models. Bonnet 2024 (arXiv:2108.13661), Table 1, then prints `layers_with_weights` for InceptionV3,
    ResNet50, MobileNet and the DenseNets, and `layers_with_head` for the six others (B2 10, B6 28, VGG19 25,
    EfficientNetV2B0 273, B1 337, and B2 352, where 252 is printed). For these, `layers` is the same number, except for
    VGG19 (26). VGG19's 25 could also be its layers with the ImageNet top but without the input layer.

    This function builds models, which resets the random state of Python, NumPy and Keras.
    """
    smallest = int(spec["smallest_input"])
    trained = _trained(spec, max(sides[0], smallest))
    parameters = int(trained.count_params())
    models = {sides[0]: trained} | {side: _trained(spec, side) for side in sides[1:] if side >= smallest}
    counts = {
        "layers_with_head": sum(1 for _ in leaves(trained)),
        "parameters": parameters,
        "checkpoint_mb": parameters * BYTES_PER_PARAMETER / 1e6,
        **{f"multiply_adds_{side}": multiply_adds(models[side]) if side >= smallest else None for side in sides},
    }
    # After `_trained`, which raises an error for users if the application does not exist.
    whole = trained if spec["application"] is None else getattr(keras.applications, spec["application"])(weights=None)
    return {
        "layers": len(whole.layers),
        "layers_with_weights": sum(bool(layer.weights) for layer in whole.layers),
        "parameters_with_top": int(whole.count_params()),
        **counts,
    }


def multiply_adds(model: "keras.Model", *, trained: bool = False) -> int:
    """Return the multiply-adds of convolutions and dense layers in one forward pass over one image.

    Biases, batch norm, activations, pooling, sums and scalings are not counted: they take few operations per value,
    while a kernel takes tens to thousands. Products with the zeros of "same" padding are counted.

    Parameters
    ----------
    model : a built model with a fixed input size, channels last; it may contain nested models.
    trained : count trainable layers only.

    Notes
    -----
    Each number of a kernel is used once per output position: height x width x kernel height x kernel width x input
    channels (1 for a depthwise convolution) x output channels. Both kernels of a separable convolution have the same
    output positions, since the first one has the stride.
    """
    total = 0
    for layer in leaves(model):
        if isinstance(layer, (*MULTIPLYING, GroupConvolution)) and (layer.trainable or not trained):
            positions = math.prod(int(length) for length in layer.output.shape[1:-1])
            # Kernels are the weights with more than one dimension; their names differ between Keras 2 and 3.
            kernels = (weight.shape for weight in layer.weights if len(weight.shape) > 1)
            # A group convolution has one kernel for the maps of eight orientations.
            times = 8 if isinstance(layer, GroupConvolution) else 1
            total += times * positions * sum(math.prod(int(length) for length in shape) for shape in kernels)
    return total


def outputs(model: "keras.Model") -> int:
    """Return the number of values in the outputs of all layers for one image; see :func:`multiply_adds` for `model`."""
    return sum(math.prod(int(length) for length in layer.output.shape[1:]) for layer in leaves(model))


def leaves(model: "keras.Model") -> Iterator[Any]:
    """Yield the layers of a model and of the models nested in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def _trained(spec: Mapping[str, Any], side: int) -> "keras.Model":
    """Return the model that a run trains on patches of side x side px."""
    return build(dict(spec), "full", (side, side, 3), seed=0)
