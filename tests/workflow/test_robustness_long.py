"""Scores of changed patches in a study that is really run: by a run on patches, by folds, by heads on features."""

import numpy as np
import pandas as pd
import pytest

from histobench.core.changes import UNCHANGED
from support.project import BLOCK, FOLDS, OVERLAID, extend, plan, snakemake

HEAD = "cv/mobilenet/tl/tiny/cpu/seed-1"
STUDY = {
    "datasets": {"cv": FOLDS},
    "matrix": [
        {**BLOCK, "datasets": ["pcam-simulated", "cv"]},
        {**BLOCK, "datasets": ["cv"], "models": ["mobilenet"], "modes": ["tl"]},
    ],
    "robustness": ["best", HEAD],
}
TARGETS = [f"results/tiny/figures/auc_by_change_{dataset}.png" for dataset in ("pcam-simulated", "cv")]


@pytest.fixture(scope="module")
def scored(finished, once):
    def make(folder) -> None:
        extend(finished, folder, STUDY)
        jobs = plan(folder, *TARGETS, *OVERLAID)
        assert (jobs["robustness"], jobs["choose_runs"]) == (2, 2)
        snakemake(folder, *TARGETS, *OVERLAID)

    return once("robustness", make)


def of(scored, dataset):
    return pd.read_csv(scored / f"results/tiny/robustness/{dataset}.csv", dtype={"group": str})


def test_the_best_run_on_validation_patches_and_the_one_that_is_named_score_all_test_patches(scored):
    runs = pd.read_csv(scored / "results/tiny/runs.csv")
    for dataset, named in (("pcam-simulated", []), ("cv", [f"results/tiny/runs/{HEAD}"])):
        of_data = runs[(runs["dataset"] == dataset) & ~runs["collapsed"]]
        best = of_data.loc[of_data["valid_auc"].idxmax(), "folder"]
        scores = of(scored, dataset)
        assert set(scores["run"]) == {best, *named}
        for folder, some in scores.groupby("run"):
            predictions = pd.read_csv(scored / folder / "predictions.csv").query("split == 'test'")
            predictions = predictions.set_index("patch_id").sort_index()
            assert some["change"].nunique() == 19
            assert (some.groupby("change")["patch_id"].nunique() == len(predictions)).all()
            unchanged = some[some["change"] == UNCHANGED].set_index("patch_id").sort_index()
            np.testing.assert_allclose(unchanged["score"], predictions["score"], atol=1e-4)
            assert (unchanged["label"] == predictions["label"]).all()


def test_tables_and_figures_show_them(scored):
    for dataset, runs in (("pcam-simulated", 1), ("cv", of(scored, "cv")["run"].nunique())):
        table = pd.read_csv(scored / f"results/tiny/tables/robustness_{dataset}.csv")
        assert table["label"].nunique() == runs
        changes = 1 + 1 + 6 + 3 + 2 + (dataset == "pcam-simulated")
        assert (table.groupby("label")["change"].nunique() == changes).all()
        assert table["auc"].notna().all()
        svg = scored / f"results/tiny/figures/auc_by_change_{dataset}.svg"
        assert "Simulated patches: " in svg.read_text(encoding="utf-8")
    outside = table_of_outside(scored)
    metadata = pd.read_csv(next((scored / "results/simulated/pcam-simulated").glob("*test_meta.csv")))
    shows = metadata["tumor_patch"] & ~metadata["center_tumor_patch"]
    assert outside["n"] == shows.sum() + outside["positives"] == shows.sum() + metadata["center_tumor_patch"].sum()


def table_of_outside(scored):
    table = pd.read_csv(scored / "results/tiny/tables/robustness_pcam-simulated.csv").set_index("change")
    return table.loc["tumour outside the centre"]


def test_nothing_is_left_to_do_and_without_the_key_nothing_is_asked_for(scored):
    assert not plan(scored, *TARGETS, *OVERLAID)
    assert "robustness" not in plan(scored, "-n", *OVERLAID, "--config", "robustness=[]")


def test_a_reader_of_results_alone_has_what_is_there(scored):
    planned = plan(scored, *TARGETS, "--forcerun", "print_robustness", *OVERLAID, "--config", "missing_runs=gap")
    assert not {"robustness", "choose_runs", "train"} & planned.keys()
    assert planned["print_robustness"] == planned["draw_robustness"] == 1
