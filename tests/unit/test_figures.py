"""Figures: they show the given values and are reproducible; and the numbers of the calibration figure."""

import itertools
import xml.etree.ElementTree as ET
from functools import partial
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from histobench.results import figure_data
from histobench.results.columns import names, write_csv
from histobench.results.figures import style
from histobench.results.figures.ablation import ablation_steps_figure
from histobench.results.figures.auc_against_seconds import MANY, auc_against_seconds
from histobench.results.figures.auc_against_size import auc_against_size
from histobench.results.figures.auc_against_training_data import auc_against_training_data, sizes
from histobench.results.figures.auc_by_mode import MAX_NAMED, auc_by_mode
from histobench.results.figures.calibration import bins, calibration, slope_and_intercept
from histobench.results.figures.curves import MAX_BANDS, precision_recall, roc
from histobench.results.figures.duplicates import examples as examples_of_duplicates
from histobench.results.figures.duplicates import pairs
from histobench.results.figures.examples import examples
from histobench.results.figures.forest import forest
from histobench.results.figures.gallery import gallery, gallery_figure
from histobench.results.figures.groups import per_group
from histobench.results.figures.learning_curves import learning_curves, learning_curves_figure
from histobench.results.tables import ablation
from support import frames
from support.frames import run

AUC_FIGURES = [auc_against_size, auc_by_mode, auc_against_seconds, forest]


def cells(models=3, modes=("full",), datasets=("pcam",), origins=("ours", "published")):
    """Return made-up results, no two AUCs alike."""
    rng = np.random.default_rng(0)
    keys = [
        (d, f"EfficientNetV2B{m}", mode, o) for d in datasets for m in range(models) for mode in modes for o in origins
    ]
    frame = pd.DataFrame(keys, columns=["dataset", "model_name", "mode", "origin"]).assign(
        device="a100", recipe="paper"
    )
    frame["auc"] = rng.uniform(0.7, 0.95, len(frame))
    ours = frame["origin"] == "ours"
    frame["auc_low"], frame["auc_high"] = ((frame["auc"] + shift).where(ours) for shift in (-0.02, 0.03))
    number = frame["model_name"].str[-1].astype(int) + 1
    return frame.assign(layers=50.0 * number, parameters_millions=3.0 * number, seconds=100.0 * number)


