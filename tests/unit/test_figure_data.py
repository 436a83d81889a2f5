"""The data of the figures, from tables and run folders."""

import numpy as np
import pandas as pd
import pytest

from histobench.core.files import write_sealed
from histobench.results import figure_data
from histobench.results.tables.performance import first_per_mode, first_per_recipe
from support.frames import cells, performances, run


def stand(*rows, missing=()):
    return first_per_mode(performances(*rows, missing=missing), cells(*rows, missing=missing))


def test_ours_and_published_are_points_of_their_own():
    missing = ({"model": "vgg19", "mode": "tl", "gap": "not run yet"},)
    points = figure_data.points(stand(run(auc=0.9), run("b6", auc=0.8), missing=missing))
    assert {(row.model_name, row.mode, row.origin): row.auc for row in points.itertuples()} == {
        ("B2", "full", "ours"): pytest.approx(0.9),
        ("B6", "full", "ours"): pytest.approx(0.8),
        ("B2", "full", "published"): 0.85,
        ("VGG19", "tl", "published"): 0.89,
    }
    assert points.loc[points["origin"] == "published", ["auc_low", "auc_high"]].isna().all(axis=None)
    assert points.loc[points["origin"] == "ours", ["auc_low", "auc_high"]].notna().all(axis=None)


def test_data_sets_keep_the_order_of_the_matrix_whoever_has_them_first():
    missing = ({"dataset": "pcam", "gap": "not run yet"},)
    points = figure_data.points(stand(run(dataset="idc", format="idc"), missing=missing))
    assert points["dataset"].tolist() == ["idc", "idc", "pcam"]


def by_recipe(*rows, missing=()):
    """Return mode, recipe and published AUC of each cell that has a row in the figure `forest`."""
    chosen = first_per_recipe(performances(*rows, missing=missing), cells(*rows, missing=missing))
    return list(chosen[["mode", "recipe", "published_auc"]].fillna(0).itertuples(index=False, name=None))


def test_each_recipe_but_no_baseline_average_or_tuned_one_has_a_row_and_the_published_value_stands_by_the_papers():
    strong = run(recipe="strong", recipe_differs="epochs 30 instead of 15")
    head = {"model": "vgg19", "mode": "tl", "classifier": "dense head"}
    others = [run(recipe="strong.d4", averaged_from="b2/full/strong/cpu"), run(recipe="tuned", tuned_from="paper")]
    others += [run(**head | {"recipe": "linear", "classifier": "linear head"}), run(device="a100")]
    rows = [strong, run(**head), run(), *others, run(recipe="slow", timing_only=True)]
    known = {("full", "strong", 0), ("tl", "paper", 0.89), ("full", "paper", 0.85)}
    assert set(by_recipe(*rows)) == known and len(by_recipe(*rows)) == len(known)
    alone = run(**head | {"recipe": "knn", "classifier": "k-NN"})
    assert [row[:2] for row in by_recipe(alone)] == [("tl", "knn")]


def test_a_published_value_stands_beside_no_recipe_that_is_known_not_to_be_the_papers():
    differs = {"recipe_differs": "epochs 3 instead of 15"}
    strong, short = run(recipe="strong", **differs), run(recipe="short", **differs)
    missing = ({"recipe": "paper", "gap": "not run yet"},)
    assert by_recipe(strong, short) == [("full", "strong", 0), ("full", "short", 0)]
    assert by_recipe(strong, missing=missing) == [("full", "strong", 0), ("full", "paper", 0.85)]
    assert by_recipe(strong) == [("full", "strong", 0.85)]  # a single recipe, and a note says that it is not comparable
    elsewhere = run(recipe="short", dataset="idc", format="idc", **differs)
    assert by_recipe(strong, elsewhere) == [("full", "strong", 0), ("full", "short", 0)]


def test_a_figure_says_where_published_values_are_not_comparable():
    same, other = run(), run(dataset="idc", format="idc", data_differs="another split")
    assert figure_data.notes_on_published(stand(same)) == ["Published values: Bonnet 2024."]
    (note,) = figure_data.notes_on_published(stand(same, other))
    assert "not comparable with ours on idc:" in note
    assert figure_data.notes_on_published(stand(run("b6"))) == []


def test_seconds_are_means_over_seeds_and_count_the_extraction():
    rows = [
        run(seed=1, train_seconds=100.0),
        run(seed=2, train_seconds=300.0),
        run("vgg19", mode="tl", transfer="cached", train_seconds=5.0, features_seconds=20.0),
        run("b6", collapsed=True),
    ]
    found = figure_data.against_seconds(pd.DataFrame(rows), performances(*rows)).set_index("model_name")["seconds"]
    assert found.to_dict() == {"B2": 200.0, "VGG19": 25.0}


def label(*rows, dataset="pcam"):
    return figure_data.labelled(pd.DataFrame(rows), cells(*rows), dataset)


