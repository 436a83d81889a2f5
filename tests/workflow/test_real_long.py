"""The study on real patches of both data sets, to its page."""

import gzip
import io
import re
import shutil

import h5py
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


def test_unpacked_patches_are_the_same(real_data, tmp_path):
    """Many have PCam's files unpacked, or write them themselves with h5py's own chunks."""
    folder = short_study(tmp_path / "clone", real_data, "pcam")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in (real_data / "pcam").glob("*.h5.gz"):
        data = gzip.decompress(path.read_bytes())
        if "valid_x" in path.name:
            with h5py.File(io.BytesIO(data)) as file, h5py.File(mirror / path.stem, "w") as target:
                target.create_dataset("x", data=file["x"], chunks=True, compression="gzip")
        else:
            (mirror / path.stem).write_bytes(data)
    made = {}
    for place in (real_data, mirror):
        snakemake(folder, *SHORT, "--config", f"downloads={{mirror: {place}}}", "--", "results/data/pcam/manifest.json")
        made[place] = {path.name: path.read_bytes() for path in (folder / "results/data/pcam").glob("*.tfrecord")}
        shutil.rmtree(folder / "results/downloads")
        shutil.rmtree(folder / "results/data")
    assert len(made[mirror]) == 12
    assert made[mirror] == made[real_data]
