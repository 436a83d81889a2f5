"""What a study will cost, from what Snakemake says is to be done."""

import pytest

from histobench.core import plan
from histobench.core.cells import Cell
from histobench.core.costs import Costs
from histobench.core.formats import FORMATS
from histobench.core.plan import Job, pending
from histobench.core.study import Study
from support import paper
from support.project import ROOT

HEADER = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"


@pytest.fixture
def study() -> Study:
    return paper.study()


def test_the_configuration_is_that_of_snakemake(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text("study: mine\nrecipes: {demo: {epochs: 3}}")
    options = ["--profile", "profiles/demo", "--configfile", "config/config.yaml", "config/demo.yaml"]
    _, demo = plan.summary([*options, str(tmp_path / "mine.yaml"), "--config", "missing_runs=gap", "--", "all"])
    assert (demo["study"], demo["missing_runs"]) == ("mine", "gap")
    assert demo["recipes"]["demo"]["epochs"] == 3
    assert "batch_size" in demo["recipes"]["demo"]
    assert {device for block in demo["matrix"] for device in block["devices"]} == {"cpu"}


def line(path: str, rule: str, state: str = "update pending") -> str:
    return f"{path}\t-\t{rule}\tlog\tmissing\t{state}\n"


def test_several_files_of_one_job_are_one_job(study):
    run = "results/paper/runs/pcam/b2/full/timing/k80/seed-1"
    text = HEADER + line(f"{run}/history.csv", "train") + line(f"{run}/run.json", "train")
    text += line("results/downloads/pcam/a.gz", "download") + line("results/downloads/pcam/b.gz", "download")
    for name in ("idc-random.csv", "idc-random.md", "idc.md"):
        text += line(f"results/paper/tables/performance_{name}", "print_tables")
    text += line(f"{run}/predictions.csv", "predict", "no update")
    assert sorted(job.rule for job in pending(text, study)) == ["download", "download", "print_tables", "train"]


def test_hours_are_those_of_table_2(study):
    runs = [f"results/paper/runs/pcam/{cell}/timing/{device}/seed-1"
            for device in ("k80", "a100") for cell in ("b2/full", "inceptionv3/tl")]  # fmt: skip
    lines = plan.plan(study, [Job("train", run) for run in runs], Costs(study))
    rows = {words[0]: words[1:] for words in (text.split() for text in lines) if words}
    # Four epochs of 325 and 468 s, or of 26 and 100 s, and a minute before each.
    assert rows["k80"] == ["2", "0.9", "0.9"]
    assert rows["a100"] == ["2", "0.2", "0.2"]
    assert "GPUs 4 1.1 1.1" in " ".join(rows["all"])
    assert rows["device"] == ["extract", "tune", "train", "predict", "measured", "published", "estimated", "hours"]


def test_scores_on_another_data_set_are_planned_by_its_test_patches(study):
    """Of B2 on a K80: the 325 s of an epoch are three passes over training patches and one over validation patches."""
    folder = "results/paper/external/idc/pcam/b2/full/timing/k80/seed-1"
    text = HEADER + "".join(
        line(f"{folder}/{name}", "predict_external") for name in ("predictions.csv", "external.json")
    )
    (job,) = pending(text, study)
    (row,) = (words for words in map(str.split, plan.plan(study, [job], Costs(study))) if words[:1] == ["k80"])
    tested = FORMATS["idc"].shares["test"] * FORMATS["idc"].expected["patches"]
    seconds = 60 + tested * 325 / (3 * 262_144 + 32_768)
    assert row[1] == "1" and float(row[-1]) == pytest.approx(seconds / 3600, abs=0.051)
    assert Costs(study).predict_external(Cell("pcam", "b2", "full", "timing", "k80"), "idc").seconds == pytest.approx(
        seconds, rel=0.01
    )


def test_a_search_is_planned_once_however_many_jobs_share_it(study):
    search = "results/paper/searches/pcam/inceptionv3/full/tuned/a100"
    text = HEADER + line(f"{search}/trials.csv", "tune") + line(f"{search}/recipe.yaml", "tune")
    one = plan.plan(study, pending(text, study), Costs(study))
    three = text + line(f"{search}/worker-2.json", "tune_worker") + line(f"{search}/worker-3.json", "tune_worker")
    shared = plan.plan(study, pending(three, study), Costs(study))
    # 120 epochs of the published 270 s, and a minute before each of the 30 trials.
    for lines, jobs in ((one, "1"), (shared, "3")):
        (row,) = (words for words in map(str.split, lines) if words[:1] == ["a100"])
        assert row == ["a100", jobs, "9.5", "9.5"]


def test_a_finished_study_has_nothing_to_do(study):
    assert plan.plan(study, [], Costs(study)) == ["Study paper: nothing to be done"]
