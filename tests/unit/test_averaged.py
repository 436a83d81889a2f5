"""Results that average scores: which the matrix makes, what they are made of, and that they are the mean."""

import numpy as np
import pandas as pd
import pytest

from histobench.core.averaged import Averaged, combinations
from histobench.core.cells import Cell, Run
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.core.modes import ENSEMBLE
from histobench.core.prepared import Records
from histobench.core.runs import read_rows, write_predictions
from histobench.results import average_scores
from histobench.results.columns import write_csv
from histobench.results.inputs import Inputs
from histobench.results.tables.contrasts import AVERAGED, contrasts
from histobench.train import models, predict_turned
from support import jobs
from support.frames import cell, cells, replicates, run
from support.paper import configuration, study
from support.small import SHAPE, specification


def made(seeds=(1, 2), **changes):
    recipes = configuration()["recipes"] | changes.pop("recipes", {})
    block = {"datasets": ["pcam"], "models": ["b2"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"]}
    block |= {"seeds": list(seeds), "average_scores": ["d4", "seeds"]}
    folds = {"source": "idc", "split": {"by": "group", "folds": 5, "seed": 1}}
    return study(recipes=recipes, matrix=[block | changes], datasets=configuration()["datasets"] | {"idc-cv": folds})


def runs(recipe, *seeds, dataset="pcam"):
    return [Run(dataset, "b2", "full", recipe, "cpu", seed) for seed in seeds]


def test_averages_stand_behind_the_cell_that_they_are_of():
    found = made()
    assert [(cell.recipe, seeds) for cell, seeds in found.cells.items()] == [
        ("paper", [1, 2]), ("paper.d4", [1, 2]), ("paper.seeds", [1]), ("paper.d4.seeds", [1]),
    ]  # fmt: skip
    assert not found.left_out
    # Nothing is trained for them.
    assert found.runs == runs("paper", 1, 2)
    asked = {row["recipe"]: row for row in found.asked_for({})}
    assert (asked["paper.d4.seeds"]["averaged_from"], asked["paper.d4.seeds"]["averaged_over"]) == (
        "b2/full/paper/cpu",
        "d4 seeds",
    )
    assert asked["paper"]["averaged_over"] == ""
    assert set(AVERAGED) == {*(" ".join(kinds) for kinds in combinations(("seeds", "d4"))), ENSEMBLE}


def test_an_average_is_made_of_seeds_and_these_of_folds():
    (average,) = runs("paper.d4.seeds", 1, dataset="idc-cv")
    found = made(datasets=["idc-cv"])
    assert list(found.members(average)) == runs("paper.d4", 1, 2, dataset="idc-cv")
    folds = [f"idc-cv.fold-{fold}" for fold in range(1, 6)]
    of_folds = found.members(found.members(average)[1])
    assert [(run.dataset, run.recipe, run.seed) for run in of_folds] == [(fold, "paper.d4", 2) for fold in folds]
    assert found.members(of_folds[0]) == ()
    assert found.trained(of_folds[0]) == tuple(runs("paper", 2, dataset=folds[0]))
    assert len(found.trained(average)) == 10 and {run.recipe for run in found.trained(average)} == {"paper"}
    assert found._turned(average) == tuple(
        run for seed in (1, 2) for fold in folds for run in runs("paper.d4", seed, dataset=fold)
    )
    assert Averaged("paper", ("d4", "seeds")).of_each_seed == "paper.d4"


@pytest.mark.parametrize(
    ("changes", "recipe", "reason"),
    [
        ({"seeds": [3]}, "paper.seeds", "it has one seed"),
        ({"models": ["mobilenet", "b2"], "modes": ["tl", "full"]}, "paper.d4", "a turned patch has no cached features"),
        ({"recipes": {"paper": configuration()["recipes"]["timing"]}}, "paper.d4", "it is there for its seconds"),
    ],
)
def test_what_cannot_be_averaged_is_left_out_with_a_reason(changes, recipe, reason):
    model, mode = ("mobilenet", "tl") if "models" in changes else ("b2", "full")
    assert reason in made(**changes).left_out[Cell("pcam", model, mode, recipe, "cpu")]


def test_a_recipe_of_that_name_is_refused():
    paper = configuration()["recipes"]["paper"]
    with pytest.raises(HistobenchError, match=r"recipes\.paper\.d4: this name is that of an average of paper"):
        made(recipes={"paper.d4": paper})


def test_a_change_of_the_recipe_is_one_of_its_averages():
    spec = made().specification(runs("paper.d4", 1)[0])
    assert spec["recipe"].pop("average_scores") == ["d4"]
    assert spec["recipe"] == made().specification(runs("paper", 1)[0])["recipe"]


def test_only_rows_and_contrasts_know_averages(tmp_path):
    """What counts, times, chooses or draws runs gets those that were trained."""
    rows = [run(recipe=recipe) for recipe in ("paper", "paper.d4")]
    of = {"paper": {}, "paper.d4": {"averaged_from": "b2/full/paper/a100", "averaged_over": "d4"}}
    write_csv(tmp_path / "runs.csv", pd.DataFrame(rows))
    write_csv(tmp_path / "cells.csv", pd.DataFrame([cell(recipe=recipe, **more) for recipe, more in of.items()]))
    inputs = Inputs({name: [str(tmp_path / f"{name}.csv")] for name in ("runs", "cells")}, "", {})
    assert inputs.runs["recipe"].tolist() == inputs.cells["recipe"].tolist() == ["paper"]
    assert inputs.all_runs["recipe"].tolist() == inputs.all_cells["recipe"].tolist() == list(of)


def test_scores_of_all_eight_orientations_are_averaged(prepared_folder, tmp_path):
    spec, source = specification("b2", epochs=1), tmp_path / "run"
    jobs.train(prepared_folder, source, spec)
    of_average = spec | {"recipe": spec["recipe"] | {"average_scores": ["d4"]}}
    folder = tmp_path / "average"
    folder.mkdir()
    predict_turned.predict(jobs.Task(spec=of_average, data=prepared_folder, weights=source / "best.weights.h5"), folder)
    network = models.build(spec["model"], "full", SHAPE, seed=1)
    models.load(network, source / "best.weights.h5")
    test = Records(prepared_folder, "test")
    images = test.take(np.arange(len(test))) / np.float32(255)
    turned = [np.rot90(images[:, :, ::step], turns, (1, 2)) for step in (1, -1) for turns in range(4)]
    expected = np.mean([network.predict(each, verbose=0)[:, 0] for each in turned], axis=0)
    rows = [row for row in read_rows(folder / "predictions.csv") if row["split"] == "test"]
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, atol=1e-5)
    assert [row["patch_id"] for row in rows] == test.ids
    about = read_sealed(folder / "run.json")
    assert about["specification"] == of_average
    assert (folder / "history.csv").read_text() == (source / "history.csv").read_text()


def test_seeds_are_averaged_patch_by_patch(prepared_folder, tmp_path):
    folders = [tmp_path / f"seed-{seed}" for seed in (1, 2)]
    for seed, each in enumerate(folders, 1):
        jobs.train(prepared_folder, each, specification("b2", epochs=1, seed=seed))
    spec = specification("b2", epochs=1) | {"recipe": {"average_scores": ["seeds"]}}
    folder = tmp_path / "average"
    folder.mkdir()
    average_scores.write(folder, folders, spec)
    one, two, mean = (pd.read_csv(each / "predictions.csv") for each in (*folders, folder))
    np.testing.assert_allclose(mean["score"], (one["score"] + two["score"]) / 2)
    assert mean.drop(columns="score").equals(one.drop(columns="score"))
    assert read_sealed(folder / "run.json")["members"] == [str(each) for each in folders]
    write_predictions(folders[1] / "predictions.csv", two.iloc[1:].itertuples(index=False, name=None))
    with pytest.raises(HistobenchError, match=r"seed-2/predictions\.csv: expected the patches and labels of .*seed-1"):
        average_scores.write(folder, folders, spec)


def ensembles(**named):
    b2 = {"datasets": ["pcam", "idc"], "models": ["b2"], "modes": ["full"], "recipes": ["paper"]}
    b2 |= {"devices": ["cpu"], "seeds": [1, 2]}
    b6 = b2 | {"datasets": ["pcam"], "models": ["b6"], "recipes": ["native"]}
    b6 |= {"seeds": [2, 3], "average_scores": ["d4"]}
    timed = b2 | {"datasets": ["pcam"], "recipes": ["timing"]}
    return study(matrix=[b2, b6, timed], ensembles=named)


B2, B6 = "b2/full/paper/cpu", "b6/full/native.d4/cpu"


def test_an_ensemble_has_a_row_where_all_of_its_cells_have_one():
    found = ensembles(both=[B2, B6])
    (cell,) = (cell for cell in found.cells if cell.mode == ENSEMBLE)
    assert cell == Cell("pcam", "both", "ensemble", "ensemble", "cpu")
    assert found.cells[cell] == [2]  # the seed that both have
    run = Run(**vars(cell), seed=2)
    members = (Run("pcam", "b2", "full", "paper", "cpu", 2), Run("pcam", "b6", "full", "native.d4", "cpu", 2))
    assert found.members(run) == members
    assert found.trained(run) == (members[0], Run("pcam", "b6", "full", "native", "cpu", 2))
    assert found._turned(run) == members[1:]
    assert set(found.runs) == set(ensembles(other=[B6, B2]).runs)
    (asked,) = (row for row in found.asked_for({}) if row["mode"] == ENSEMBLE)
    assert (asked["averaged_from"], asked["averaged_over"]) == (f"{B2} {B6}", ENSEMBLE)
    assert found.specification(run)["recipe"] == {"average_scores": [B2, B6]}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"both": ["b2/full/paper", B6]}, "ensembles.both: expected model/mode/recipe/device, found 'b2/full/paper'"),
        ({"both": [B2, "b9/full/paper/cpu"]}, "the matrix has all of its cells on no data set; on pcam it lacks b9/"),
        ({"b2": [B2, B6]}, "ensembles.b2: a model has this name"),
        ({"one": [B2, B6], "two": [B2, "one/ensemble/ensemble/cpu"]}, "ensembles.two: one/.* is an ensemble itself"),
        ({"both": [B2]}, "ensembles.both"),
    ],
)
def test_an_ensemble_of_what_is_not_there_is_refused(named, message):
    with pytest.raises(HistobenchError, match=message):
        ensembles(**named)


