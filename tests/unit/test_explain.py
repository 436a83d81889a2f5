"""Grad-CAM: heat maps known by construction, of every kind of CNN, and of the network that made the predictions."""

import contextlib
import shutil

import keras
import numpy as np
import pytest

from histobench.core.datasets import Patches
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, write_sealed
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.core.recipes import Dense
from histobench.core.runs import read_rows, write_rows
from histobench.train import explain, models, predict
from histobench.train.batch_norm import calibrate
from support import jobs
from support.small import features_specification, prepare, specification, write

SIDE = 64
COUNTS = {"train": 12, "valid": 3, "test": 6}
CHOSEN = ["test-4", "test-0", "test-3", "test-1"]  # in no order
RECIPE = {"epochs": 1, "batch_size": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, (SIDE, SIDE, 3))


def predicted(spec, data, folder):
    predict.predict(Task(spec, data, weights=folder / "best.weights.h5"), folder / "predictions.csv")
    return folder


def about(folder, spec, gpu=None, **more):
    """What is read in ``run.json`` of a run whose weights are set by hand."""
    facts = {"specification": spec, "recipe": spec["recipe"], "device": {"gpu": gpu}} | more
    write_sealed(folder / "run.json", facts | {"weights_sha256": digest(folder / "best.weights.h5")})


def errors(path, *rows):
    """A list of errors as the figures' script writes it."""
    lines = [f"{run},{patch},,0,0.5" for run, patch in rows]
    path.write_text("\n".join(["run,patch_id,group,label,score", *lines]) + "\n")
    return path


def explained(data, folder, output, patches=CHOSEN, weights=None, side=20):
    """Explain errors, and return heat maps, of which everything is checked that holds for each network."""
    listed = errors(output.with_suffix(".csv"), *((folder, patch) for patch in patches))
    weights = {"tiny": weights, "mobilenet": None}
    explain.explain(errors=listed, abouts=[folder / "run.json"], data=data, weights=weights, output=output)
    with np.load(output) as file:
        assert set(file) == {"run", "patch_id", "heatmap"}
        assert str(file["run"]) == str(folder)
        assert file["patch_id"].tolist() == patches
        heatmaps = file["heatmap"]
    assert (heatmaps.shape, heatmaps.dtype) == ((len(patches), side, side), np.float32)
    assert np.isfinite(heatmaps).all()
    assert heatmaps.min() >= 0
    assert set(heatmaps.max(axis=(1, 2))) <= {0, 1}
    return heatmaps


# What is left of 64 px: B2 pools once before its last convolution; B6 twice, and four of its six convolutions are valid
# ones by then and two more follow; the tiny backbone's convolutions are valid ones, of which two halve.
SIDES = {"b2": 32, "b6": 9, "tiny": 13}


@pytest.mark.parametrize("model", SIDES)
def test_heat_maps_of_runs_trained_on_patches(model, data, tmp_path):
    spec = specification(model, "full", side=SIDE, **RECIPE)
    jobs.train(data, tmp_path, spec)
    explained(data, tmp_path, tmp_path / "maps.npz", side=SIDES[model])


def by_hand(model, data):
    """Grad-CAM of a backbone, average pooling and the paper's head, whose gradient is a product of matrices."""
    backbone = model.layers[0]
    part = Records(data, "test")
    images = part.take(np.array([part.ids.index(patch) for patch in CHOSEN])) / np.float32(255)
    features = keras.Model(backbone.inputs[0], backbone.layers[-1].input).predict_on_batch(images)
    kernel_1, bias_1, kernel_2, bias_2 = model.get_weights()[-4:]
    hidden = features.mean((1, 2)) @ kernel_1 + bias_1
    logits = np.maximum(hidden, 0) @ kernel_2 + bias_2
    gradients = ((hidden > 0) * kernel_2[:, 0]) @ kernel_1.T  # (n, channels), but for the pool's 1 / 4
    return of_gradients(features, gradients, logits)


def of_gradients(features, gradients, logits):
    maps = np.sign(logits)[:, :, None] * np.einsum("nc,nhwc->nhw", gradients, features)
    assert (maps > 0).any()
    positive = np.maximum(maps, 0)
    return positive / np.maximum(positive.max((1, 2), keepdims=True), 1e-30)