def test_labels_name_recipe_and_device_only_where_there_are_several():
    assert label(run(), run("b6", mode="tl"))["label"].tolist() == ["B2, full", "B6, TL"]
    assert label(run(), run(recipe="native"))["label"].tolist() == ["B2, full, paper", "B2, full, native"]
    assert label(run(), run(device="a100"))["label"].tolist() == ["B2, full, cpu", "B2, full, a100"]
    both = label(run(), run(recipe="native", device="a100"))["label"].tolist()
    assert both == ["B2, full, paper, cpu", "B2, full, native, a100"]


def test_collapsed_runs_those_for_their_seconds_and_other_data_sets_have_no_curve():
    rows = [run(), run("b6", collapsed=True), run(recipe="timing", timing_only=True), run(dataset="idc")]
    assert label(*rows)["label"].tolist() == ["B2, full"]


def test_the_best_are_chosen_on_validation_patches():
    rows = [run("b2", auc=0.99, valid_auc=0.7), run("b6", auc=0.6, valid_auc=0.8), run("b6", seed=2, valid_auc=0.9)]
    assert figure_data.best_on_validation(label(*rows)) == ["B6, full", "B2, full"]


@pytest.fixture
def folder(tmp_path):
    """A run's folder: four test patches, three of them wrong, not in the order of their names."""
    rows = [("valid", "z", "s1", 1, 0.9), ("test", "d", "s2", 0, 0.9), ("test", "a", "s1", 1, 0.2)]
    rows += [("test", "c", "s2", 0, 0.6), ("test", "b", "s1", 1, 0.8)]
    columns = ["split", "patch_id", "group", "label", "score"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "predictions.csv", index=False)
    groups = [{"group": "s1", "n": 2, "positives": 2, "accuracy": 0.5}]
    write_sealed(tmp_path / "metrics.json", {"per_group": groups})
    history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]})
    history.to_csv(tmp_path / "history.csv", index=False)
    return str(tmp_path)


def in_folder(folder, *rows):
    return label(*rows).assign(folder=folder)


def test_seeds_of_a_cell_stand_under_one_label(folder):
    shown = in_folder(folder, run(seed=1, best_epoch=2), run(seed=2, best_epoch=1))
    seeds = [[values.tolist() for values in seed] for seed in figure_data.scores(shown)["B2, full"]]
    # Those of the test patches, in the order of their names.
    assert seeds == [[[1, 1, 0, 0], [0.2, 0.8, 0.6, 0.9], ["s1", "s1", "s2", "s2"]]] * 2
    assert [(len(history), best) for history, best in figure_data.histories(shown)["B2, full"]] == [(2, 2), (2, 1)]
    assert figure_data.groups(shown).to_dict("records") == [
        {"label": "B2, full", "group": "s1", "n": 2, "positives": 2, "accuracy": 0.5}
    ]


def test_errors_are_those_of_the_best_run_the_surest_first(folder):
    shown = in_folder(folder, run(valid_auc=0.9))
    worse = label(run("b6", valid_auc=0.8))  # whose folder does not exist
    errors = figure_data.surest_errors(pd.concat([worse, shown]), 6)
    assert errors[["patch_id", "label"]].to_numpy().tolist() == [["d", 0], ["c", 0], ["a", 1]]
    assert set(errors["run"]) == {folder}
    assert figure_data.surest_errors(shown, 1)["patch_id"].tolist() == ["d", "a"]
    assert figure_data.surest_errors(label(run(collapsed=True)), 6).empty


def test_examples_are_of_both_classes_and_spread_over_the_split():
    labels = np.repeat([0, 1, 0, 1], 25)
    chosen = figure_data.example_positions(labels, 6)
    assert labels[chosen].tolist() == [1] * 6 + [0] * 6
    assert (chosen[:6] < 50).sum() == (chosen[6:] < 50).sum() == 3
    assert len(set(figure_data.example_positions(np.array([0, 1, 1]), 6).tolist())) == 3


def test_mean_scores_are_over_the_runs_that_scored_a_patch():
    def of(**scores):
        test = pd.DataFrame({"patch_id": list(scores), "score": list(scores.values()), "split": "test", "group": "g"})
        return pd.concat(
            [test.assign(label=[int(name == "b") for name in scores]), test.assign(split="valid", label=0)]
        )

    predictions = {"one": of(a=0.9, b=0.2), "two": of(b=0.6, a=0.7), "three": of(c=0.1)}
    scored = figure_data.mean_scores(pd.DataFrame({"folder": list(predictions)}), predictions).set_index("patch_id")
    assert scored["score"].to_dict() == {"a": pytest.approx(0.8), "b": pytest.approx(0.4), "c": 0.1}
    assert scored["scored_by"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert scored["contradicting"].to_dict() == {"a": 2, "b": 1, "c": 0}
    assert scored["label"].to_dict() == {"a": 0, "b": 1, "c": 0}
    listed = figure_data.surest(scored.reset_index(), 5)
    assert listed["patch_id"].tolist() == ["a", "b"]
    assert figure_data.mean_scores(pd.DataFrame({"folder": []}), {}).empty