def test_an_ensemble_of_timed_runs_is_left_out():
    left_out = ensembles(both=[B2, "b2/full/timing/cpu"]).left_out
    assert (
        left_out[Cell("pcam", "both", "ensemble", "ensemble", "cpu")] == "b2/full/timing/cpu is there for its seconds"
    )


def test_only_cells_that_an_ensemble_names_are_one():
    reason = "an ensemble is a result of cells that `ensembles` names"
    assert ensembles().why_not(Cell("pcam", "b2", "ensemble", "paper", "cpu")) == reason


def test_an_ensemble_is_as_large_as_all_of_its_networks(prepared_folder, tmp_path):
    folders = [tmp_path / model for model in ("b2", "b6")]
    for model, each in zip(("b2", "b6"), folders, strict=True):
        jobs.train(prepared_folder, each, specification(model, epochs=1))
    spec = specification("b2", epochs=1)
    spec |= {"run": spec["run"] | {"mode": ENSEMBLE}, "recipe": {"average_scores": [B2, B6]}}
    folder = tmp_path / "ensemble"
    folder.mkdir()
    average_scores.write(folder, folders, spec)
    one, two, mean = (pd.read_csv(each / "predictions.csv") for each in (*folders, folder))
    np.testing.assert_allclose(mean["score"], (one["score"] + two["score"]) / 2)
    about, *members = (read_sealed(each / "run.json") for each in (folder, *folders))
    assert about["parameters"] == members[0]["parameters"] + members[1]["parameters"]
    assert about["multiply_adds"]["forward"] == sum(each["multiply_adds"]["forward"] for each in members)