@pytest.mark.parametrize("mode", ["full", "tl"])
def test_heat_maps_of_an_untrained_backbone(mode, data, tmp_path):
    """Calibrated, since no heat map would be left of it otherwise."""
    spec = specification("tiny", mode, side=SIDE, transfer="end_to_end")
    model = models.build(spec["model"], mode, (SIDE, SIDE, 3), seed=1)
    calibrate(model.layers[0], Records(data, "train"), spec["input"])
    model.save_weights(tmp_path / "best.weights.h5")
    about(tmp_path, spec)
    heatmaps = explained(data, predicted(spec, data, tmp_path), tmp_path / "maps.npz", side=SIDES["tiny"])
    np.testing.assert_allclose(heatmaps, by_hand(model, data), atol=1e-3)


@pytest.mark.parametrize("origin", ["random", "pretrained"])
def test_heat_maps_of_a_head_on_cached_features(origin, data, tmp_path):
    spec = specification("tiny", "tl", **RECIPE)
    assert spec["input"] is None
    weights = None
    if origin == "pretrained":  # by weights that differ from those of the random backbone
        weights = tmp_path / "pretrained.weights.h5"
        backbone = models.backbone(spec["model"], (SIDE, SIDE, 3), seed=5)
        calibrate(backbone, Records(data, "train"), {"preprocessing": "unit", "side": SIDE})
        backbone.save_weights(weights)
    folder, features = tmp_path / "run", tmp_path / "features"
    jobs.extract(data, features, features_specification("tiny", side=SIDE), weights=weights)
    jobs.train(data, folder, spec, features)
    heatmaps = explained(data, folder, tmp_path / "maps.npz", weights=weights, side=SIDES["tiny"])

    model = models.build(spec["model"], "tl", (SIDE, SIDE, 3), seed=1, weights=weights)
    if weights is None:
        calibrate(model.layers[0], Records(data, "train"), {"preprocessing": "unit", "side": SIDE})
    head = models.head(16, seed=1)
    head.load_weights(folder / "best.weights.h5")
    model.set_weights([*model.layers[0].get_weights(), *head.get_weights()])
    np.testing.assert_allclose(heatmaps, by_hand(model, data), atol=1e-3)
    if weights is not None:
        with pytest.raises(HistobenchError, match=r"predictions\.csv: expected the scores of the network"):
            explained(data, folder, tmp_path / "maps.npz")


def test_embeddings_of_others_have_no_network_to_look_into(data, tmp_path):
    spec, output = specification("tiny", "tl", **RECIPE), tmp_path / "maps.npz"
    (tmp_path / "best.weights.h5").touch()
    about(tmp_path, spec, features={"specification": {"input": None}})
    listed = errors(tmp_path / "errors.csv", (tmp_path, "test-4"))
    explain.explain(errors=listed, abouts=[tmp_path / "run.json"], data=data, weights={"tiny": None}, output=output)
    with np.load(output) as file:
        assert (str(file["run"]), file["heatmap"].shape) == (str(tmp_path), (0, 1, 1))


def test_heat_maps_of_a_linear_head_on_standardised_features(data, tmp_path):
    spec = specification("tiny", "tl", **RECIPE, dense_units=0, standardize=True)
    folder = tmp_path / "run"
    jobs.extract(data, tmp_path / "features", features_specification("tiny", side=SIDE))
    jobs.train(data, folder, spec, tmp_path / "features")
    heatmaps = explained(data, folder, tmp_path / "maps.npz", side=SIDES["tiny"])

    backbone, part = models.backbone(spec["model"], (SIDE, SIDE, 3)), Records(data, "test")
    calibrate(backbone, Records(data, "train"), {"preprocessing": "unit", "side": SIDE})
    images = part.take(np.array([part.ids.index(patch) for patch in CHOSEN])) / np.float32(255)
    features = keras.Model(backbone.inputs[0], backbone.layers[-1].input).predict_on_batch(images)
    head = models.head(16, seed=1, dense=Dense(0), standardize=True)
    head.load_weights(folder / "best.weights.h5")
    mean, scale, kernel, bias = head.get_weights()
    logits = (features.mean((1, 2)) - mean) * scale @ kernel + bias
    expected = of_gradients(features, np.tile(scale * kernel[:, 0], (len(CHOSEN), 1)), logits)
    np.testing.assert_allclose(heatmaps, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "shape"), [("b2", (32, 32, 64)), ("b6", (9, 9, 128)), ("vgg19", (4, 4, 512)), ("mobilenet", (2, 2, 1024))]
)
def test_the_feature_map_is_the_last_before_any_pooling(model, shape):
    cnn = models.build(specification(model)["model"], "full", (SIDE, SIDE, 3), seed=1)
    visual, behind = explain.split(cnn)
    assert visual.output_shape == (None, *shape)
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)
    values = visual(images)
    assert np.min(values) == 0  # behind its activation
    for layer in behind:
        values = layer(values)
    np.testing.assert_allclose(values, cnn(images), atol=1e-6)


