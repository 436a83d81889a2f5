"""Results of the runs that are there, without training the others: `missing_runs: gap`."""

import shutil

import pandas as pd
import pytest

from support.project import TINY, jobs, snakemake

GAP = (*TINY, "--config", "missing_runs=gap")
RUNS = "results/tiny/runs/idc-simulated"
TRAINING = {"prepare", "extract_features", "train", "predict", "describe_models", "explain"}


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


def test_nothing_is_trained_whatever_is_missing_or_out_of_date(copy):
    (copy / f"{RUNS}/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    shutil.rmtree(copy / f"{RUNS}/mobilenet")
    with (copy / "workflow/scripts/histobench/train/fit.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    assert "train" in jobs(snakemake(copy, "-n", *TINY).stdout)
    planned = jobs(snakemake(copy, "-n", *GAP).stdout)
    assert not TRAINING & set(planned)
    assert planned["collect_runs"] == 1


def test_missing_runs_are_gaps_with_a_reason_and_the_others_are_there(copy):
    shutil.rmtree(copy / f"{RUNS}/mobilenet")
    (copy / f"{RUNS}/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    snakemake(copy, *GAP, "--", "tables", "report")
    table = pd.read_csv(copy / "results/tiny/tables/performance_idc-simulated.csv").set_index("key")
    assert table["gap"].to_dict() == {"b2": "started, not finished", "mobilenet": "not run yet"}
    assert table["auc"].isna().all()
    assert pd.read_csv(copy / "results/tiny/tables/performance_pcam-simulated.csv")["auc"].notna().all()
    page = (copy / "results/tiny/report.html").read_text(encoding="utf-8")
    assert "Missing runs: 3 of 4." in page.replace("</strong>", "").replace("</b>", "")


def test_a_run_of_another_configuration_is_a_gap(copy):
    path = copy / "tests/configs/tiny.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    snakemake(copy, *GAP, "--", "results/tiny/cells.csv")
    cells = pd.read_csv(copy / "results/tiny/cells.csv")
    assert set(cells["gap"]) == {"out of date: trained by another configuration"}


def test_a_study_of_seconds_alone_has_its_page(copy):
    path = copy / "tests/configs/tiny.yaml"
    path.write_text(
        path.read_text().replace("best_epoch: val_accuracy", "best_epoch: val_accuracy\n    timing_only: true")
    )
    snakemake(copy, *GAP, "--", "report", "tables")
    speed = pd.read_csv(copy / "results/tiny/tables/speed.csv")
    # One epoch alone, which holds the start-up.
    assert set(speed["gap"]) == {"a single epoch, which holds the start-up"}
    page = (copy / "results/tiny/report.html").read_text(encoding="utf-8")
    assert "Seconds per epoch" in page
    assert "ROC" not in page


def test_a_finished_study_is_the_same_either_way(copy):
    output = snakemake(copy, "-n", *GAP).stdout
    assert not {name for name in jobs(output) if name.startswith(("table_", "figure_", "evaluate", "collect"))}
