"""The same rules on real PCam and IDC patches and real ImageNet weights, in a short version, up to the tables of PCam.

A CNN on IDC, and the page, are in `test_real_long.py`. The full study takes the configuration as it stands::

    snakemake --profile profiles/local --configfile tests/configs/real.yaml --config downloads='{mirror: FOLDER}'
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.core.runs import read_json
from support.project import copy_project, snakemake
from support.real import SHORT, short_study

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(real_data, tmp_path_factory):
    folder = short_study(tmp_path_factory.mktemp("real") / "clone", real_data, "pcam")
    targets = ["tables/performance_pcam.csv", "explain/pcam.npz", "controls/idc/shuffled_labels.json"]
    snakemake(folder, *SHORT, "--", *(f"results/real/{target}" for target in targets))
    return folder


def test_counts_are_those_of_the_files(study):
    pcam, idc = (read_json(study / f"results/data/{name}/manifest.json") for name in ("pcam", "idc"))
    assert {split: part["n"] for split, part in pcam["patches"].items()} == {"train": 1314, "valid": 300, "test": 300}
    assert pcam["patches"]["train"]["tumour"] == 420
    assert {split: part["groups"] for split, part in idc["patches"].items()} == {"train": 8, "valid": 3, "test": 4}
    kept = sum(part["n"] for part in idc["patches"].values())
    assert kept + sum(idc["excluded"].values()) == 12544
    assert (pcam["patches_are"], idc["patches_are"]) == ("subset", "subset")


def test_what_was_read_is_what_is_published(study, real_data):
    sums = dict(reversed(line.split()) for line in (real_data / "SHA256SUMS").read_text().splitlines())
    for dataset in ("pcam", "idc"):
        listed = pd.read_csv(study / f"results/data/{dataset}/source_files.csv").set_index("path")["sha256"]
        assert listed.to_dict() == {
            name.rsplit("/", 1)[1]: value for name, value in sums.items() if name.startswith(f"./{dataset}/")
        }


def test_transfer_learning_from_imagenet_beats_colour(study):
    runs = pd.read_csv(study / "results/real/runs.csv").set_index("model")
    transferred = runs.loc["mobilenetv2"]
    assert transferred["weights"] == "ImageNet"
    # Two epochs; ten gave 0.90, the colour floor of these patches is 0.79.
    assert transferred["auc"] > transferred["floor_auc"] > 0.75


def test_the_subset_is_announced_and_no_difference_from_the_paper_claimed(study):
    text = (study / "results/real/tables/performance_pcam.md").read_text(encoding="utf-8")
    assert "Subset of the published patches: pcam." in text
    table = pd.read_csv(study / "results/real/tables/performance_pcam.csv")
    assert table["auc_difference"].isna().all()


def test_where_mobilenetv2_looked(study):
    with np.load(study / "results/real/explain/pcam.npz") as explained:
        errors = pd.read_csv(study / "results/real/errors/pcam.csv", dtype={"patch_id": str})
        assert explained["patch_id"].tolist() == errors["patch_id"].tolist()
        assert explained["heatmap"].shape == (len(errors), 3, 3)  # 96 px, divided by 32
        assert 0 < len(errors) <= 12
        assert explained["heatmap"].max() == 1


def test_the_shuffled_control_holds_chance(study):
    for dataset in ("pcam", "idc"):
        control = json.loads((study / f"results/real/controls/{dataset}/shuffled_labels.json").read_text())
        assert control["holds_chance"]


def test_a_mirror_with_other_bytes_is_refused(study, real_data, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in (real_data / "idc").iterdir():
        (mirror / path.name).write_bytes(path.read_bytes())
    (mirror / "cases_val.txt").write_text("1\n")
    clone = copy_project(tmp_path / "clone")
    config = yaml.safe_load((study / "short.yaml").read_text()) | {"downloads": {"mirror": str(mirror)}}
    (clone / "short.yaml").write_text(yaml.safe_dump(config))
    target = "results/downloads/idc/cases_val.txt"
    output = snakemake(clone, *SHORT, "--", target, fails=True)
    assert re.search(r"cases_val\.txt: .*gave another file than expected\nexpected sha256 e68089cc.*\n +found", output)
    assert not (clone / target).exists()
    assert (clone / f"{target}.bad").exists()
