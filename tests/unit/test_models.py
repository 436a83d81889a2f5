"""Models: their size, what a step changes in each mode, and pretrained weights."""

from dataclasses import asdict

import keras
import numpy as np
import pytest

from histobench.core.catalogue import CATALOGUE, models
from histobench.core.errors import HistobenchError
from histobench.train.batch_norm import calibrate_on
from histobench.train.fit import compile_model
from histobench.train.models import build
from support.cnns import moved, values
from support.small import specification

RECIPE = {"optimizer": {"name": "adam", "learning_rate": 0.01}}
FINETUNE = {"head_epochs": 1, "upper_layers": 0.3, "learning_rate": 0.01}


def spec(key, configured=None):
    return asdict(models(configured or {})[key])


@pytest.mark.parametrize("key", ["b2", "b6"])
def test_the_smallest_input_is_the_smallest(key):
    smallest = CATALOGUE[key].smallest_input
    build(spec(key), "full", (smallest, smallest, 3), seed=1)
    with pytest.raises(ValueError, match="Computed output size would be zero or negative"):
        build(spec(key), "full", (smallest - 1, smallest - 1, 3), seed=1)


def step(model, mode="full", epoch=0):
    compile_model(model, specification(mode=mode, side=40, finetune=FINETUNE, **RECIPE), epoch)
    images = np.random.default_rng(0).random((8, 40, 40, 3), np.float32)
    before = values(model)
    model.fit(images, np.arange(8)[:, None] % 2, verbose=0)
    return before, values(model)


def test_fine_tuning_moves_the_head_first_then_the_upper_layers():
    model = build(spec("mobilenet"), "finetune", (40, 40, 3), seed=1)
    backbone = model.layers[0]
    calibrate_on(backbone, [np.random.default_rng(1).random((8, 40, 40, 3), np.float32)])
    of_head = {v.path for layer in model.layers[1:] for v in layer.weights}
    before, after = step(model, "finetune", epoch=0)
    assert moved(before, after) == of_head
    before, after = step(model, "finetune", epoch=1)
    upper = backbone.layers[len(backbone.layers) - round(0.3 * len(backbone.layers)) :]
    kernels = {
        v.path for layer in upper if not isinstance(layer, keras.layers.BatchNormalization) for v in layer.weights
    }
    assert len(kernels) == 8  # of MobileNet's 27 convolutions
    assert moved(before, after) == of_head | kernels


def test_the_head_is_the_papers():
    model = build(spec("mobilenet"), "tl", (40, 40, 3), seed=1)
    backbone, hidden, output = model.layers
    assert backbone.output_shape == (None, 1024)
    assert (hidden.units, hidden.activation.__name__) == (256, "relu")
    assert (output.units, output.activation.__name__) == (1, "sigmoid")


def test_seeds_draw_heads_but_one_frozen_random_backbone():
    one, again, other = (build(spec("mobilenet"), "tl", (40, 40, 3), seed=s) for s in (1, 1, 2))
    np.testing.assert_equal(one.get_weights(), again.get_weights())
    np.testing.assert_equal(one.layers[0].get_weights(), other.layers[0].get_weights())
    assert not np.array_equal(one.layers[1].kernel, other.layers[1].kernel)
    full = [build(spec("mobilenet"), "full", (40, 40, 3), seed=s) for s in (1, 2)]
    assert not np.array_equal(full[0].layers[0].get_weights()[0], full[1].layers[0].get_weights()[0])


def test_calibration_gives_a_random_backbone_features_that_vary():
    model = build(spec("mobilenet"), "tl", (96, 96, 3), seed=1)
    backbone = model.layers[0]
    images = np.random.default_rng(0).random((64, 96, 96, 3), np.float32)
    images *= np.linspace(0.2, 1, 64, dtype=np.float32)[:, None, None, None]
    assert np.std(backbone.predict(images, verbose=0)) < 1e-6  # why it is needed
    kernels = [w for w in backbone.get_weights() if w.ndim > 1]
    calibrate_on(backbone, [images[:32], images[32:]])
    assert np.std(backbone.predict(images, verbose=0), axis=0).mean() > 1e-3
    np.testing.assert_equal([w for w in backbone.get_weights() if w.ndim > 1], kernels)
    assert not backbone.trainable


def test_calibration_is_the_average_over_batches():
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    data = np.random.default_rng(0).normal(3, 2, (3, 50, 4)).astype(np.float32)
    calibrate_on(backbone, data)
    np.testing.assert_allclose(backbone.layers[0].moving_mean, data.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(backbone.layers[0].moving_variance, data.var(1).mean(0), rtol=1e-4)


def test_pretrained_weights_are_loaded_into_the_backbone(tmp_path):
    source = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(40, 40, 3))
    source.save_weights(tmp_path / "w.weights.h5")
    source.save(tmp_path / "legacy.h5")  # keras.applications publishes this older format
    for path in tmp_path.iterdir():
        model = build(spec("mobilenet"), "full", (40, 40, 3), seed=1, weights=path)
        np.testing.assert_equal(model.layers[0].get_weights(), source.get_weights())


def test_what_are_no_weights_of_the_model_is_refused(tmp_path):
    other = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(40, 40, 3))
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "page.weights.h5").write_text("<html>not found</html>")
    for name in ("other", "page"):
        with pytest.raises(HistobenchError, match=rf"{name}\.weights\.h5: expected weights of mobilenet"):
            build(spec("mobilenet"), "full", (40, 40, 3), seed=1, weights=tmp_path / f"{name}.weights.h5")


def test_an_application_that_keras_does_not_have_is_named():
    own = {"x": {"application": "MobileNetV9", "preprocessing": "tf", "smallest_input": 32, "weights": "random"}}
    with pytest.raises(HistobenchError, match="has no 'MobileNetV9'"):
        build(spec("x", own), "full", (40, 40, 3), seed=1)
