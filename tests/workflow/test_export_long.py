"""Exported models of a study that is really run: of a run on patches, of folds, of a head on features."""

import keras
import numpy as np
import pandas as pd
import pytest

from histobench.core.files import digest
from histobench.core.prepared import Records
from histobench.core.runs import read_json
from support.project import BLOCK, FOLDS, OVERLAID, extend, plan, snakemake

HEAD = "idc-simulated/mobilenet/tl/tiny/cpu/seed-1"
STUDY = {
    "datasets": {"cv": FOLDS},
    "matrix": [
        {**BLOCK, "datasets": ["pcam-simulated", "cv"]},
        {**BLOCK, "datasets": ["idc-simulated"], "models": ["mobilenet"], "modes": ["tl"]},
    ],
    "robustness": ["best"],
    "export": ["best", HEAD],
}
DATASETS = ("pcam-simulated", "cv", "idc-simulated")
TARGETS = ["models", *(f"results/tiny/tables/model_card_{dataset}.md" for dataset in DATASETS)]


@pytest.fixture(scope="module")
def made(finished, once):
    def make(folder) -> None:
        extend(finished, folder, STUDY)
        assert plan(folder, *TARGETS, *OVERLAID)["export"] == 3
        snakemake(folder, *TARGETS, *OVERLAID)

    return once("export", make)


def about(made, dataset):
    return read_json(made / f"results/tiny/models/{dataset}/model.json")


@pytest.mark.parametrize("dataset", ["pcam-simulated", "idc-simulated"])
def test_the_model_gives_the_scores_of_its_run(made, dataset):
    told = about(made, dataset)
    assert told["run"] == f"results/tiny/runs/{HEAD}" or dataset != "idc-simulated"
    model = keras.saving.load_model(made / f"results/tiny/models/{dataset}/model.keras")
    part = Records(made / f"results/data/{dataset}", "valid")
    predictions = pd.read_csv(made / told["run"] / "predictions.csv").query("split == 'valid'").set_index("patch_id")
    scores = model.predict(part.take(np.arange(len(part))), verbose=0)[:, 0]
    np.testing.assert_allclose(scores, predictions.loc[list(part.ids), "score"], atol=1e-4)


def test_of_a_cross_validation_it_is_the_mean_of_its_networks(made):
    told = about(made, "cv")
    assert (told["networks"], told["patch_size"], told["microns_per_pixel"]) == (3, 50, 4.0)
    assert told["metrics"]["test"]["n"] == sum(
        len(Records(made / f"results/data/cv.fold-{fold}", "test")) for fold in (1, 2, 3)
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_told_of_it_is_what_tables_say(made, dataset):
    told, folder = about(made, dataset), made / f"results/tiny/models/{dataset}"
    runs = pd.read_csv(made / "results/tiny/runs.csv").set_index("folder")
    assert told["metrics"]["test"]["auc"] == pytest.approx(runs.loc[told["run"], "auc"])
    for name in ("model.keras", "model.onnx"):
        assert told["sha256"][name] == digest(folder / name)
    table = pd.read_csv(made / f"results/tiny/tables/robustness_{dataset}.csv").set_index("change")
    if dataset != "idc-simulated":  # of which another run than the named one is the best
        assert {row["change"]: row["auc"] for row in told["robustness"]} == pytest.approx(table["auc"].to_dict())
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert "Simulated patches" in card
    errors = pd.read_csv(made / f"results/tiny/errors/{dataset}.csv")
    shown = {
        "failures.png": told["run"] in set(errors["run"]),
        "calibration.png": False,  # no test set is large enough
        "changes.png": told["run"] in set(table["runs"]),
    }
    assert any(shown.values())
    for picture, expected in shown.items():
        assert (f"({picture})" in card) == (folder / picture).exists() == expected
    assert f"{told['metrics']['test']['auc']:.3f}" in card


def test_nothing_is_left_to_do_and_a_reader_of_results_alone_has_what_is_there(made):
    assert not plan(made, *TARGETS, *OVERLAID)
    planned = plan(made, *TARGETS, "--forcerun", "describe_model", *OVERLAID, "--config", "missing_runs=gap")
    assert planned["describe_model"] == 3
    assert not {"export", "choose_runs", "train"} & planned.keys()
    (made / "results/tiny/models/cv/model.keras").rename(made / "aside")
    try:
        assert plan(made, "models", *OVERLAID)["export"] == 1
        planned = plan(made, "models", "--forcerun", "describe_model", *OVERLAID, "--config", "missing_runs=gap")
        assert planned["describe_model"] == 2
    finally:
        (made / "aside").rename(made / "results/tiny/models/cv/model.keras")