def predictions(n=300, seed=0):
    """Return labels, calibrated scores and groups."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5
    labels = (rng.random(n) < expit(logits)).astype(np.int64)
    return labels, expit(logits), np.array([f"g{i % 25:02d}" for i in range(n)])


def drawn(figure, label=None, panel=None):
    """Return the offsets of all points, or of those with a label, on one or all panels."""
    axes = figure.axes if panel is None else [figure.axes[panel]]
    found = [
        np.asarray(points.get_offsets())
        for each in axes
        for points in each.collections
        if isinstance(points, PathCollection) and label in (None, points.get_label())
    ]
    return np.concatenate(found) if found else np.empty((0, 2))


def by_gid(axes, gid):
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def texts(figure):
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.mark.parametrize("draw", AUC_FIGURES)
def test_equal_tables_give_equal_files(draw, tmp_path):
    for name in ("first", "second"):
        style.save(draw(cells()), tmp_path / name / "figure", ["Simulated patches: pcam."])
        assert sorted(file.name for file in (tmp_path / name).iterdir()) == ["figure.png", "figure.svg"]
    for suffix in ("svg", "png"):
        first, second = ((tmp_path / name / f"figure.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
    style.save(draw(cells().assign(auc=0.8)), tmp_path / "other", ["Simulated patches: pcam."])
    assert (tmp_path / "other.svg").read_bytes() != first


def test_settings_of_the_user_change_nothing(tmp_path):
    style.save(forest(cells()), tmp_path / "plain", [])
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": None}):
        style.save(forest(cells()), tmp_path / "changed", [])
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "changed.svg").read_bytes()


@pytest.mark.parametrize("draw", AUC_FIGURES)
def test_notes_are_printed_below_everything_and_within_the_figure(draw, tmp_path):
    notes = ["Simulated patches: pcam. Nothing here holds for tissue.", "Random weights: " + "EfficientNetV2B2, " * 12]
    figure = draw(cells())
    height = figure.get_size_inches()[1]
    style.save(figure, tmp_path / "figure", notes)
    assert figure.get_size_inches()[1] > height
    figure.draw_without_rendering()  # extents at the figure's own resolution again, not at the file's
    (printed,) = [text for text in figure.texts if text.get_gid() == "notes"]
    assert " ".join(printed.get_text().split()) == " ".join(" ".join(notes).split())
    box = printed.get_window_extent()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.bbox.x1
    renderer = figure.canvas.get_renderer()
    assert box.y1 < min(axes.get_tightbbox(renderer).y0 for axes in figure.axes)
    assert all(box.y1 < legend.get_window_extent().y0 for legend in figure.legends)
    description = ET.parse(tmp_path / "figure.svg").getroot().find(".//{http://purl.org/dc/elements/1.1/}description")
    assert description.text.split() == " ".join(notes).split()


def test_without_notes_nothing_is_added(tmp_path):
    figure = forest(cells())
    size = tuple(figure.get_size_inches())
    style.save(figure, tmp_path / "figure", [])
    assert tuple(figure.get_size_inches()) == size
    assert not figure.texts


def test_size_draws_every_point_in_both_panels():
    frame = cells()
    figure = auc_against_size(frame)
    for panel, size in enumerate(["layers", "parameters_millions"]):
        for origin in ("ours", "published"):
            expected = frame.loc[frame["origin"] == origin, [size, "auc"]].to_numpy()
            np.testing.assert_array_equal(drawn(figure, origin, panel), expected)
        # One name per model, not per point.
        assert sorted(text.get_text() for text in figure.axes[panel].texts) == sorted(frame["model_name"].unique())


def test_seconds_draw_every_point_that_has_an_auc():
    frame = cells(modes=("tl", "full"), datasets=("pcam", "idc"), origins=("ours",))
    frame.loc[0, ["auc", "auc_low", "auc_high"]] = np.nan
    points, expected = drawn(auc_against_seconds(frame)), frame[["seconds", "auc"]][1:].to_numpy()
    np.testing.assert_array_equal(sorted(points.tolist()), sorted(expected.tolist()))


def test_seconds_of_several_recipes_are_named():
    frame = cells(2, ("tl", "full"), ("pcam", "idc"), ("ours",))
    several = pd.concat([frame, frame[:1].assign(recipe="strong", seconds=900.0)])
    pcam, idc = (sorted(text.get_text() for text in axes.texts) for axes in auc_against_seconds(several).axes)
    named = [f"EfficientNetV2B{model}" for model in (0, 0, 0, 1, 1)]
    recipes = ["paper", "paper", "strong", "paper", "paper"]
    assert pcam == [f"{model}, {recipe}" for model, recipe in zip(named, recipes, strict=True)]
    assert idc == [*named[:2], *named[3:]]


def test_names_without_room_are_drawn_all_the_same():
    _, panels = style.new(1, 1)
    style.label_points(panels[0, 0], np.full((9, 2), 0.5), ["EfficientNetV2B0"] * 9, np.empty((0, 2)))
    assert len(panels[0, 0].texts) == 9


def test_crowded_panels_have_the_width_of_the_page():
    frame = cells(MANY + 1, origins=("ours",))
    figure = auc_against_seconds(pd.concat([frame, frame[:1].assign(dataset="idc")]))
    figure.draw_without_rendering()
    first, second = (axes.get_window_extent() for axes in figure.axes)
    assert first.y0 > second.y1
    few = auc_against_seconds(frame.head(4).assign(dataset=["pcam", "pcam", "idc", "idc"]))
    few.draw_without_rendering()
    first, second = (axes.get_window_extent() for axes in few.axes)
    assert first.x1 < second.x0


def test_the_forest_draws_every_auc_its_first_row_on_top_and_where_narrow_its_data_sets_below_each_other():
    frame = cells(modes=("tl", "full"), datasets=("pcam", "idc"))
    wide, narrow = forest(frame), forest(frame, narrow=True)
    assert sorted(drawn(wide)[:, 0]) == sorted(frame["auc"])
    assert len(drawn(wide, "published")) == len(frame) / 2
    np.testing.assert_array_equal(drawn(narrow), drawn(wide))
    labels = {text.get_text(): text.get_position()[1] for text in wide.axes[0].get_yticklabels()}
    rows = [f"EfficientNetV2B{number}, {mode}" for number in range(3) for mode in ("TL", "full")]
    assert sorted(labels, key=labels.get, reverse=True) == rows
    for figure, across in ((wide, "x0"), (narrow, "y0")):
        figure.draw_without_rendering()
        first, second = (axes.get_window_extent() for axes in figure.axes)
        same = {"x0": "y0", "y0": "x0"}[across]
        assert getattr(first, across) != pytest.approx(getattr(second, across))
        assert getattr(first, same) == pytest.approx(getattr(second, same))
        assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()  # so that data sets can be compared
    assert [axes.get_title() for axes in narrow.axes] == ["pcam", "idc"]
    assert narrow.get_size_inches()[0] < style.SINGLE < wide.get_size_inches()[0]


def test_rows_of_the_forest_name_recipes_and_stand_together_where_a_model_and_mode_have_several():
    frame = pd.concat([cells(2, origins=("ours",)), cells(1, origins=("ours",)).assign(recipe="strong", auc=0.99)])
    names = ["EfficientNetV2B0, full, paper", "EfficientNetV2B0, full, strong", "EfficientNetV2B1, full, paper"]
    for narrow in (False, True):
        axes = forest(frame, narrow=narrow).axes[0]
        heights = {text.get_text().replace("\n", " "): text.get_position()[1] for text in axes.get_yticklabels()}
        assert sorted(heights, key=heights.get, reverse=True) == names
        found = {round(y): x for x, y in drawn(axes.figure)}
        assert [found[heights[name]] for name in names] == [frame["auc"].iloc[0], 0.99, frame["auc"].iloc[1]]


@given(st.permutations(range(6)))
@settings(max_examples=5)
def test_modes_draw_every_auc_above_its_mode(order):
    frame = cells(models=6, modes=("tl", "full"))
    frame = frame.iloc[[number * 4 + place for number in order for place in range(4)]]
    points = drawn(auc_by_mode(frame))
    assert sorted(points[:, 1]) == sorted(frame["auc"])
    for place, mode in enumerate(("tl", "full")):
        here = points[np.abs(points[:, 0] - place) < 0.5]
        assert sorted(here[:, 1]) == sorted(frame.loc[frame["mode"] == mode, "auc"])


def test_few_points_have_the_names_of_their_models():
    frame = cells(models=3, modes=("tl", "full"))
    (axes,) = auc_by_mode(frame).axes
    assert sorted(text.get_text() for text in axes.texts) == sorted(frame["model_name"])
    assert not auc_by_mode(cells(models=MAX_NAMED // 2 + 1)).axes[0].texts


def test_few_points_have_no_box():
    assert not auc_by_mode(cells(models=4)).axes[0].patches
    assert len(auc_by_mode(cells(models=5)).axes[0].patches) == 2  # ours and published


@pytest.mark.parametrize("draw", [*AUC_FIGURES, partial(forest, narrow=True)])
@pytest.mark.parametrize("frame", [cells()[:0], cells()[:1], cells(12, ("tl", "full"))], ids=["none", "one", "24"])
@pytest.mark.filterwarnings("error")
def test_any_number_of_cells(draw, frame, tmp_path):
    style.save(draw(frame), tmp_path / "figure", ["A note."])


@pytest.mark.filterwarnings("error")
def test_other_figures_without_anything(tmp_path):
    nothing = pd.DataFrame(columns=["label", "group", "n", "positives", "accuracy"])
    none = np.empty((0, 8, 8, 3), np.uint8)
    figures = [roc({}), precision_recall({}), calibration({}), learning_curves({}), per_group(nothing, "None.")]
    figures += [gallery(pd.DataFrame(columns=["patch_id", "label"]), none, {}), examples(none, np.empty(0, np.int64))]
    for number, figure in enumerate(figures):
        style.save(figure, tmp_path / str(number), ["A note."])
    assert texts(per_group(nothing, "All are unknown.")) == "All are unknown."


@pytest.mark.parametrize("words", [1, 6, 12, 24])
def test_why_there_is_nothing_fits_its_figure(words):
    figure = style.nothing("tuberculosis " * words)
    figure.draw_without_rendering()
    (text,) = figure.axes[0].texts
    box = text.get_window_extent()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert text.get_text().split() == ["tuberculosis"] * words


def test_names_stay_apart_and_within_the_axes():
    figure = auc_against_size(cells(models=9, origins=("ours",)))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert not any(one.overlaps(two) for place, one in enumerate(boxes) for two in boxes[:place])


def test_curves_of_a_single_seed_lie_on_those_of_scikit_learn():
    labels, scores, groups = predictions()
    scores = np.round(scores, 1)  # with ties
    one_seed = {"B2": [(labels, scores, groups)]}
    (line,) = by_gid(roc(one_seed).axes[0], "curve")
    false, true, _ = roc_curve(labels, scores)
    rates, sensitivity = line.get_data()
    np.testing.assert_allclose(np.interp(rates[1:], false, true), sensitivity[1:], atol=1e-12)
    assert line.get_label() == f"B2  {roc_auc_score(labels, scores):.3f}"

    (line,) = by_gid(precision_recall(one_seed).axes[0], "curve")
    precision, recall, _ = precision_recall_curve(labels, scores)
    for at, found in zip(*line.get_data(), strict=True):
        # Thresholds fall along the arrays' end: the point that first reaches the recall has the highest threshold.
        assert found == pytest.approx(precision[:-1][recall[:-1] >= at][-1])


def test_curves_are_means_over_seeds():
    seeds = [predictions(seed=seed) for seed in range(3)]
    single = [by_gid(roc({"B2": [seed]}).axes[0], "curve")[0].get_ydata() for seed in seeds]
    (mean,) = by_gid(roc({"B2": seeds}).axes[0], "curve")
    np.testing.assert_allclose(mean.get_ydata(), np.mean(single, axis=0))


@pytest.mark.parametrize("draw", [roc, precision_recall])
def test_bands_hold_their_curves_and_are_few(draw):
    scores = {f"B{number}": [predictions(seed=number)] for number in range(6)}
    axes = draw(scores, ["B5", "not a label", "B0", "B1", "B2", "B3"]).axes[0]
    bands = by_gid(axes, "band")
    assert len(bands) == MAX_BANDS
    curves = {line.get_label().split()[0]: line for line in by_gid(axes, "curve")}
    assert len(curves) == 6
    corners = bands[0].get_paths()[0].vertices  # the labels are drawn in their order: this is B0's
    x, y = curves["B0"].get_data()
    middle = len(x) // 2
    limits = corners[np.isclose(corners[:, 0], x[middle]), 1]
    assert limits.min() < y[middle] < limits.max()


def test_no_two_curves_look_alike():
    looks = [tuple(style.line(number).values()) for number in range(24)]
    assert len(set(looks)) == 24


def test_a_seed_with_one_class_is_left_out():
    labels, scores, groups = predictions()
    axes = roc({"B2": [(np.ones_like(labels), scores, groups)], "B6": [(labels, scores, groups)]}, ["B2"]).axes[0]
    assert [line.get_label()[:2] for line in by_gid(axes, "curve")] == ["B6"]


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 10))
@settings(max_examples=50)
def test_bins_have_equal_mass(n, count, seed):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, n), rng.random(n)
    table = bins(labels, scores, count)
    assert len(table) == min(n, count)
    assert table["n"].sum() == n
    assert table["n"].max() - table["n"].min() <= 1
    assert table["score"].is_monotonic_increasing
    assert (table["n"] * table["positives"]).sum() == pytest.approx(labels.sum())
    assert (table["n"] * table["score"]).sum() == pytest.approx(scores.sum())


@pytest.mark.parametrize(("sharpness", "shift", "slope"), [(1, 0, 1), (2, 0, 0.5), (1, -1, 1), (3, 0, 1 / 3)])
def test_slope_and_intercept_of_a_known_distortion(sharpness, shift, slope):
    labels, scores, _ = predictions(n=40_000)
    logits = sharpness * logit(scores) + shift
    found, intercept = slope_and_intercept(labels, expit(logits))
    assert found == pytest.approx(slope, abs=0.03)
    # It makes the mean right.
    assert expit(logits + intercept).mean() == pytest.approx(labels.mean())
    if sharpness == 1:
        assert intercept == pytest.approx(-shift, abs=0.03)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([1, 1, 1], [0.2, 0.4, 0.9]), ([0, 1, 0], [0.5, 0.5, 0.5]), ([0, 1, 1], [0.0, 1.0, 1.0])],
    ids=["one class", "constant", "separated"],
)
@pytest.mark.filterwarnings("error")
def test_no_finite_slope(labels, scores):
    assert np.isnan(slope_and_intercept(np.array(labels), np.array(scores))[0])


@pytest.mark.parametrize(("n", "shown"), [(999, False), (1000, True)])
def test_small_test_sets_have_no_reliability_diagram(n, shown):
    figure = calibration({"B2": [predictions(n=n)]})
    assert len(by_gid(figure.axes[0], "bins")) == shown
    assert ("Hidden" in texts(figure)) != shown
    assert ("slope" in texts(figure)) == shown
    # No empty panels where none has enough.
    assert (figure.get_size_inches()[1] < 1) != shown
    both = calibration({"B2": [predictions(n=n)], "B6": [predictions(n=1000)]})
    assert ("hidden" in texts(both)) != shown
    assert by_gid(both.axes[1], "bins")


@pytest.mark.parametrize(
    ("low", "high", "whole", "ticks"),
    [
        (2, 3, True, [2, 3]),
        (2, 3, False, [2, 2.5, 3, 3.5]),
        (0.7, 1.1, False, [0.6, 0.8, 1.0, 1.2]),
        (9, 90, True, [10, 20, 50, 100]),
        (1, 5000, True, [1, 10, 100, 1000]),
    ],
)
def test_a_logarithmic_axis_has_some_plain_ticks_however_narrow_it_is(low, high, whole, ticks):
    _, panels = style.new(3, 3)
    axes = panels[0, 0]
    axes.set(xscale="log", xlim=(low / 1.25, high * 1.25))
    style.log_ticks(axes.xaxis, low, high, dense=1000, whole=whole)
    first, last = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if first <= tick <= last] == pytest.approx(ticks)


def test_best_epochs_are_marked_on_the_validation_curve():
    epoch = np.arange(1, 5)
    training = {"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5 + 0.1 * epoch}
    history = pd.DataFrame(training | {"val_loss": 1.1 / epoch, "val_accuracy": 0.5 + 0.09 * epoch})
    figure = learning_curves({"B2, full": [(history, 2), (history, 4)], "B6, full": [(history, 1)]})
    loss, accuracy = figure.axes[0], figure.axes[2]
    marked = [[value[0] for value in mark.get_data()] for mark in by_gid(loss, "best")]
    assert marked == [[2, 0.55], [4, 0.275]]
    assert [mark.get_data()[1][0] for mark in by_gid(accuracy, "best")] == pytest.approx([0.68, 0.86])
    np.testing.assert_array_equal(by_gid(accuracy, "val_accuracy")[0].get_ydata(), history["val_accuracy"])
    assert len(by_gid(loss, "loss")) == 2
    # The lines of a seed share a shade, and no two seeds have the same.
    shades = [[line.get_alpha() for line in by_gid(loss, name)] for name in ("loss", "val_loss", "best")]
    assert shades[0] == shades[1] == shades[2]
    assert len(set(shades[0])) == 2
    assert by_gid(figure.axes[1], "loss")[0].get_alpha() == 1


def test_groups_stand_from_the_hardest_to_the_easiest():
    frame = pd.DataFrame(
        [
            *(("B2", "a", 10, 3, 0.9), ("B2", "b", 20, 5, 0.5), ("B2", "c", 30, 9, 0.7)),
            *(("B6", "a", 10, 3, 0.8), ("B6", "b", 20, 5, 0.6)),  # no patch of c
        ],
        columns=["label", "group", "n", "positives", "accuracy"],
    )
    figure = per_group(frame, "")
    bars, heat = figure.axes[:2]
    assert [text.get_text() for text in heat.get_xticklabels()] == ["b", "c", "a"]
    assert [text.get_text() for text in heat.get_yticklabels()] == ["B2", "B6"]
    shown = np.ma.filled(heat.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, [[0.5, 0.7, 0.9], [0.6, np.nan, 0.8]])
    negatives, positives = ([bar.get_height() for bar in container] for container in bars.containers)
    assert (negatives, positives) == ([15, 21, 7], [5, 9, 3])


def test_examples_show_the_classes_and_the_centre():
    images = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 96, 96, 3), np.uint8)
    labels = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1])
    figure = examples(images, labels, 32)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [1, 3, 4, 5, 6, 7, 0, 2]  # six at most
    square = figure.axes[0].patches[0]
    # Pixels 32 to 63, whose centres are at whole numbers.
    assert [*square.get_xy(), square.get_width(), square.get_height()] == [31.5, 31.5, 32, 32]
    assert not examples(images, labels).axes[0].patches


@pytest.mark.parametrize("maps", [0, 5])
def test_errors_stand_above_their_heat_maps(maps):
    scores = [(0, 0.99), (0, 0.8), (0, 0.7), (1, 0.01), (1, 0.4)]
    errors = pd.DataFrame(scores, columns=["label", "score"])
    errors["patch_id"] = [f"8863_idx5_x{number}_y1251_class0" for number in range(5)]
    errors["group"] = "camelyon16_train_tumor_001"
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    heatmaps = {patch: np.full((3, 3), number / 10) for number, patch in enumerate(errors["patch_id"][:maps])}
    figure = gallery(errors, images, heatmaps)
    shown = [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    captions = [axes.get_xlabel() for axes in shown if axes.get_xlabel()]
    assert [caption.splitlines()[0] for caption in captions] == [f"score {score:.4f}" for _, score in scores]
    assert "8863_idx5_x0_y1251_class0" in captions[0].replace("\n", "")
    assert "camelyon16_train_tumor_001" in captions[0].replace("\n", "")
    overlays = [axes for axes in shown if len(axes.images) == 2]
    assert len(overlays) == maps
    assert len(shown) == 5 + maps
    for number, axes in enumerate(overlays):
        assert axes.images[0].get_array().max() == number
        assert axes.images[1].get_array().max() == number / 10
        # The heat map covers the patch exactly.
        assert sorted(axes.images[1].get_extent()) == sorted(axes.images[0].get_extent())


@pytest.mark.parametrize("maps", [0, 2])
def test_no_errors_of_a_kind_take_a_line(maps):
    errors = pd.DataFrame({"label": 1, "score": [0.1, 0.2], "patch_id": ["a", "b"], "group": "g"})
    heatmaps = dict.fromkeys(["a", "b"][:maps], np.zeros((3, 3)))
    both, one = (
        gallery(some, np.zeros((len(some), 8, 8, 3), np.uint8), heatmaps)
        for some in (pd.concat([errors.assign(label=0), errors], ignore_index=True), errors)
    )
    assert (texts(both), texts(one)) == ("", "false positives: none")
    assert one.get_size_inches()[1] < 0.65 * both.get_size_inches()[1]
    for figure, shown in ((both, 4 + 2 * maps), (one, 2 + maps)):
        assert sum(bool(axes.images) for axes in figure.axes if axes.get_label() != "<colorbar>") == shown


@pytest.mark.parametrize(
    ("changes", "encoders", "networks", "note"),
    [
        ({"classifier": "k-NN"}, ["b2"], 3, "its features were computed by others"),
        ({"classifier": "k-NN"}, [], 3, "nearest neighbours come from no network"),
        ({}, [], 3, "the scores of 3 networks, one for each fold"),
        ({}, [], 1, None),
    ],
)
def test_why_errors_have_no_heat_maps_is_said_once(changes, encoders, networks, note, tmp_path):
    row = run(**changes)
    errors = pd.DataFrame([{"patch_id": "p", "group": "g", "run": row["folder"], "label": 0, "score": 0.9}])
    write_csv(tmp_path / "errors.csv", errors)
    inputs = SimpleNamespace(files={"errors": [tmp_path / "errors.csv"], "heatmaps": []}, dataset="pcam")
    inputs.runs, inputs.cells = pd.DataFrame([row, run("b6")]), frames.cells(row, run("b6"))
    inputs.encoders, inputs.gathered = dict.fromkeys(encoders), {"pcam": networks}
    inputs.test_images = lambda ids: np.zeros((len(ids), 8, 8, 3), np.uint8)
    _, notes, cells = gallery_figure(inputs)
    assert cells["model"].tolist() == ["b2"]  # whose warnings stand below the figure
    without = [each for each in notes if each.startswith("Without Grad-CAM: ")]
    assert len(without) == (note is not None)
    assert (note or "") in "".join(without)


def test_curves_of_several_folds_say_that_they_are_means(monkeypatch):
    monkeypatch.setattr(figure_data, "histories", lambda _: {})
    row = run()
    inputs = SimpleNamespace(runs=pd.DataFrame([row]), cells=frames.cells(row), dataset="pcam", gathered={"pcam": 3})
    (note,) = learning_curves_figure(inputs)[1]
    assert note.startswith("Curves are means over 3 folds; the dot marks the median")
    inputs.gathered = {}
    assert learning_curves_figure(inputs)[1] == []


@pytest.mark.parametrize(("scale", "datasets"), [(0.05, 1), (0.072, 1), (0.072, 2), (0.0072, 1), (0.001, 2)])
@style.styled
def test_ticks_of_small_differences_stay_apart_and_only_what_is_shown_is_announced(scale, datasets, tmp_path):
    asked = [run(dataset=name, recipe=recipe) for name in ("pcam", "idc", "other") for recipe in ("paper", "native")]
    shown = frames.cells(*asked[: 2 * datasets]).reindex(columns=names(ablation.COLUMNS))
    shown = shown.assign(added_to=["", "full/paper"] * datasets, difference=[np.nan, 0.4 * scale] * datasets)
    shown = shown.assign(difference_low=-0.8 * scale, difference_high=1.6 * scale)
    write_csv(tmp_path / "ablation.csv", shown)
    figure, _, about = ablation_steps_figure(
        SimpleNamespace(files={"ablation": [tmp_path / "ablation.csv"]}, cells=frames.cells(*asked))
    )
    assert about["dataset"].unique().tolist() == ["pcam", "idc"][:datasets]
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [tick.get_window_extent() for tick in ticks]
        assert len(boxes) > 1
        assert all(one.x1 + 3 < two.x0 for one, two in itertools.pairwise(boxes))


def test_pairs_of_two_parts_come_first_and_stand_above_each_other():
    known = ["split", "patch_id", "label"]
    copies = pd.DataFrame(
        [("train", "a", 0, 1, ""), ("train", "b", 1, 1, ""), ("test", "c", 0, 1, "mirrored"), ("test", "d", 1, 2, "")],
        columns=[*known, "same", "turned"],
    ).assign(copies_in=["train test", "train test", "train", ""])
    near = pd.DataFrame([("train", "d", 1, "train", "e", 1, ""), ("train", "f", 1, "test", "g", 1, "turned by 90°")])
    near.columns = [*(f"{end}_{name}" for end in ("first", "second") for name in known), "turned"]
    shown = examples_of_duplicates(copies, near)
    assert shown[["kind", "first_patch_id", "second_patch_id"]].to_numpy().tolist() == [
        ["equal", "a", "c"],
        ["near", "f", "g"],
        ["equal", "a", "b"],
        ["near", "d", "e"],
    ]
    images = np.arange(8, dtype=np.uint8).reshape(4, 2, 1, 1, 1) * np.ones((1, 1, 9, 9, 3), np.uint8)
    figure = pairs(shown, images)
    drawn_images = [(int(axes.images[0].get_array().max()), axes.get_xlabel()) for axes in figure.axes if axes.images]
    assert [number for number, _ in drawn_images] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert drawn_images[2][1].replace("\n", " ") == "test, normal c mirrored"
    nothing = pairs(shown.head(0), images[:0])
    assert "No two patches are equal" in nothing.axes[0].texts[0].get_text()


def test_training_data_draw_the_auc_against_what_their_part_is_counted_by():
    runs, rows = [], []
    kinds = {"cv": ("", ""), "tenth": ("cv", "train_fraction"), "two": ("cv", "train_groups"), "other": ("", "")}
    for number, (dataset, (subset_of, subset_by)) in enumerate(kinds.items()):
        for model in ("b2", "b6"):
            names = {"dataset": dataset, "model": model, "mode": "full", "recipe": "paper", "device": "cpu"}
            about = {"model_name": model.upper(), "subset_of": subset_of, "subset_by": subset_by}
            rows.append(names | about | {"auc": 0.8 + 0.01 * len(rows), "auc_low": 0.7, "auc_high": 0.95})
            runs += [names | {"n_train": 100 + number, "n_train_groups": seed + number} for seed in (4, 6)]
    table = pd.DataFrame(rows)
    asked = table.drop(columns=["auc", "auc_low", "auc_high", "model_name"])
    frame = sizes(pd.DataFrame(runs), asked, table.drop(columns=["subset_of", "subset_by"]))
    counted = frame[["dataset", "n_train", "n_train_groups"]].drop_duplicates().to_numpy().tolist()
    assert counted == [["cv", 100, 5], ["tenth", 101, 6], ["two", 102, 7]]
    patches, slides = auc_against_training_data(frame).axes
    for axes, part in ((patches, "tenth"), (slides, "two")):
        drawn = [aucs for line in axes.get_lines() if len(aucs := line.get_ydata()) == 2]
        wanted = frame.loc[frame["dataset"].isin(["cv", part]), "auc"]
        assert sorted(np.concatenate(drawn).tolist()) == sorted(wanted)
    assert [axes.get_title(loc="left") for axes in (patches, slides)] == ["cv", ""]
    unknown = auc_against_training_data(frame.assign(n_train_groups=0))
    assert "no data set with train_groups" in {text.get_text() for text in unknown.axes[1].texts}
