"""Rows for which nothing is trained, in a study that is really run: over flips and turns, over seeds, over folds."""

import numpy as np
import pandas as pd
import pytest

from support.project import BLOCK, FOLDS, OVERLAID, extend, plan, snakemake

STUDY = {
    "datasets": {"idc-cv": FOLDS},
    "matrix": [{**BLOCK, "datasets": ["pcam-simulated", "idc-cv"], "seeds": [1, 2], "average_scores": ["d4", "seeds"]}],
    "ensembles": {"turned-or-not": ["b2/full/tiny/cpu", "b2/full/tiny.d4/cpu"]},
}


@pytest.fixture(scope="module")
def averaged(finished, once):
    def make(folder) -> None:
        extend(finished, folder, STUDY)
        jobs = plan(folder, "tables", *OVERLAID)
        # One run on PCam is there; three folds for each seed.
        assert (jobs["train"], jobs["predict_turned"], jobs["average_scores"], jobs["gather"]) == (7, 8, 8, 4)
        snakemake(folder, "tables", *OVERLAID)

    return once("averages", make)


@pytest.mark.parametrize("dataset", ["pcam-simulated", "idc-cv"])
def test_scores_are_the_mean_of_those_that_they_are_of(averaged, dataset):
    def scores(recipe, seed, model="b2", mode="full"):
        path = averaged / f"results/tiny/runs/{dataset}/{model}/{mode}/{recipe}/cpu/seed-{seed}/predictions.csv"
        return pd.read_csv(path).set_index(["split", "patch_id"])["score"].sort_index()

    for recipe in ("tiny", "tiny.d4"):
        mean = (scores(recipe, 1) + scores(recipe, 2)) / 2
        np.testing.assert_allclose(scores(f"{recipe}.seeds", 1), mean, atol=1e-12)
    assert not np.allclose(scores("tiny", 1), scores("tiny.d4", 1), atol=1e-4)
    ensemble = scores("ensemble", 2, model="turned-or-not", mode="ensemble")
    np.testing.assert_allclose(ensemble, (scores("tiny", 2) + scores("tiny.d4", 2)) / 2, atol=1e-12)


def test_each_has_a_row_and_a_contrast_to_the_row_that_it_comes_from(averaged):
    table = pd.read_csv(averaged / "results/tiny/tables/performance_idc-cv.csv")
    assert table["recipe"].tolist() == ["tiny", "tiny.d4", "tiny.seeds", "tiny.d4.seeds", "ensemble"]
    assert table["seeds"].tolist() == [2, 2, 1, 1, 2]
    contrasts = pd.read_csv(averaged / "results/tiny/tables/contrasts.csv").query("dataset == 'idc-cv'")
    origins = [f"tiny{end} / tiny" for end in (".d4", ".seeds", ".d4.seeds")]
    assert contrasts["recipe"].tolist() == [*origins, "ensemble / tiny", "ensemble / tiny.d4"]
    assert contrasts["difference"].notna().all()
    assert set(pd.read_csv(averaged / "results/tiny/tables/best.csv")["recipe"]) == {"tiny"}


def test_nothing_is_left_to_do(averaged):
    assert not plan(averaged, "tables", *OVERLAID)
