"""Models: their size, what a step changes in each mode, and pretrained weights."""

import io
import shutil
import zipfile
from dataclasses import asdict

import h5py
import keras
import numpy as np
import pytest

from histobench.core.catalogue import CATALOGUE, models
from histobench.core.errors import HistobenchError
from histobench.train.batch_norm import calibrate_on
from histobench.train.fit import Trainer
from histobench.train.hardware import Machine
from histobench.train.models import backbone, build, load, load_pretrained
from support.cnns import moved, values
from support.small import Arrays, model_specification, specification

RECIPE = {"optimizer": {"name": "adam", "learning_rate": 0.01}}
TINY = model_specification("tiny")
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
    images = np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3), np.uint8)
    part = Arrays(images, np.arange(8) % 2)
    specified = specification(mode=mode, side=40, finetune=FINETUNE, **RECIPE)
    trainer = Trainer(model, part, part, specified, Machine())
    trainer.compile(epoch)
    before = values(model)
    trainer.fit([{}] * epoch)
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


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A small backbone, and a folder with its weights in every format, under its own suffix."""
    folder = tmp_path_factory.mktemp("weights")
    source = backbone(TINY, (40, 40, 3), seed=7)
    source.save_weights(folder / "of-keras-3.weights.h5")
    source.save(folder / "archive.keras")
    source.save(folder / "of-keras-2.h5")  # as keras.applications publishes them
    with h5py.File(folder / "without-model.h5", "w") as file, h5py.File(folder / "of-keras-2.h5") as whole:
        for name, value in whole["model_weights"].attrs.items():
            file.attrs[name] = value
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
    return source, folder


@pytest.fixture
def fresh(pretrained):
    """The same backbone with other weights."""
    model = pretrained[0]
    weights = model.get_weights()
    model.set_weights([np.full_like(values, 0.5) for values in weights])
    yield model
    model.set_weights(weights)


FORMATS = ["of-keras-3.weights.h5", "archive.keras", "of-keras-2.h5", "without-model.h5"]


@pytest.mark.parametrize("name", ["as it is", "w.h5", "w.weights.h5", "w.keras", "w.hdf5", "w", "w {x}.H5"])
@pytest.mark.parametrize("file", FORMATS)
def test_pretrained_weights_are_loaded_whatever_the_file_is_called(pretrained, fresh, tmp_path, file, name):
    path = shutil.copy(pretrained[1] / file, tmp_path / (file if name == "as it is" else name))
    load_pretrained(fresh, path)
    np.testing.assert_equal(fresh.get_weights(), backbone(TINY, (40, 40, 3), seed=7).get_weights())


def test_pretrained_weights_are_loaded_into_the_backbone(pretrained, tmp_path):
    path = pretrained[1] / FORMATS[0]
    for mode in ("tl", "full"):
        model = build(TINY, mode, (40, 40, 3), seed=1, weights=path)
        np.testing.assert_equal(model.layers[0].get_weights(), pretrained[0].get_weights())


def test_what_are_no_weights_of_the_model_is_refused(pretrained, fresh, tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    other.save(tmp_path / "other.h5")
    other.save(tmp_path / "other.keras")
    for path in tmp_path.iterdir():
        with pytest.raises(HistobenchError, match=rf"{path.name}: expected weights of tiny"):
            load_pretrained(fresh, path)
    with h5py.File(shutil.copy(pretrained[1] / FORMATS[0], tmp_path / "part.weights.h5"), "a") as file:
        del file["layers/conv2d_1"]
    with pytest.raises(HistobenchError, match=r"part\.weights\.h5: expected weights of tiny.*conv2d_[0-9]+"):
        load_pretrained(fresh, tmp_path / "part.weights.h5")


def archive(member: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(member, "x")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty one"),
        (b"<!DOCTYPE html><html>not found", "one that starts with b'<!DOCTYPE html>"),
        (b"version https://git-lfs.github.com/spec/v1", "one that starts with b'version https://git-lfs"),
        (archive("data.pkl"), "one that is damaged or none of Keras: .*no item named 'model.weights.h5'"),
        (archive("model.weights.h5"), ""),
        (b"\x89HDF\r\n\x1a\n", ""),
    ],
)
def test_what_are_no_weights_at_all_is_named(fresh, tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HistobenchError, match=rf"{name}: expected .*{found}"):
        load_pretrained(fresh, tmp_path / name)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("file", FORMATS)
def test_weights_that_are_cut_off_are_named(pretrained, fresh, tmp_path, file, kept):
    data = (pretrained[1] / file).read_bytes()
    (tmp_path / file).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(HistobenchError, match=rf"{file}: expected"):
        load_pretrained(fresh, tmp_path / file)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_that_are_no_numbers_are_refused(fresh, tmp_path, suffix, place, value):
    weights = fresh.get_weights()
    damaged = [values.copy() for values in weights]
    damaged[place].flat[[0, -1]] = value
    fresh.set_weights(damaged)
    path = tmp_path / f"w{suffix}"
    (fresh.save_weights if suffix == ".weights.h5" else fresh.save)(path)
    fresh.set_weights(weights)
    found = f"w{suffix}: .* 2 of {weights[place].size} values of {fresh.weights[place].path} are none"
    with pytest.raises(HistobenchError, match=found):
        load(fresh, path)


def test_values_too_large_for_float32_are_refused(pretrained, fresh, tmp_path):
    path = shutil.copy(pretrained[1] / FORMATS[0], tmp_path / "w.weights.h5")
    with h5py.File(path, "a") as file:
        kernel = file["layers/conv2d/vars/0"][()].astype(np.float64)
        kernel.flat[0] = 1e300
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = kernel
    with pytest.raises(
        HistobenchError, match=r"w\.weights\.h5: .* 1 of 216 values of conv2d(_[0-9]+)?/kernel are none"
    ):
        load_pretrained(fresh, path)


def test_an_application_that_keras_does_not_have_is_named():
    own = {"x": {"application": "MobileNetV9", "preprocessing": "tf", "smallest_input": 32, "weights": "random"}}
    with pytest.raises(HistobenchError, match="has no 'MobileNetV9'"):
        build(spec("x", own), "full", (40, 40, 3), seed=1)