def test_a_member_that_has_collapsed_does_not_count(tmp_path, prepared_folder):
    folders = [tmp_path / f"seed-{seed}" for seed in (1, 2, 3)]
    for seed, each in enumerate(folders, 1):
        jobs.train(prepared_folder, each, specification("b2", epochs=1, seed=seed))
    known = [pd.read_csv(each / "predictions.csv") for each in folders]
    write_predictions(folders[1] / "predictions.csv", known[1].assign(score=0.5).itertuples(index=False, name=None))
    spec = specification("b2", epochs=1) | {"recipe": {"average_scores": ["seeds"]}}
    folder = tmp_path / "average"
    folder.mkdir()
    average_scores.write(folder, folders, spec)
    mean = pd.read_csv(folder / "predictions.csv")["score"]
    np.testing.assert_allclose(mean, (known[0]["score"] + known[2]["score"]) / 2)


def test_a_contrast_of_an_ensemble_has_the_seeds_that_it_has_itself():
    rows = [run("b2", seed=seed, auc=auc) for seed, auc in ((1, 0.9), (2, 0.8), (3, 0.5))]
    rows += [run("both", mode=ENSEMBLE, recipe=ENSEMBLE, seed=seed, auc=0.95) for seed in (1, 2)]
    table = cells(*rows)
    table.loc[table["mode"] == ENSEMBLE, ["averaged_from", "averaged_over"]] = [B2, ENSEMBLE]
    predictions = pd.DataFrame(
        {"split": "test", "patch_id": list("abcd"), "label": [0, 0, 1, 1], "score": [0.1, 0.2, 0.6, 0.9]}
    )
    (row,) = contrasts(
        pd.DataFrame(rows), table, replicates(*rows), {row["folder"]: predictions for row in rows}
    ).to_dict("records")
    assert (row["seeds_a"], row["seeds_b"]) == (2, 2)
    assert row["difference"] == pytest.approx(0.95 - 0.85)


