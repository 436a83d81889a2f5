"""The study on real patches of both data sets, to its page."""

import re

import pandas as pd
import pytest

from histobench.core.runs import read_json
from support.project import snakemake
from support.real import SHORT, short_study

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def study(real_data, tmp_path_factory):
    folder = short_study(tmp_path_factory.mktemp("real") / "clone", real_data, "pcam", "idc")
    snakemake(folder, *SHORT)
    return folder


def test_the_page_announces_the_subset(study):
    page = (study / "results/real/report.html").read_text(encoding="utf-8")
    assert re.search(r"Subset of the published patches:(</\w+>)? pcam, idc", page)


def test_b2_learns_on_idc(study):
    runs = pd.read_csv(study / "results/real/runs.csv").set_index("model")
    assert runs.loc["b2", "auc"] > 0.75
    assert runs.loc["b2", "n_test"] == 3376


def test_per_patient_values_and_few_patients_are_told(study):
    metrics = read_json(study / "results/real/runs/idc/b2/full/idc/cpu/seed-1/metrics.json")
    assert {row["group"] for row in metrics["per_group"]} <= set(
        (study / "results/downloads/idc/cases_test.txt").read_text().split()
    )
    assert len(metrics["per_group"]) == 4
    # Four patients are too few to resample.
    assert (metrics["intervals"]["unit"], metrics["intervals"]["ignores_clustering"]) == ("patch", True)
