"""A head on a backbone that a run of the same study has trained on another data set."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.core.files import read_sealed
from support.project import LOCAL, plan, snakemake

RUN = "pcam-simulated/mobilenet/full/tiny/cpu/seed-1"


@pytest.fixture(scope="module")
def extended(finished, once):
    """The finished study, to which a backbone has come that was trained on the other data set."""

    def make(folder) -> None:
        shutil.copytree(finished, folder, symlinks=True)
        known = yaml.safe_load((folder / "tests/configs/tiny.yaml").read_text())
        wanted = {
            "models": {"mobilenet-pcam": {"weights": {"run": RUN}}},
            "matrix": [*known["matrix"], {**known["matrix"][1], "models": ["mobilenet-pcam"], "recipes": ["tiny"]}],
        }
        (folder / "origin.yaml").write_text(yaml.safe_dump(wanted))
        jobs = plan(folder, "tables", *arguments())
        assert (jobs["train"], jobs["extract_features"], jobs["predict"]) == (2, 1, 1)
        snakemake(folder, "tables", *arguments())

    return once("weights-of-runs", make)


def arguments() -> tuple[str, ...]:
    return (*LOCAL, "--configfile", "tests/configs/tiny.yaml", "origin.yaml")


def test_that_run_is_trained_first_and_tables_say_where_the_weights_are_from(extended):
    runs = pd.read_csv(extended / "results/tiny/runs.csv").set_index(["dataset", "model", "recipe"])
    row = runs.loc[("idc-simulated", "mobilenet-pcam", "tiny")]
    assert (row["weights"], row["model_name"]) == (f"run {RUN}", "MobileNet (pcam-simulated)")
    about = read_sealed(extended / "results/tiny/features/idc-simulated/mobilenet-pcam/paper/cpu/features.json")
    trained = read_sealed(extended / f"results/tiny/runs/{RUN}/run.json")
    assert about["inputs_sha256"]["weights"] == trained["weights_sha256"]
    scores = [
        pd.read_csv(extended / f"results/tiny/runs/idc-simulated/{model}/tl/tiny/cpu/seed-1/predictions.csv")["score"]
        for model in ("mobilenet", "mobilenet-pcam")
    ]
    assert not np.allclose(*scores)


def test_nothing_is_left_to_do(extended):
    assert not plan(extended, "tables", *arguments()).keys() & {"train", "extract_features", "predict"}
