"""Tables 3 and 4: averages over seeds, intervals, collapsed and missing runs, and what may be compared."""

import re

import numpy as np
import pandas as pd
import pytest

from histobench.core.errors import HistobenchError
from histobench.results.columns import write_csv
from histobench.results.metrics import evaluate
from histobench.results.tables.performance import COLUMNS, first_per_mode, performance, read, tuned
from support.frames import PUBLISHED, cells, replicates, run


def table(*rows, dataset="pcam", missing=(), bootstrap=None):
    frame = pd.DataFrame(rows, columns=list(run()))
    return performance(dataset, frame, cells(*rows, missing=missing), bootstrap or replicates(*rows), PUBLISHED)


def test_one_row_per_cell_in_the_order_of_the_matrix():
    rows = [
        *(run("vgg19"), run("b2"), run("vgg19", seed=2), run("b2", mode="tl"), run("b2", device="a100")),
        run("b2", seed=2),
    ]
    # Those of another data set and of a cell for its seconds have no row.
    found = table(*rows, run(dataset="idc"), run("b6", recipe="timing", timing_only=True))
    assert (found["model"] + " " + found["mode"] + " " + found["device"]).tolist() == [
        *("vgg19 full cpu", "b2 full cpu", "b2 tl cpu", "b2 full a100")
    ]
    assert found["seeds"].tolist() == [2, 2, 1, 1]
    assert found["runs"][1].split() == [rows[1]["folder"], rows[5]["folder"]]
    assert found["model_name"].tolist() == ["VGG19", "B2", "B2", "B2"]


def test_the_papers_values_stand_beside_heads_with_a_dense_layer_alone():
    kinds = {"paper": "dense head", "linear": "linear head", "knn": "k-NN"}
    rows = [run("vgg19", mode="tl", recipe=recipe, classifier=kind) for recipe, kind in kinds.items()]
    found = table(*rows).set_index("recipe")
    assert found["classifier"].to_dict() == kinds
    assert found["published_auc"].fillna(0).to_dict() == {"paper": 0.89, "linear": 0, "knn": 0}
    assert found["auc_difference"].notna().to_dict() == {"paper": True, "linear": False, "knn": False}


def test_seeds_are_averaged():
    rows = [run(seed=1, auc=0.8), run(seed=2, auc=0.9)]
    bootstrap = replicates(*rows)
    found = table(*rows, bootstrap=bootstrap)
    row = found.iloc[0]
    metrics = row[["auc", "loss", "accuracy", "balanced_accuracy"]].tolist()
    assert metrics == pytest.approx([0.85, 0.15, 0.8, 0.79])
    for metric in ("loss", "accuracy", "auc"):
        first, second = (bootstrap[each["folder"]][metric].to_numpy() for each in rows)
        expected = list(np.percentile((first + second) / 2, [2.5, 97.5]))
        assert [row[f"{metric}_low"], row[f"{metric}_high"]] == pytest.approx(expected)
    # Replicates are paired by number, not by place.
    last = rows[-1]["folder"]
    bootstrap[last] = bootstrap[last].iloc[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(*rows, bootstrap=bootstrap), found)


def test_interval_of_a_single_seed_is_the_runs_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    half = {"label": labels, "score": 1 / (1 + np.exp(-rng.normal(labels))), "group": [f"g{i % 9}" for i in range(200)]}
    ids = [f"{i:03d}" for i in range(200)]
    predictions = pd.concat([pd.DataFrame({"split": split, "patch_id": ids} | half) for split in ("valid", "test")])
    metrics, resampled = evaluate(predictions, resamples=100)
    row = run(auc=metrics["test"]["auc"], interval_unit=metrics["intervals"]["unit"])
    row["interval_reason"] = metrics["intervals"]["reason"]
    found = table(row, bootstrap={row["folder"]: resampled})
    assert [found["auc_low"][0], found["auc_high"][0]] == metrics["intervals"]["auc"]
    why = "9 groups, fewer than 10: patches are resampled, which ignores clustering"
    assert found["interval"][0] == why
    (footnote,) = [each for column in COLUMNS if (each := column.footnote_of(found)).startswith("95 %")]
    assert footnote == f"95 % intervals: bootstrap; {why}."


def test_collapsed_seeds_are_counted_not_averaged():
    rows = [run(seed=1, auc=0.9), run(seed=2, auc=0.5, collapsed=True), run(seed=3, auc=0.8)]
    bootstrap = replicates(*rows)
    row = table(*rows, bootstrap=bootstrap).iloc[0]
    assert (row["auc"], row["auc_over_seeds"]) == pytest.approx((0.85, 0.1 / 2**0.5))
    assert (row["seeds"], row["collapsed"]) == (2, 1)
    without = table(rows[0], rows[2], bootstrap=bootstrap).iloc[0]
    assert (row["auc_low"], row["auc_high"]) == (without["auc_low"], without["auc_high"])
    assert row["runs"].split() == [each["folder"] for each in rows]


