"""Transfer learning: heads on cached features are, to the bit, the heads of end-to-end training."""

import gzip

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core.datasets import Patches
from histobench.core.errors import HistobenchError
from histobench.core.features import Features
from histobench.core.files import digest, write_sealed
from histobench.core.prepared import Records
from histobench.core.runs import read_json, read_rows
from histobench.train import batches, models
from support import jobs
from support.small import features_specification, prepare, specification, write

SIDE = 80  # InceptionV3 needs 75
# None is a multiple of a batch size that tests train with.
COUNTS = {"train": 69, "valid": 22, "test": 19}


def extracted(model, data, folder, **options):
    jobs.extract(data, folder, features_specification(model, side=SIDE), **options)
    return folder


def trained(spec, data, folder, features=None, weights=None):
    jobs.train(data, folder, spec, features, weights)
    return folder


def train_both(cached, whole, data, folder, features, weights=None):
    """Train a head by two specifications, which must give the same weights, losses and scores; return both folders."""
    one = trained(cached, data, folder / "cached", features)
    two = trained(whole, data, folder / "end_to_end", weights=weights)
    side = whole["input"]["side"]
    cnn = models.build(whole["model"], "tl", (side, side, 3), seed=1)
    head = models.head(cnn.layers[0].output_shape[-1], seed=1)
    fresh = head.get_weights()
    head.load_weights(one / "best.weights.h5")
    cnn.load_weights(two / "best.weights.h5")
    for before, a, b in zip(fresh, head.get_weights(), cnn.get_weights()[-4:], strict=True):
        assert np.abs(a - b).max() == 0
        assert np.abs(a - before).max() > 0
    for name in ("history.csv", "predictions.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    return one, two


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, (SIDE, SIDE, 3))


@pytest.mark.parametrize(
    ("model", "batch_size"),
    [
        ("mobilenet", 17),  # a single patch is left over
        ("tiny", 2),  # more batches than Keras takes at a time
        *(pytest.param(model, 16, marks=pytest.mark.long) for model in ("inceptionv3", "densenet121")),
    ],
)
def test_cached_and_end_to_end_heads_are_equal(model, batch_size, data, tmp_path):
    keras.backend.clear_session()
    features = extracted(model, data, tmp_path / "features", chunk=24)
    of_training = Features(data, features, "train").take(np.arange(COUNTS["train"]))
    assert of_training.std() > 1e-3
    assert of_training.std(axis=0).mean() > 1e-3  # from patch to patch, not only from feature to feature
    recipe = {"batch_size": batch_size, "epochs": 2}
    cached = specification(model, "tl", transfer="cached", **recipe)
    whole = specification(model, "tl", side=SIDE, transfer="end_to_end", **recipe)
    one, two = train_both(cached, whole, data, tmp_path, features)
    about, about_two = read_json(one / "run.json"), read_json(two / "run.json")
    for fact in ("parameters", "trainable_parameters", "best_epoch", "random_backbone_calibrated"):
        assert about[fact] == about_two[fact]
    assert about["features"]["extraction_seconds"]["train"] > 0


@pytest.mark.real
def test_cached_and_end_to_end_heads_are_equal_on_real_patches_and_weights(real_data, tmp_path):
    """MobileNetV2, ImageNet weights, PCam patches."""
    data, n = tmp_path / "data", {"train": 90, "valid": 40, "test": 30}
    chunks = []
    for split, count in n.items():
        with (
            h5py.File(gzip.open(real_data / f"pcam/camelyonpatch_level_2_split_{split}_x.h5.gz")) as x,
            h5py.File(gzip.open(real_data / f"pcam/camelyonpatch_level_2_split_{split}_y.h5.gz")) as y,
        ):
            images, labels = x["x"][:count], y["y"][:count].ravel()
        ids = [f"{split}-{i}" for i in range(count)]
        chunks.append(Patches(split, images, labels, ids, [""] * count, np.full((count, 2), -1, np.int32)))
    write(data, chunks, dataset="pcam", patches_are="subset")

    weights = real_data / "weights/mobilenet_v2_1.00_224_no_top.weights.h5"
    model = {"key": "mobilenetv2", "application": "MobileNetV2", "weights_origin": "ImageNet"}
    image = {"preprocessing": "tf", "side": 96}
    cell = {"dataset": "pcam", "model": "mobilenetv2", "scaling": "native", "device": "cpu"}
    jobs.extract(data, tmp_path / "features", {"features": cell, "model": model, "input": image}, weights=weights)
    assert Features(data, tmp_path / "features", "train").take(np.arange(90)).std() > 1e-3
    spec = specification("mobilenet", "tl", epochs=2) | {"model": model}
    train_both(spec, spec | {"input": image}, data, tmp_path, tmp_path / "features", weights)


