"""A run's network as a model that stock Keras opens: the same scores, from patches as they are."""

import keras
import numpy as np
import pytest

from histobench.core.recipes import Dense
from histobench.train import inputs, models
from histobench.train.stock import stock

PATCHES = np.random.default_rng(1).integers(0, 256, (6, 96, 96, 3), np.uint8)


def spec(key, application=None):
    return {"key": key, "application": application, "weights_origin": "random"}


def scored(network, image, side):
    scaled = inputs.scale(
        inputs.resize(PATCHES[:, :side, :side].astype(np.float32), image["side"]), image["preprocessing"]
    )
    return np.asarray(network(scaled, training=False))


def train_statistics(network, image, side):
    """Let batch norm take the statistics of the patches, as a trained network has: random ones give all one score."""
    of_patches = inputs.scale(inputs.resize(PATCHES[:, :side, :side].astype(np.float32), side), image["preprocessing"])
    for layer in (each for whole in network.layers for each in getattr(whole, "layers", [whole])):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(of_patches, training=True)


NETWORKS = {
    "b2": (spec("b2"), "unit", 96),
    "b6": (spec("b6"), "unit", 96),
    "p4m": (spec("p4m"), "unit", 80),
    "z2": (spec("z2"), "unit", 80),
    "mobilenetv2": (spec("mobilenetv2", "MobileNetV2"), "tf", 50),
    "efficientnetv2b0": (spec("efficientnetv2b0", "EfficientNetV2B0"), "none", 50),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stock_keras_opens_it_and_gives_the_same_scores(name, tmp_path):
    of, preprocessing, side = NETWORKS[name]
    image = {"side": side, "preprocessing": preprocessing}
    network = models.build(of, "full", (side, side, 3), seed=1, dense=Dense(16))
    train_statistics(network, image, side)
    stock(network, image, side).save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, custom_objects={})
    own = [
        each.__module__ for layer in opened.layers for each in (type(layer), *map(type, getattr(layer, "layers", [])))
    ]
    assert all(module.startswith("keras.") for module in own)
    expected = scored(network, image, side)
    found = opened.predict(PATCHES[:, :side, :side], verbose=0)
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(
        opened.predict(PATCHES[:1, :side, :side].astype(np.float32), verbose=0), found[:1], atol=1e-5
    )


@pytest.mark.parametrize("preprocessing", ["unit", "none", "tf", "torch", "caffe"])
@pytest.mark.parametrize("side", [50, 96])
def test_patches_are_resized_and_scaled_inside(preprocessing, side):
    features = keras.Sequential([keras.Input((50, 50, 3)), keras.layers.Identity()])
    image = {"side": 50, "preprocessing": preprocessing}
    whole = stock(features, image, side)
    expected = scored(features, image, side)
    for patches in (PATCHES[:, :side, :side], PATCHES[:, :side, :side].astype(np.float32)):
        np.testing.assert_allclose(whole.predict(patches, verbose=0), expected, atol=2e-4)
        np.testing.assert_allclose(np.asarray(whole(patches)), expected, atol=2e-4)


def test_a_plain_call_is_inference_also_where_patches_are_resized(tmp_path):
    network = models.build(spec("b6"), "full", (50, 50, 3), seed=1, dense=Dense(16))
    image = {"side": 50, "preprocessing": "unit"}
    train_statistics(network, image, 50)
    stock(network, image, 96).save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    before = [np.array(each) for layer in opened.layers for each in layer.get_weights()]
    expected = scored(network, image, 96)
    for _ in range(2):
        np.testing.assert_allclose(np.asarray(opened(PATCHES)), expected, atol=1e-5)
    assert all(map(np.array_equal, before, [each for layer in opened.layers for each in layer.get_weights()]))


def test_a_head_on_standardised_features_keeps_its_statistics():
    head = models.head(7, seed=1, dense=Dense(0), standardize=True)
    rng = np.random.default_rng(3)
    head.layers[0].set_weights([rng.normal(size=7), rng.random(7)])
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(7), *head.layers])
    image = {"side": 8, "preprocessing": "unit"}
    found = stock(network, image, 8).predict(PATCHES[:, :8, :8], verbose=0)
    np.testing.assert_allclose(found, scored(network, image, 8), atol=1e-5)