def test_a_cell_without_a_seed_left_is_empty():
    row = table(run(auc=0.5, collapsed=True), run(seed=2, auc=0.5, collapsed=True)).iloc[0]
    assert row[["loss", "accuracy", "balanced_accuracy", "auc", "auc_low", "auc_high"]].isna().all()
    assert (row["seeds"], row["collapsed"], row["below_floor"]) == (0, 2, False)


@pytest.mark.parametrize(
    ("auc", "floor", "below"), [(0.78, 0.79, True), (0.79, 0.79, True), (0.80, 0.79, False), (0.3, np.nan, False)]
)
def test_below_floor(auc, floor, below):
    assert table(run(auc=auc, floor_auc=floor))["below_floor"][0] == below


def test_missing_replicates_are_named():
    rows = [run(), run(seed=2)]
    bootstrap = replicates(rows[0])
    with pytest.raises(HistobenchError, match=re.escape(rows[1]["folder"])):
        table(*rows, bootstrap=bootstrap)


def test_the_spread_over_seeds_stands_apart_from_the_test_sets_interval():
    row = table(*(run(seed=number, auc=auc) for number, auc in enumerate([0.80, 0.84, 0.88]))).iloc[0]
    assert row["auc_over_seeds"] == pytest.approx(0.04)
    # Student's t, 97.5 % at two degrees of freedom: 4.303 (any printed table).
    half = 4.303 * 0.04 / 3**0.5
    interval = row[["auc_over_seeds_low", "auc_over_seeds_high"]].tolist()
    assert interval == pytest.approx([0.84 - half, 0.84 + half], abs=1e-4)
    assert row["auc_low"] > row["auc_over_seeds_low"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_have_no_interval(seeds):
    row = table(*(run(seed=number, auc=0.8 + number / 50) for number in range(seeds))).iloc[0]
    assert pd.isna(row["auc_over_seeds"]) == (seeds == 1)
    assert pd.isna(row["auc_over_seeds_low"])


def test_published_values_stand_beside_ours_by_format_model_and_mode():
    rows = [run(), run("vgg19"), run(mode="scratch"), run(dataset="idc-random", format="idc")]
    found = table(*rows)
    assert found["published_auc"].fillna(-1).tolist() == [0.85, -1, -1]
    assert (found["published_loss"][0], found["published_accuracy"][0]) == (0.47, 0.78)
    assert table(*rows, dataset="idc-random")["published_auc"].tolist() == [0.92]


@pytest.mark.parametrize("why", ["", "data_differs", "recipe_differs", "weights_differ"])
def test_differences_stand_where_everything_is_the_papers(why):
    row = table(run(auc=0.9, **({why: "another"} if why else {}))).iloc[0]
    expected = [np.nan] * 3 if why else [0.90 - 0.85, 0.10 - 0.47, 0.85 - 0.78]
    differences = row[["auc_difference", "loss_difference", "accuracy_difference"]].tolist()
    assert differences == pytest.approx(expected, nan_ok=True)
    assert row["published_auc"] == 0.85
    assert not why or row[why] == "another"


def test_a_missing_run_is_a_gap_with_its_reason_beside_the_published_value():
    gap = {"model": "vgg19", "mode": "tl", "gap": "not run yet"}
    out = {"model": "b2", "mode": "tl", "gap": "left out: no backbone", "left_out": True}
    found = table(run(), missing=(gap, out))
    assert found["gap"].tolist() == ["", "not run yet", "left out: no backbone"]
    assert found["published_auc"].fillna(-1).tolist() == [0.85, 0.89, -1]
    assert found.loc[1:, ["auc", "auc_difference", "n", "floor_auc"]].isna().all(axis=None)
    assert found["seeds"].tolist() == [1, 0, 0]
    assert found["runs"][1] == ""


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([run(auc=1 / 3), run("b6", weights=""), run("mobilenet", collapsed=True)], [{"model": "vgg19"}]),
        ([run("007", model_name="NA", recipe="null", device="NaN")], []),  # names that look like numbers or nothing
    ],
)
def test_reading_gives_what_was_written(rows, missing, tmp_path):
    found = table(*rows, missing=missing)
    write_csv(tmp_path / "performance.csv", found)
    pd.testing.assert_frame_equal(read([tmp_path / "performance.csv"]), found, check_exact=True, check_dtype=False)


def test_one_cell_stands_for_data_set_model_and_mode_and_tuned_ones_beside_the_recipe_before():
    rows = [run(auc=0.8), run(recipe="native", auc=0.94)]
    rows += [run(recipe=f"from-{recipe}", tuned_from=recipe, auc=0.93) for recipe in ("paper", "native")]
    asked, whole = cells(*rows), table(*rows)
    (first,) = first_per_mode(whole, asked)[["dataset", "model", "mode", "auc"]].to_numpy().tolist()
    assert first == ["pcam", "b2", "full", 0.8]
    pairs = tuned(whole, asked)[["model", "recipe", "auc", "auc_untuned"]].to_numpy().tolist()
    assert pairs == [["b2", "from-paper", 0.93, 0.8], ["b2", "from-native", 0.93, 0.94]]


def test_a_study_without_such_tables_has_no_rows():
    assert first_per_mode(read([]), cells(run())).empty
    assert tuned(read([]), cells(run(recipe="found", tuned_from="paper")))["auc"].isna().all()