@pytest.mark.long
def test_efficientnetv2_sees_other_features_end_to_end(data, tmp_path):
    """Its drop-connect stays active in training: `cached` and `end_to_end` are two things there."""
    features = extracted("efficientnetv2b0", data, tmp_path / "features")
    recipe = {"batch_size": 69, "epochs": 1}
    one = trained(specification("efficientnetv2b0", "tl", transfer="cached", **recipe), data, tmp_path / "1", features)
    whole = specification("efficientnetv2b0", "tl", side=SIDE, transfer="end_to_end", **recipe)
    two = trained(whole, data, tmp_path / "2")
    losses = [read_rows(folder / "history.csv")[0]["loss"] for folder in (one, two)]
    assert losses[0] != losses[1]


@given(n=st.integers(1, 400), size=st.integers(1, 50), smallest=st.sampled_from([2, 8]))
def test_spans_hold_everything_once_and_nothing_alone(n, size, smallest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SMALLEST", smallest)
        spans = batches.spans(n, size)
    assert [position for start, end in spans for position in range(start, end)] == list(range(n))
    assert all(end - start == size for start, end in spans[:-1])
    assert spans[-1][1] - spans[-1][0] < size + smallest
    if size > 1 and n > 1:
        assert all(end - start >= min(smallest, size, n) for start, end in spans)


def test_features_do_not_depend_on_the_chunks(data, tmp_path):
    one, two = (extracted("mobilenet", data, tmp_path / str(chunk), chunk=chunk) for chunk in (17, 1000))
    for split, n in COUNTS.items():
        a, b = (np.load(folder / f"{split}.npy") for folder in (one, two))
        assert (a.shape, a.dtype) == ((n, 1024), np.float32)
        np.testing.assert_array_equal(a, b)
    assert read_json(one / "features.json")["sha256"] == read_json(two / "features.json")["sha256"]


def test_features_are_those_of_the_patch_at_their_position(data, tmp_path):
    folder = extracted("vgg19", data, tmp_path)  # no batch norm: nothing to calibrate
    assert read_json(folder / "features.json")["random_backbone_calibrated"] is False
    backbone = models.backbone(specification("vgg19")["model"], (SIDE, SIDE, 3))
    images = Records(data, "valid").take(np.arange(COUNTS["valid"])) / np.float32(255)
    expected = backbone.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0
    np.testing.assert_allclose(
        Features(data, folder, "valid").take(np.array([3, 1])), expected[[3, 1]], rtol=1e-4, atol=1e-8
    )


@pytest.mark.parametrize("damage", ["another length", "cut off", "one bit"])
def test_features_that_are_not_those_of_the_data_set_are_refused(data, tmp_path, damage):
    path = tmp_path / "valid.npy"
    np.save(path, np.zeros((COUNTS["valid"] + (damage == "another length"), 3), np.float32))
    write_sealed(tmp_path / "features.json", {"sha256": {"valid": digest(path)}})
    content = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(content[:-5])
    if damage == "one bit":
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(HistobenchError, match=r"valid\.npy: expected .*delete it and start again"):
        Features(data, tmp_path, "valid")
