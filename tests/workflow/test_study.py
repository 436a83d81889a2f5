"""What a finished study leaves behind."""

import json
import re

import pandas as pd
import pytest

from histobench.runs import PREDICTION_COLUMNS, read_json

RUN = "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-1"


@pytest.fixture(scope="module")
def runs(finished):
    return pd.read_csv(finished / "results/tiny/runs.csv")


def test_the_tidy_table_has_a_row_for_every_run(runs, finished):
    assert sorted(zip(runs["dataset"], runs["model"], runs["mode"], strict=True)) == [
        ("idc-simulated", "b2", "full"),
        ("idc-simulated", "mobilenet", "tl"),
        ("pcam-simulated", "b2", "full"),
    ]
    for row in runs.itertuples():
        test = read_json(finished / row.folder / "metrics.json")["test"]
        assert row.auc == test["auc"]
        assert row.n_test == test["n"]


def test_the_table_traces_every_number_to_a_run_folder(finished):
    table = pd.read_csv(finished / "results/tiny/tables/performance.csv")
    assert len(table) == 3
    for row in table.itertuples():
        assert row.auc == read_json(finished / row.runs / "metrics.json")["test"]["auc"]


@pytest.mark.parametrize("suffix", ["md", "html"])
@pytest.mark.parametrize("table", ["performance", "controls"])
def test_simulated_patches_and_random_weights_are_announced(finished, table, suffix):
    text = (finished / f"results/tiny/tables/{table}.{suffix}").read_text(encoding="utf-8")
    assert re.search(r"Simulated patches: .*idc-simulated", text)
    assert re.search(r"Random weights: MobileNet", text)


def test_predictions_hold_every_patch_of_validation_and_test(finished):
    predictions = pd.read_csv(finished / RUN / "predictions.csv")
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    index = pd.read_parquet(finished / "results/data/idc-simulated/index.parquet")
    held_out = index[index["split"] != "train"].sort_values("patch_id")
    predictions = predictions.sort_values("patch_id")
    assert predictions["patch_id"].tolist() == held_out["patch_id"].tolist()
    assert predictions["label"].tolist() == held_out["label"].tolist()
    assert predictions["group"].astype(str).tolist() == held_out["group"].tolist()
    assert predictions["score"].between(0, 1).all()


def test_run_json_says_what_the_run_was(finished):
    about = read_json(finished / RUN / "run.json")
    assert about["specification"]["run"]["model"] == "mobilenet"
    assert about["specification"]["model"]["weights_origin"] == "random"
    assert about["random_backbone_calibrated"] is True
    assert about["specification"]["recipe"]["epochs"] == 1
    assert set(about["versions"]) >= {"python", "tensorflow", "keras"}
    assert re.fullmatch(r"[0-9a-f]{64}", about["inputs_sha256"]["manifest"])
    assert about["device"]["gpu"] is None
    assert about["threads"] == 2
    # The head alone: 1,024 features, Dense(256), Dense(1).
    assert about["trainable_parameters"] == 1024 * 256 + 256 + 256 + 1


def test_the_manifest_counts_what_was_dropped(finished):
    manifest = read_json(finished / "results/data/idc-simulated/manifest.json")
    kept = sum(part["n"] for part in manifest["patches"].values())
    assert kept + sum(manifest["excluded"].values()) == 7 * 16
    assert manifest["patches_are"] == "simulated"
    assert set(manifest["source_sha256"]) == {
        "IDC_regular_ps50_idx5.zip",
        "cases_train.txt",
        "cases_val.txt",
        "cases_test.txt",
    }


def test_the_log_shows_progress(finished):
    log = (finished / "results/logs/tiny/idc-simulated/mobilenet/tl/tiny/cpu/seed-1/train.log").read_text()
    assert re.search(r"epoch 1/1: loss \d\.\d+, .*val_accuracy \d\.\d+.*\d+\.\d s training", log)


def test_the_control_is_written(finished):
    control = json.loads((finished / "results/tiny/controls/pcam-simulated/shuffled_labels.json").read_text())
    assert control["shuffles"] == 200
    assert control["holds_chance"] is True
