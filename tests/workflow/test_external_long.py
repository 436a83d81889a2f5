"""External validation, really run: CNNs, a head on cached features and folds, on data sets that they have not seen."""

import numpy as np
import pandas as pd
import pytest

from support.project import BLOCK, FOLDS, OVERLAID, extend, plan, snakemake

STUDY = {
    "datasets": {"idc-cv": FOLDS},
    "matrix": [
        {**BLOCK, "datasets": ["pcam-simulated", "idc-cv"], "external": ["pcam-simulated", "idc-simulated"]},
        {
            **BLOCK,
            "datasets": ["idc-simulated"],
            "models": ["mobilenet"],
            "modes": ["tl"],
            "external": ["pcam-simulated"],
        },
    ],
}


@pytest.fixture(scope="module")
def tested(finished, once):
    def make(folder) -> None:
        extend(finished, folder, STUDY)
        jobs = plan(folder, "default", *OVERLAID)
        # A network of PCam's on IDC, three of folds and a head on PCam.
        assert (jobs["train"], jobs["predict_external"], jobs["evaluate_external"]) == (3, 5, 5)
        snakemake(folder, "default", *OVERLAID)

    return once("external", make)


def test_every_network_has_scored_the_test_patches_of_the_other_data_set(tested):
    table = pd.read_csv(tested / "results/tiny/tables/external.csv", keep_default_na=False)
    found = table[["dataset", "model", "tested_on", "networks", "n"]].to_numpy().tolist()
    assert found == [
        ["pcam-simulated", "b2", "pcam-simulated", 1, "48"],
        ["pcam-simulated", "b2", "idc-simulated", 1, "32"],
        ["idc-cv", "b2", "idc-cv", 1, "112"],
        ["idc-cv", "b2", "pcam-simulated", 3, "48"],
        ["idc-cv", "b2", "idc-simulated", 0, ""],
        ["idc-simulated", "mobilenet", "idc-simulated", 1, "32"],
        ["idc-simulated", "mobilenet", "pcam-simulated", 1, "48"],
    ]
    assert "it has learned from idc-cv" in table["gap"][4] and set(table["gap"]) == {"", table["gap"][4]}
    folders = table["runs"][3].split()
    scores = [pd.read_csv(tested / folder / "predictions.csv").query("split == 'test'")["score"] for folder in folders]
    assert len(folders) == 3 and not np.allclose(scores[0], scores[1])


def test_the_threshold_is_that_of_the_run_s_own_validation_patches(tested):
    run = "pcam-simulated/b2/full/tiny/cpu/seed-1"
    own = pd.read_csv(tested / f"results/tiny/runs/{run}/predictions.csv").query("split == 'valid'")
    there = pd.read_csv(tested / f"results/tiny/external/idc-simulated/{run}/predictions.csv")
    pd.testing.assert_frame_equal(there.query("split == 'valid'").reset_index(drop=True), own.reset_index(drop=True))


def test_the_page_shows_it_and_nothing_is_left_to_do(tested):
    page = (tested / "results/tiny/report.html").read_text()
    assert "External validation" in page and "Trained on against tested on" in page
    assert not plan(tested, "default", *OVERLAID)
