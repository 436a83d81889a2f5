"""Linear heads and nearest neighbours on the features that a finished study has extracted."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from support.project import LOCAL, plan, snakemake

pytestmark = pytest.mark.slow

RECIPES = {
    "linear": {
        "epochs": 2,
        "batch_size": 32,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "input_scaling": "paper",
        "best_epoch": "last",
        "dense_units": 0,
        "standardize": True,
    },
    "knn": {"knn": {"n_neighbors": 5, "metric": "cosine"}, "input_scaling": "paper", "standardize": True},
}


@pytest.fixture(scope="module")
def extended(finished, once):
    """The finished study, to which two baselines have come."""

    def make(folder) -> None:
        shutil.copytree(finished, folder, symlinks=True)
        matrix = yaml.safe_load((folder / "tests/configs/tiny.yaml").read_text())["matrix"]
        matrix.append({**matrix[1], "recipes": list(RECIPES)})
        (folder / "heads.yaml").write_text(yaml.safe_dump({"recipes": RECIPES, "matrix": matrix}))
        arguments = (*LOCAL, "--configfile", "tests/configs/tiny.yaml", "heads.yaml")
        jobs = plan(folder, "tables", *arguments)
        assert jobs["train"] == jobs["predict"] == jobs["evaluate"] == 2  # nothing of before is made again
        assert not {"extract_features", "describe_models"} & jobs.keys()
        snakemake(folder, "tables", *arguments)

    return once("heads", make)


def run_folder(folder, recipe):
    return folder / f"results/tiny/runs/idc-simulated/mobilenet/tl/{recipe}/cpu/seed-1"


def test_they_are_runs_like_any_other(extended):
    runs = pd.read_csv(extended / "results/tiny/runs.csv").query("model == 'mobilenet'").set_index("recipe")
    assert runs.loc[["tiny", "linear", "knn"], "classifier"].tolist() == ["dense head", "linear head", "k-NN"]
    assert runs.loc[["tiny", "linear"], "batch_size"].tolist() == [32, 32]
    assert np.isnan(runs.loc["knn", "batch_size"])
    for recipe, epochs in (("linear", 2), ("knn", 1)):
        folder = run_folder(extended, recipe)
        assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
            *("history.csv", "timing.csv", "best.weights.h5", "run.json"),
            *("predictions.csv", "metrics.json", "bootstrap.csv"),
        }
        assert len(pd.read_csv(folder / "history.csv")) == len(pd.read_csv(folder / "timing.csv")) == epochs
        assert runs.loc[recipe, "auc"] == json.loads((folder / "metrics.json").read_text())["test"]["auc"]
    scores = pd.read_csv(run_folder(extended, "knn") / "predictions.csv")["score"]
    np.testing.assert_allclose(scores * 5, (scores * 5).round(), atol=1e-6)


def test_tables_show_them_without_the_papers_values(extended):
    table = pd.read_csv(extended / "results/tiny/tables/performance_idc-simulated.csv")
    table = table.query("model == 'mobilenet'").set_index("recipe")
    assert table["classifier"].to_dict().items() >= {"linear": "linear head", "knn": "k-NN"}.items()
    assert table.loc[["linear", "knn"], "auc"].between(0, 1).all()
    assert table.loc[["linear", "knn"], "published_auc"].isna().all()
    assert table.loc["tiny", "published_auc"] > 0
    assert table.loc["knn", "recipe_differs"] == "nearest neighbours instead of a head"
    printed = (extended / "results/tiny/tables/performance_idc-simulated.md").read_text(encoding="utf-8")
    assert "linear head" in printed
    assert "k-NN" in printed
