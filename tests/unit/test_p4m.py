"""P4M-DenseNet: layers commute with the eight flips and turns, and a patch has the same score in all eight."""

import keras
import numpy as np
import pytest

from histobench.core.errors import HistobenchError
from histobench.train.model_size import multiply_adds
from histobench.train.p4m import INVERSES, PRODUCTS, GroupConvolution, _dense_net, p4m, turned, z2

RNG = np.random.default_rng(0)
PATCHES = RNG.random((2, 96, 96, 3), np.float32)


def turned_each(images, orientation):
    return np.stack([turned(image, orientation) for image in images])


def turned_maps(maps, orientation):
    """Return maps on the group, (n, height, width, 8 x maps), of the input that is turned."""
    by_orientation = maps.reshape(*maps.shape[:3], 8, -1)
    moved = by_orientation[..., PRODUCTS[INVERSES[orientation]], :]
    return turned_each(moved, orientation).reshape(maps.shape)


@pytest.fixture(scope="module")
def network():
    """A network whose batch norm has something to do."""
    made = p4m((96, 96, 3))
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return made


def test_orientations_are_a_group():
    assert all(sorted(row) == list(range(8)) for row in (*PRODUCTS, *PRODUCTS.T))
    for a, b, c in np.ndindex(8, 8, 8):
        assert PRODUCTS[PRODUCTS[a, b], c] == PRODUCTS[a, PRODUCTS[b, c]]
    assert all(PRODUCTS[each, INVERSES[each]] == 0 for each in range(8))
    assert (PRODUCTS != PRODUCTS.T).any()


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("orientation", range(8))
def test_a_layer_commutes_with_flips_and_turns(side, orientation):
    lifts, convolves = GroupConvolution(3, side, lifts=True), GroupConvolution(4, side)
    images = PATCHES[:, :10, :10]
    maps = np.asarray(lifts(images))
    np.testing.assert_allclose(lifts(turned_each(images, orientation)), turned_maps(maps, orientation), atol=1e-5)
    np.testing.assert_allclose(
        convolves(turned_maps(maps, orientation)), turned_maps(np.asarray(convolves(maps)), orientation), atol=1e-5
    )


def test_all_layers_of_the_network_commute(network):
    """Seen behind each block and transition, whatever lies between."""
    places = [
        layer.output for layer in network.layers if len(layer.output.shape) == 4 and layer.output.shape[3] % 8 == 0
    ]
    inner = keras.Model(network.input, places)
    plain = [np.asarray(maps) for maps in inner(PATCHES)]
    for orientation in (1, 5):
        for maps, found in zip(plain, inner(turned_each(PATCHES, orientation)), strict=True):
            if maps.shape[1] == maps.shape[2]:  # not those of batch norm, which have orientations side by side
                np.testing.assert_allclose(found, turned_maps(maps, orientation), atol=1e-4)


@pytest.mark.parametrize("side", [80, 96])
def test_the_score_is_the_same_for_all_eight(side):
    network, patches = p4m((side, side, 3)), PATCHES[:, :side, :side]
    scores = np.stack([network.predict(turned_each(patches, each), verbose=0) for each in range(8)])
    assert np.abs(scores - scores[0]).max() < 1e-5
    assert scores[0, 0] != scores[0, 1]


def test_with_an_odd_side_before_a_pooling_it_would_not_be():
    with pytest.raises(HistobenchError, match=r"p4m: expected square patches .* found 88 x 88 px.*`resize: 96`"):
        p4m((88, 88, 3))
    network, patches = _dense_net((88, 88, 3), 9, grouped=True), PATCHES[:, :88, :88]
    scores = np.stack([network.predict(turned_each(patches, each), verbose=0) for each in range(8)])
    assert np.abs(scores - scores[0]).max() > 1e-5


def test_size_and_depth_are_those_of_veeling_and_of_the_plain_network(network):
    """By hand: kernels of the first convolution, blocks and transitions, batch norm, the output."""
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    maps = [9 * number for number in range(1, 7)]
    kernels = 9 * 3 * 9 + sum(9 * 8 * each * 9 for each in maps[:5]) + sum(8 * each**2 for each in maps[1:5])
    assert trained == kernels + 2 * (sum(maps[:5]) + sum(maps[1:5]) + maps[5]) + maps[5] + 1 == 123_400
    plain = z2((96, 96, 3))
    assert sum(int(np.prod(weight.shape)) for weight in plain.trainable_weights) == pytest.approx(trained, rel=0.03)
    of_convolutions = [
        sum(isinstance(layer, (keras.layers.Conv2D, GroupConvolution)) for layer in each.layers)
        for each in (network, plain)
    ]
    assert of_convolutions == [10, 10]
    sides = [layer.output.shape[1] for layer in network.layers if isinstance(layer, keras.layers.AveragePooling2D)]
    assert sides == [46, 22, 10, 4]
    # A convolution of 72 maps on 94 px, most of it by the eight orientations.
    assert multiply_adds(network) > 92 * 92 * 9 * 72 * 72


def test_all_weights_learn(network):
    before = [np.array(weight) for weight in network.trainable_weights]
    network.compile("sgd", "binary_crossentropy")
    network.train_on_batch(PATCHES, np.array([[0.0], [1.0]]))
    for weight, old in zip(network.trainable_weights, before, strict=True):
        assert not np.array_equal(weight, old)