# Patches of 40 px with a red square at the upper right and a green one at the lower left, or none: how bright they are.
SQUARES = {"test-0": (255, 100), "test-1": (100, 255), "test-2": (0, 0), "test-3": (8, 5), "test-4": (5, 8)}
RED, GREEN = (slice(4, 10), slice(28, 34)), (slice(24, 34), slice(2, 8))
# In the feature map of B2, behind one pool of 2.
RED_HALF, GREEN_HALF = (slice(2, 5), slice(14, 17)), (slice(12, 17), slice(1, 4))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A data set and a run of B2 whose logit is 10 times red minus 6 times green, summed over cells of 4 x 4 px."""
    folder = tmp_path_factory.mktemp("known")
    images = np.zeros((len(SQUARES), 40, 40, 3), np.uint8)
    for image, (red, green) in zip(images, SQUARES.values(), strict=True):
        image[(*RED, 0)], image[(*GREEN, 1)] = red, green
    labels = np.array([0, 1, 1, 0, 1], np.uint8)  # all of them errors
    places = np.full((len(SQUARES), 2), -1, np.int32)
    chunks = [
        Patches(split, images, labels, [f"{split}-{i}" for i in range(5)], [""] * 5, places)
        for split in ("train", "valid", "test")
    ]
    write(folder / "data", chunks)

    spec = specification("b2", "full")
    model = models.build(spec["model"], "full", (40, 40, 3), seed=1)
    weights = [np.zeros_like(value) for value in model.get_weights()]
    for channel in (0, 1):  # red and green pass through both convolutions, are summed over the patch, and held together
        weights[0][2, 2, channel, channel] = 1
        weights[2][2, 2, channel, channel] = 1
        weights[4].reshape(10, 10, 64, 256)[:, :, channel, channel] = 1
        weights[6][channel] = 10 * (1, -0.6)[channel]
    model.set_weights(weights)
    run_folder = folder / "run"
    run_folder.mkdir()
    model.save_weights(run_folder / "best.weights.h5")
    about(run_folder, spec)
    return folder / "data", predicted(spec, folder / "data", run_folder)


def test_heat_maps_of_a_network_that_sees_squares(known, tmp_path):
    """False positives are explained by what speaks for tumour, false negatives by what speaks against it."""
    data, folder = known
    predicted = {row["patch_id"]: float(row["score"]) for row in read_rows(folder / "predictions.csv")}
    assert predicted["test-0"] == 1  # the sigmoid is saturated
    assert predicted["test-1"] < 1e-7
    assert predicted["test-2"] == 0.5
    assert 0.5 < predicted["test-3"] < 0.9
    assert 0.1 < predicted["test-4"] < 0.5
    patches = ["test-4", "test-3", "test-2", "test-1", "test-0"]
    heatmaps = explained(data, folder, tmp_path / "maps.npz", patches)
    for heatmap, place in zip(heatmaps, (GREEN_HALF, RED_HALF, None, GREEN_HALF, RED_HALF), strict=True):
        expected = np.zeros((20, 20), np.float32)
        if place:
            expected[place] = 1
        np.testing.assert_allclose(heatmap, expected, atol=1e-6)


def test_what_speaks_against_the_class_is_left_out_and_the_rest_scaled():
    maps = np.array([[[-3, 0], [1, 4]], [[-1, -2], [0, -3]]], np.float32)
    np.testing.assert_array_equal(explain.scaled(maps), [[[0, 0], [0.25, 1]], [[0, 0], [0, 0]]])


@pytest.mark.parametrize(
    ("gpu", "change", "refused"),
    [
        *((None, change, True) for change in (3e-4, -3e-4, np.nan)),
        *(("A100", change, True) for change in (0.03, -0.03)),
        *((gpu, rounding, False) for gpu, rounding in ((None, 3e-5), ("A100", 0.01))),
    ],
)
def test_predictions_may_differ_by_rounding_but_not_more(known, tmp_path, gpu, change, refused):
    data, folder = known
    folder = shutil.copytree(folder, tmp_path / "copy")
    about(folder, specification("b2", "full"), gpu)
    rows = read_rows(folder / "predictions.csv")
    (row,) = (row for row in rows if row["patch_id"] == "test-3")
    row["score"] = str(float(row["score"]) + change)
    write_rows(folder / "predictions.csv", rows)
    explained(data, folder, tmp_path / "maps.npz", ["test-1", "test-0"])
    wanted = r"copy/predictions\.csv: expected .* 1 of 2 differ .*patch test-3 has .* in the file .*`predict` writes it"
    with pytest.raises(HistobenchError, match=wanted) if refused else contextlib.nullcontext():
        explained(data, folder, tmp_path / "with_it.npz", ["test-1", "test-3"])
    assert (tmp_path / "with_it.npz").exists() != refused


def test_patches_of_other_data_are_refused(known, tmp_path):
    data, folder = known
    with pytest.raises(
        HistobenchError, match=r"index\.parquet: .*did not find valid-0, a, b and 1 more; make the list"
    ):
        explained(data, folder, tmp_path / "maps.npz", ["test-0", "valid-0", "a", "b", "c"])
    folder = shutil.copytree(folder, tmp_path / "copy")
    rows = read_rows(folder / "predictions.csv")
    rows = [row | {"split": "valid"} if row["patch_id"] == "test-1" else row for row in rows]
    write_rows(folder / "predictions.csv", rows)
    with pytest.raises(HistobenchError, match=r"copy/predictions\.csv: .*did not find test-1; delete it"):
        explained(data, folder, tmp_path / "maps.npz", ["test-0", "test-1"])


def test_the_run_is_the_one_that_the_errors_name(known, tmp_path):
    data, folder = known
    other = shutil.copytree(folder, tmp_path / "copy")
    common = {"abouts": [other / "run.json", folder / "run.json"], "data": data, "weights": {}}
    listed = errors(tmp_path / "errors.csv", (folder, "test-1"), (folder, "test-0"))
    explain.explain(errors=listed, output=tmp_path / "maps.npz", **common)
    with np.load(tmp_path / "maps.npz") as file:
        assert str(file["run"]) == str(folder)
    for rows in ([(folder, "test-1"), (other, "test-0")], [(tmp_path / "gone", "test-1")]):
        with pytest.raises(HistobenchError, match=r"errors\.csv: expected the errors of one run of the study on data"):
            explain.explain(errors=errors(listed, *rows), output=tmp_path / "maps.npz", **common)


def test_neighbours_have_no_heat_maps(data, tmp_path):
    spec = specification("tiny", "tl") | {"recipe": {"knn": {"n_neighbors": 1, "metric": "cosine"}}}
    (tmp_path / "best.weights.h5").touch()
    about(tmp_path, spec)
    listed, output = errors(tmp_path / "errors.csv", (tmp_path, "test-1")), tmp_path / "maps.npz"
    explain.explain(errors=listed, abouts=[tmp_path / "run.json"], data=data, weights={}, output=output)
    with np.load(output) as file:
        assert str(file["run"]) == str(tmp_path)
        assert file["patch_id"].shape == (0,)


def test_no_errors_make_an_empty_file(known, tmp_path):
    none = errors(tmp_path / "errors.csv")
    explain.explain(errors=none, abouts=[], data=known[0], weights={}, output=tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as file:
        assert (file["patch_id"].shape, file["patch_id"].dtype.kind) == ((0,), "U")
        assert (file["heatmap"].shape, file["heatmap"].dtype) == ((0, 1, 1), np.float32)
