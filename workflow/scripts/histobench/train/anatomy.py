"""The size of a CNN, in each of the ways in which it is counted: layers, parameters, file, multiply-adds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from histobench.train.models import build

layers = keras.layers

# float32, in which Keras keeps and saves weights.
BYTES_PER_PARAMETER = 4
# The layers whose multiply-adds count. Named one by one, since Keras 2 and 3 derive them differently from each other.
MULTIPLYING = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)


def describe(spec: Mapping[str, Any], sides: Sequence[int]) -> dict[str, int | float | None]:
    """Return the size of a CNN with random weights: sizes do not depend on their values.

    Parameters
    ----------
    spec : the fields of :class:`histobench.core.catalogue.Model` as a mapping.
    sides : heights and widths in pixels of the patches that it may be trained on.

    Returns
    -------
    layers : all layers; of a CNN of ``keras.applications``, those of the ImageNet model with its top.
    layers_with_weights : those of `layers` that hold weights, a moving mean and variance included.
    layers_with_head : all layers of the model as trained: the backbone's and the head's three (average pooling and two
        dense layers), without the one that stands for the nested backbone as a whole.
    parameters_with_top : of the ImageNet model with its top; of a hand-made CNN the same as `parameters`.
    parameters : of the model as trained on patches of the first side, or of `smallest_input` where that is larger.
        Only a hand-made CNN's depend on the side.
    checkpoint_mb : `parameters` as float32, in MB (1e6 bytes): a file of the weights without its own overhead.
    multiply_adds_<side> : of one forward pass of the model as trained over one patch of each side, see
        :func:`multiply_adds`; None where `smallest_input` is larger.

    Notes
    -----
    Input layers count in a CNN of ``keras.applications``, as in Keras's own `model.layers`, and not in a hand-made
    Sequential, whose `layers` leave them out. So counted, Bonnet 2024 (arXiv:2108.13661), Table 1, states
    `layers_with_weights` for InceptionV3, ResNet50, MobileNet and the DenseNets, and `layers_with_head` for the six
    others (B2 10, B6 28, VGG19 25, EfficientNetV2B0 273, B1 337, and B2 352, where 252 is printed). `layers` is the
    same number as `layers_with_head` for all of these but VGG19 (26), as the top of an EfficientNetV2 has three layers,
    too. VGG19's 25 would also be its layers with its ImageNet top, had the input layer been left out for it alone.

    Building the models sets the random state of Python, NumPy and Keras, so this is no call to make during training.
    """
    smallest = int(spec["smallest_input"])
    trained = _trained(spec, max(sides[0], smallest))
    parameters = int(trained.count_params())
    models = {sides[0]: trained} | {side: _trained(spec, side) for side in sides[1:] if side >= smallest}
    counts = {
        "layers_with_head": sum(1 for _ in _flat(trained)),
        "parameters": parameters,
        "checkpoint_mb": parameters * BYTES_PER_PARAMETER / 1e6,
        **{f"multiply_adds_{side}": multiply_adds(models[side]) if side >= smallest else None for side in sides},
    }
    # Last, since `build` is what says in words that an application does not exist.
    whole = trained if spec["application"] is None else getattr(keras.applications, spec["application"])(weights=None)
    return {
        "layers": len(whole.layers),
        "layers_with_weights": sum(bool(layer.weights) for layer in whole.layers),
        "parameters_with_top": int(whole.count_params()),
        **counts,
    }


def multiply_adds(model: "keras.Model", *, trained: bool = False) -> int:
    """Return the multiply-adds of one forward pass over one image, of convolutions and dense layers.

    Biases, batch norm, activations, pools, sums and scalings are not counted: they do one operation or a few per
    value, against a kernel's tens to thousands. Products with the zeros of a "same" padding are counted.

    Parameters
    ----------
    model : a built model with a fixed input size, channels last; models nested in it are walked.
    trained : count those layers alone that are trained.

    Notes
    -----
    Each number of a kernel is used once at each place of the output: height x width x kernel height x kernel width x
    channels in (1 for a depthwise one) x channels out. A separable convolution has two kernels and, as its stride is
    in the first, the same places for both.
    """
    total = 0
    for layer in _flat(model):
        if isinstance(layer, MULTIPLYING) and (layer.trainable or not trained):
            places = math.prod(int(length) for length in layer.output.shape[1:-1])
            # A bias is what has one dimension. Kernels go by other names in Keras 2 than in Keras 3.
            kernels = (weight.shape for weight in layer.weights if len(weight.shape) > 1)
            total += places * sum(math.prod(int(length) for length in shape) for shape in kernels)
    return total


def _flat(model: "keras.Model") -> Iterator[Any]:
    """Yield the model's layers, and in the place of a nested model its layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _trained(spec: Mapping[str, Any], side: int) -> "keras.Model":
    """Return the model that a run trains on patches of side x side px."""
    return build(dict(spec), "full", (side, side, 3), seed=0)
