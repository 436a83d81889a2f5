"""Sizes of models: the counts of the paper's Table 1, and multiply-adds worked out by hand or published."""

from dataclasses import asdict, replace

import keras
import pytest

from histobench.core.catalogue import CATALOGUE
from histobench.train import model_size
from support.table1 import SIDES, assert_counts_are_those_of_table_1, described


@pytest.mark.parametrize("key", ["b2", "b6", "mobilenet", "efficientnetv2b0"])
def test_counts_are_those_of_table_1(key):
    """Of the others in test_model_size_long.py."""
    assert_counts_are_those_of_table_1(key)


@pytest.mark.parametrize(("key", "parameters"), [("b2", 9_491_393), ("b6", 2_386_689)])
def test_a_hand_made_model_has_no_top(key, parameters):
    counts = described(key)[0]
    assert counts["parameters"] == counts["parameters_with_top"] == parameters
    assert counts["layers"] == counts["layers_with_head"]


def test_a_checkpoint_has_four_bytes_a_parameter():
    assert described("b2")[0]["checkpoint_mb"] == pytest.approx(37.965572)


def test_a_model_that_takes_neither_patch_is_described_at_its_smallest_input():
    counts = model_size.describe(asdict(replace(CATALOGUE["b2"], smallest_input=128)), SIDES)
    assert (counts["multiply_adds_96"], counts["multiply_adds_50"]) == (None, None)
    assert counts["parameters"] == 9_491_393 + (32**2 - 24**2) * 64 * 256


def test_multiply_adds_of_b2():
    counts = described("b2")[0]
    conv = 96 * 96 * 5 * 5 * 3 * 32 + 48 * 48 * 5 * 5 * 32 * 64
    assert counts["multiply_adds_96"] == conv + 36_864 * 256 + 256
    conv = 50 * 50 * 5 * 5 * 3 * 32 + 25 * 25 * 5 * 5 * 32 * 64
    assert counts["multiply_adds_50"] == conv + 12 * 12 * 64 * 256 + 256


def test_multiply_adds_of_b6_whose_convolutions_are_valid():
    first = 94**2 * 3 * 32 + 92**2 * 32 * 32
    second = 44**2 * 32 * 64 + 42**2 * 64 * 64
    third = 19**2 * 64 * 128 + 17**2 * 128 * 128
    assert described("b6")[0]["multiply_adds_96"] == 9 * (first + second + third) + 8 * 8 * 128 * 256 + 256


# (stride, channels out) of MobileNet's 13 pairs of a depthwise and a 1x1 convolution: Howard et al. 2017
# (arXiv:1704.04861), Table 1.
PAIRS = [(1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024)]


def test_multiply_adds_of_mobilenet_have_the_depthwise_layers():
    side, channels = 48, 32
    depthwise, rest = 0, 48 * 48 * 3 * 3 * 3 * 32
    for stride, out in PAIRS:
        side //= stride
        depthwise += side * side * 3 * 3 * channels
        rest += side * side * channels * out
        channels = out
    assert depthwise > 0.03 * rest
    assert described("mobilenet")[0]["multiply_adds_96"] == depthwise + rest + 1024 * 256 + 256


def test_multiply_adds_of_mobilenet_are_the_published_ones():
    """569 million with its ImageNet top at 224 px: Howard et al. 2017, Table 8."""
    assert round(model_size.multiply_adds(keras.applications.MobileNet(weights=None)) / 1e6) == 569


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.DepthwiseConv2D(3, strides=2, padding="same"), 5 * 5 * 3 * 3 * 4),
        (keras.layers.SeparableConv2D(6, 3, strides=2, padding="same"), 5 * 5 * (3 * 3 * 4 + 4 * 6)),
        (keras.layers.Conv2D(6, (1, 3), groups=2), 10 * 8 * 1 * 3 * 2 * 6),
        (keras.layers.Dense(7), 10 * 10 * 4 * 7),  # at each place, as in ConvNeXt
        (keras.layers.BatchNormalization(), 0),
    ],
    ids=["depthwise", "separable", "grouped", "dense at each place", "batch norm"],
)
def test_multiply_adds_of_one_layer(layer, expected):
    inner = keras.Sequential([keras.Input((10, 10, 4)), layer])
    assert model_size.multiply_adds(inner) == expected
    assert model_size.multiply_adds(keras.Sequential([keras.Input((10, 10, 4)), inner])) == expected