def test_what_an_average_adds_is_told_by_the_same_seeds():
    """Two seeds far apart, each a little better by its mean: else the difference would drown in that between them."""
    rows = [run(recipe=recipe, seed=seed, auc=auc + gain)
            for recipe, gain in (("paper", 0), ("paper.d4", 0.01)) for seed, auc in ((1, 0.6), (2, 0.9))]  # fmt: skip
    table = cells(*rows)
    table.loc[table["recipe"] == "paper.d4", ["averaged_from", "averaged_over"]] = ["b2/full/paper/cpu", "d4"]
    predictions = pd.DataFrame(
        {"split": "test", "patch_id": list("abcd"), "label": [0, 0, 1, 1], "score": [0.1, 0.2, 0.6, 0.9]}
    )
    found = contrasts(
        pd.DataFrame(rows), table, replicates(*rows, spread=0.001), {row["folder"]: predictions for row in rows}
    )
    (row,) = found.to_dict("records")
    assert row["contrast"] == "mean over D4 − single"
    assert row["difference"] == pytest.approx(0.01)
    assert row["difference_low"] > 0 and row["difference_high"] < 0.02


def test_an_ensemble_is_contrasted_with_each_of_its_cells():
    rows = [
        run("b2", recipe="paper"),
        run("b6", recipe="native.d4"),
        run("both", mode=ENSEMBLE, recipe=ENSEMBLE, auc=0.95),
    ]
    table = cells(*rows)
    ensemble = table["mode"] == ENSEMBLE
    table.loc[ensemble, ["averaged_from", "averaged_over"]] = [f"{B2} {B6}", ENSEMBLE]
    predictions = pd.DataFrame(
        {"split": "test", "patch_id": list("abcd"), "label": [0, 0, 1, 1], "score": [0.1, 0.2, 0.6, 0.9]}
    )
    found = contrasts(pd.DataFrame(rows), table, replicates(*rows), {row["folder"]: predictions for row in rows})
    assert found["contrast"].tolist() == ["ensemble − member"] * 2
    assert found["recipe"].tolist() == ["ensemble / paper", "ensemble / native.d4"]
    assert found["model"].tolist() == ["both / b2", "both / b6"]
    np.testing.assert_allclose(found["difference"], 0.05, atol=0.02)
