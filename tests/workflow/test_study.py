"""What a finished study leaves behind."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from histobench.core.files import digest
from histobench.core.runs import PREDICTION_COLUMNS, read_json
from support.browser import launched, load, open_page, overflow
from support.project import TINY, snakemake

RUN = "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-1"


@pytest.fixture(scope="module")
def runs(finished):
    return pd.read_csv(finished / "results/tiny/runs.csv")


def test_the_tidy_table_has_a_row_for_every_run(runs, finished):
    assert sorted(zip(runs["dataset"], runs["model"], runs["mode"], strict=True)) == [
        ("idc-simulated", "b2", "full"),
        ("idc-simulated", "mobilenet", "tl"),
        ("idc-simulated", "mobilenet", "tl"),
        ("pcam-simulated", "b2", "full"),
    ]
    for row in runs.itertuples():
        test = read_json(finished / row.folder / "metrics.json")["test"]
        assert row.auc == test["auc"]
        assert row.n_test == test["n"]


def test_the_table_traces_every_number_to_a_run_folder(finished):
    for dataset, rows in (("pcam-simulated", 1), ("idc-simulated", 3)):
        table = pd.read_csv(finished / f"results/tiny/tables/performance_{dataset}.csv")
        assert len(table) == rows
        for row in table.itertuples():
            assert row.auc == read_json(finished / row.runs / "metrics.json")["test"]["auc"]


@pytest.mark.parametrize("suffix", ["md", "html"])
@pytest.mark.parametrize("table", ["best", "performance_idc-simulated", "controls", "tests", "contrasts", "claims"])
def test_simulated_patches_and_random_weights_are_announced(finished, table, suffix):
    text = (finished / f"results/tiny/tables/{table}.{suffix}").read_text(encoding="utf-8")
    assert re.search(r"Simulated patches: .*idc-simulated", text)
    assert re.search(r"Random weights: MobileNet", text)


def test_the_table_of_seconds_announces_what_it_holds(finished):
    text = (finished / "results/tiny/tables/speed.md").read_text(encoding="utf-8")
    assert "Simulated patches: pcam-simulated, idc-simulated" in text
    assert "MobileNet" not in text  # a head on cached features


def test_no_figure_goes_without_its_announcement(finished):
    figures = list((finished / "results/tiny/figures").glob("*.svg"))
    assert {"forest", "forest_narrow", "gallery_idc-simulated"} <= {path.stem for path in figures}
    for path in figures:
        assert "Simulated patches: " in path.read_text(encoding="utf-8")
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_page_holds_every_table_and_figure(finished):
    page = (finished / "results/tiny/report.html").read_text(encoding="utf-8")
    figures = list((finished / "results/tiny/figures").glob("*.svg"))
    for path in (*(finished / "results/tiny/tables").glob("*.csv"), *figures):
        assert f"/{path.name}" in page
    assert page.count("data:image/svg+xml") == len(figures)
    assert "mobilenet: weights: random" in " ".join(page.split())  # the configuration
    assert "Exclusions of patches" in page
    assert page.index("Simulated patches") < page.index("<table")


def test_the_audit_finds_nothing_in_simulated_patches_and_leaves_the_auc_as_it_is(finished, runs):
    for dataset in ("pcam-simulated", "idc-simulated"):
        about = read_json(finished / f"results/data/{dataset}/audit.json")
        assert len(about["counts"]) == 6
        assert not any(row[name] for row in about["counts"] for name in ("copies", "near", "conflicts"))
        assert about["unlike"] == 0
        found = pd.read_csv(finished / f"results/tiny/tables/audit_{dataset}.csv")
        assert found["published_distinct"].isna().all()
        leaks = pd.read_csv(finished / f"results/tiny/tables/leaks_{dataset}.csv")
        best = pd.read_csv(finished / "results/tiny/tables/best.csv").set_index("dataset").loc[dataset]
        assert len(leaks) == 6
        assert leaks["auc"].tolist() == pytest.approx([best["auc"]] * 6)
        assert leaks.loc[0, ["auc_low", "auc_high"]].tolist() == pytest.approx([best["auc_low"], best["auc_high"]])


def test_contradicted_labels_are_those_of_the_mean_score(finished, runs):
    of_data = runs[(runs["dataset"] == "idc-simulated") & ~runs["collapsed"]]
    test = pd.concat([pd.read_csv(finished / folder / "predictions.csv") for folder in of_data["folder"]])
    scored = test[test["split"] == "test"].groupby("patch_id").agg(score=("score", "mean"), label=("label", "first"))
    wrong = scored[(scored["score"] > 0.5) != (scored["label"] == 1)]
    found = pd.read_csv(finished / "results/tiny/tables/contradicted_idc-simulated.csv").set_index("patch_id")
    assert found["score"].sort_index().tolist() == pytest.approx(wrong["score"].sort_index().tolist())
    places = pd.read_parquet(finished / "results/data/idc-simulated/index.parquet").set_index("patch_id")[["x", "y"]]
    assert (found[["x", "y"]] == places.loc[found.index]).all(axis=None)


def test_what_a_figure_explains_is_the_run_that_validation_chose(finished, runs):
    of_data = runs[(runs["dataset"] == "idc-simulated") & ~runs["collapsed"]]
    errors = pd.read_csv(finished / "results/tiny/errors/idc-simulated.csv")
    assert set(errors["run"]) == {of_data.loc[of_data["valid_auc"].idxmax(), "folder"]}
    assert ((errors["score"] > 0.5) != (errors["label"] == 1)).all()
    with np.load(finished / "results/tiny/explain/idc-simulated.npz") as explained:
        assert explained["patch_id"].tolist() == errors["patch_id"].tolist()


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
    prepared = read_json(finished / "results/data/idc-simulated/manifest.json")
    assert about["inputs_sha256"]["patches"] == prepared["patches_sha256"]
    assert about["weights_sha256"] == digest(finished / RUN / "best.weights.h5")
    assert about["device"]["gpu"] is None
    assert about["threads"] == 1
    # The head alone: 1,024 features, Dense(256), Dense(1).
    assert about["trainable_parameters"] == 1024 * 256 + 256 + 256 + 1


def test_the_manifest_counts_what_was_dropped(finished):
    manifest = read_json(finished / "results/data/idc-simulated/manifest.json")
    kept = sum(part["n"] for part in manifest["patches"].values())
    assert kept + sum(manifest["excluded"].values()) == 7 * 16
    assert manifest["patches_are"] == "simulated"
    listed = pd.read_csv(finished / "results/data/idc-simulated/source_files.csv").set_index("path")["sha256"]
    folder = finished / "results/simulated/idc-simulated"
    assert listed.to_dict() == {path.name: digest(path) for path in folder.glob("[!.]*")}
    assert set(listed.index) == {"IDC_regular_ps50_idx5.zip", "cases_train.txt", "cases_val.txt", "cases_test.txt"}


def test_the_log_shows_progress(finished):
    log = (finished / "results/logs/tiny/idc-simulated/mobilenet/tl/tiny/cpu/seed-1/train.log").read_text()
    assert re.search(r"epoch 1/1: loss \d\.\d+, .*val_accuracy \d\.\d+.*\d+\.\d s training", log)


def test_the_control_is_written(finished):
    control = json.loads((finished / "results/tiny/controls/pcam-simulated/shuffled_labels.json").read_text())
    assert control["shuffles"] == 200
    assert control["holds_chance"] is True


def resources(output: str) -> dict[str, dict[str, int]]:
    """Return the time and memory that a dry run announces, by the log of the job."""
    found = re.findall(r"    log: (\S+)\n(?:    .*\n)*?    resources: (.*)\n", output)
    return {
        log: {name: int(value) for name, value in re.findall(r"(runtime|mem_mb)=(\d+)", text)} for log, text in found
    }


def test_the_table_of_jobs_says_what_each_asked_for_and_took(finished):
    table = pd.read_csv(finished / "results/tiny/tables/requested_and_used.csv")
    # The audit may end later than runs are collected.
    assert [rule for rule in table["rule"].drop_duplicates() if rule != "audit"][:7] == [
        *("prepare", "extract_features", "tune", "tune_worker", "train", "predict", "evaluate")
    ]
    measured = ["requested_minutes", "minutes", "requested_mb", "peak_mb", "requested_cores"]
    assert (table[measured] > 0).all(axis=None)
    (row,) = table[(table["rule"] == "train") & (table["recipe"] == "tiny") & (table["model"] == "mobilenet")].to_dict(
        "records"
    )
    about = read_json(finished / RUN / "run.json")
    assert (row["requested_minutes"], row["requested_mb"]) == tuple(
        about["requested"][name] for name in ("runtime", "mem_mb")
    )
    assert (row["jobs"], row["requested_cores"]) == (1, 1)
    assert 0 < row["cores"] < 4
    assert row["peak_mb"] == round(about["peak_memory_mib"] * 2**20 / 1e6)


def test_the_lines_for_a_profile_make_jobs_ask_for_less(finished, tmp_path):
    lines = (finished / "results/tiny/set-resources.yaml").read_text()
    assert lines.strip() in (finished / "results/tiny/tables/requested_and_used.md").read_text()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/config.yaml").write_text(f"cores: 1\n{lines}")
    options = ("--configfile", "tests/configs/tiny.yaml", "-n", "-F")
    plain = resources(snakemake(finished, "--cores", "1", *options))
    less, later = (
        resources(snakemake(finished, "--profile", str(tmp_path / "site"), *options, "--attempt", attempt))
        for attempt in ("1", "2")
    )
    head = "results/logs/tiny/idc-simulated/mobilenet/tl/tiny/cpu/seed-1/train.log"
    assert plain[head] == later[head] == read_json(finished / RUN / "run.json")["requested"]
    assert plain.keys() == less.keys()
    for name in ("mem_mb", "runtime"):
        assert all(less[log].get(name, 0) <= asked.get(name, 0) for log, asked in plain.items())
        assert sum(each.get(name, 0) for each in less.values()) < sum(each.get(name, 0) for each in plain.values())


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_study_in_a_browser(finished, width, height, scheme):
    path = finished / "results/tiny/report.html"
    with launched() as browser:
        opened = open_page(browser, path, width, height, scheme)
        page = opened.page
        assert page.get_by_text("Nothing here holds for tissue.").first.bounding_box()["y"] < height
        pictures = page.locator("main img")
        # One of the files is another's, for narrow windows.
        assert pictures.count() == len(list((finished / "results/tiny/figures").glob("*.svg"))) - 1
        wider = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.ariaLabel)"
        assert width < 1280 or page.locator(".scroll").evaluate_all(wider) == []
        for picture in pictures.all():
            load(picture)
        assert overflow(page) == 0
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith("data:")] == [path.resolve().as_uri()]


def test_snakemakes_own_report_holds_it_all(finished, tmp_path):
    snakemake(finished, *TINY, "--report", str(tmp_path / "report.html"))
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for path in (
        *(finished / "results/tiny/tables").glob("*.html"),
        *(finished / "results/tiny/figures").glob("*.svg"),
    ):
        assert path.name in report
    for words in ("The paper's Figure 3.", "Accuracy by slide or patient", '"Tables"', '"Figures"', "study tiny"):
        assert words in report.replace("\\u0027", "'").replace("&#x27;", "'").replace("&#39;", "'")
