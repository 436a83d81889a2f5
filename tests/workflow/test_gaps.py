"""Results of the runs that are there, without training the others: `missing_runs: gap`."""

import shutil

import pandas as pd

from support.project import TINY, plan, snakemake

GAP = (*TINY, "--config", "missing_runs=gap")
RUNS = "results/tiny/runs/idc-simulated"
TRAINING = {"prepare", "extract_features", "import_features", "train", "predict", "describe_models", "explain"}
TRAINING |= {"robustness", "export"}


def test_nothing_is_trained_whatever_is_missing_or_out_of_date(copy):
    (copy / f"{RUNS}/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    shutil.rmtree(copy / f"{RUNS}/mobilenet")
    with (copy / "workflow/scripts/histobench/train/fit.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    assert "train" in plan(copy, *TINY)
    planned = plan(copy, *GAP)
    assert not TRAINING & set(planned)
    assert planned["collect_runs"] == 1


def test_missing_runs_are_gaps_with_a_reason_and_the_others_are_there(copy):
    shutil.rmtree(copy / f"{RUNS}/mobilenet")
    (copy / f"{RUNS}/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    tables = [f"results/tiny/tables/performance_{name}-simulated" for name in ("idc", "pcam")]
    snakemake(copy, *GAP, "--", *(f"{table}.csv" for table in tables))
    idc, pcam = (pd.read_csv(copy / f"{table}.csv").set_index("model") for table in tables)
    assert idc["gap"].to_dict() == {"b2": "started, not finished", "mobilenet": "not run yet"}
    assert idc["auc"].isna().all()
    assert pcam["auc"].notna().all()
    assert "Missing runs: 3 of 3." in (copy / f"{tables[0]}.md").read_text(encoding="utf-8")


def test_a_run_of_another_configuration_is_a_gap(copy):
    path = copy / "tests/configs/tiny.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    snakemake(copy, *GAP, "--", "results/tiny/cells.csv")
    cells = pd.read_csv(copy / "results/tiny/cells.csv")
    assert set(cells["gap"]) == {"out of date: trained by another configuration"}


def test_runs_on_another_split_are_gaps(copy):
    path, split = copy / "tests/configs/tiny.yaml", "{by: patch, train: 0.6, valid: 0.2, test: 0.2, seed: 7}"
    before = "idc-simulated: {source: idc-simulated}"
    path.write_text(path.read_text().replace(before, f"{before[:-1]}, split: {split}}}"))
    snakemake(copy, *GAP, "--", "results/tiny/cells.csv")
    gaps = pd.read_csv(copy / "results/tiny/cells.csv").set_index("dataset")["gap"]
    assert gaps[["pcam-simulated"]].isna().all()
    assert set(gaps["idc-simulated"].str.partition(", now")[0]) == {
        "out of date: its data set was prepared otherwise: split 'published'"
    }


def test_a_finished_study_is_the_same_either_way(copy):
    planned = plan(copy, *GAP)
    assert not {name for name in planned if name.startswith(("print", "draw", "evaluate", "collect"))}
