"""Simulated patches are not too easy, at the demo's sizes. That B2 learns them is in workflow/test_demo_long.py."""

from pathlib import Path

import pytest
import yaml
from sklearn.metrics import roc_auc_score

from histobench.core import prepared, simulation
from histobench.core.datasets import Tally, read
from histobench.core.study import Study
from histobench.results.controls import colour_floor
from histobench.train import records
from support.project import ROOT

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


@pytest.fixture(scope="module")
def demo():
    base, overlay = (yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) for name in ("config", "demo"))
    merged = {key: base[key] | value if isinstance(value, dict) else value for key, value in overlay.items()}
    return Study(base | merged, SCHEMA)


@pytest.fixture(scope="module", params=["pcam-simulated", "idc-simulated"])
def dataset(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def data(dataset, demo, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(dataset)
    dataset = demo.datasets[dataset]
    write = getattr(simulation, f"write_{dataset.source.format}")
    write(folder / dataset.source.folder, **dataset.source.simulate)
    tally = Tally()
    about = {"dataset": dataset.name, "patches_are": "simulated", "split": "published", "leaky": False}
    records.write(folder / "data", read(dataset, folder, tally), tally, about)
    return folder / "data"


def test_colour_alone_does_not_do(data):
    predictions = colour_floor(prepared.index(data))
    test = predictions[predictions["split"] == "test"]
    assert roc_auc_score(test["label"], test["score"]) < 0.80
