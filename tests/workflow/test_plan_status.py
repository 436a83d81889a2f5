"""`make plan` and `make status`, also beside a study at work: they touch no lock and no file."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import STARTED, epochs_done, start, wait_until
from support.project import TINY, plan, snakemake

RUN = Path("results/tiny/runs/pcam-simulated/b2/full/tiny/cpu/seed-1")
# More epochs than any test waits for.
ENDLESS = "study: endless\nrecipes: {tiny: {epochs: 1000}}\n"
ENDLESS_RUN = Path("results/endless", *RUN.parts[2:])


def ask(project: Path, tool: str, *arguments: str) -> str:
    """Return what `make plan` or `make status` prints in a project."""
    done = subprocess.run(
        [sys.executable, "-m", f"histobench.core.{tool}", *arguments], cwd=project, text=True, capture_output=True,
        timeout=300, env=os.environ | {"PYTHONPATH": "workflow/scripts", "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(project: Path) -> dict[str, tuple[int, int]]:
    """Return every file with its date and size; compiled Python left out."""
    return {
        str(path.relative_to(project)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in project.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def of_cpu(text: str) -> dict[str, str]:
    """Return the row of the device `cpu` in a table, by the columns' names; empty cells must be the last ones."""
    header, row = (
        next(words for line in text.splitlines() if (words := line.split())[:1] == [name]) for name in ("device", "cpu")
    )
    return dict(zip(header, row, strict=False))


def test_a_plan_counts_the_jobs_of_a_dry_run_and_changes_nothing(project):
    before = content(project)
    text = ask(project, "plan", *TINY)
    assert content(project) == before
    planned = plan(project, *TINY)
    # The target itself makes nothing.
    assert f"Study tiny: {planned['total'] - planned['default']} jobs" in text
    found = of_cpu(text)
    assert found["extract"] == str(planned["extract_features"])
    assert found["tune"] == str(planned["tune"] + planned["tune_worker"])
    assert found["train"] == str(planned["train"])
    assert found["predict"] == str(planned["predict"])
    evaluations = planned["evaluate"] + planned["controls"]
    assert f"{planned['prepare']} prepare, {evaluations} evaluate, {planned['audit']} audit" in text


def test_a_plan_says_what_a_start_would_refuse(project, tmp_path):
    (tmp_path / "site.yaml").write_text("partitions: {a100: {available_gpu_models: [a100], max_gpu: 1}}")
    arguments = ("--profile", "profiles/slurm", "--slurm-partition-config", str(tmp_path / "site.yaml"))
    text = ask(project, "plan", *arguments, "--directory", str(tmp_path))
    refused = text.partition("A start would be refused:\n")[2].splitlines()
    assert len(refused) == 5
    assert refused[0].startswith("  device k80 needs the environment envs/tensorflow-k80.yaml")
    for card in (*(f"with gpu_model {model}" for model in ("k80", "p100", "v100")), "without a card"):
        assert any(line.startswith(f"  {tmp_path}/site.yaml: jobs {card}: no partition has") for line in refused)
    (tmp_path / "site.yaml").write_text("partitions: {a100: {max_gpus: 1}}")
    with pytest.raises(AssertionError, match=r"site\.yaml: partition a100: unknown key 'max_gpus'"):
        ask(project, "plan", *arguments)


def test_the_plan_of_a_finished_study_is_empty_also_where_its_files_are_new(cloned):
    text = ask(cloned, "plan")
    assert "nothing to be done" in text
    assert re.search(
        r"Finished jobs asked for [\d.,]+ times the time and [\d.]+ times the memory that they took\.", text
    )
    assert "results/tiny/set-resources.yaml has lines for a profile" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--profile", "nowhere"], "profile directory given .nowhere., but no profile.yaml"),
        (["--configfile", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_snakemake_says_of_arguments_that_it_refuses_is_shown(cloned, arguments, message):
    with pytest.raises(AssertionError, match=f"Snakemake can't plan this:\n(.*\n)*.*{message}"):
        ask(cloned, "plan", *arguments)


def test_the_status_of_a_finished_study_and_of_runs_that_are_gone(copy):
    text = ask(copy, "status")
    assert "Study tiny: 4 of 4 runs done" in text
    assert "Searches: 1 of 1 ended" in text
    shutil.rmtree(copy / RUN)
    text = ask(copy, "status")
    assert "Study tiny: 3 of 4 runs done" in text
    expected = {"device": "cpu", "done": "3", "running": "0", "waiting": "1", "stopped": "0", "failed": "0"}
    assert of_cpu(text) == expected
    assert re.search(r"Training left, one run after another: cpu \S+ ", text)


def test_a_run_whose_configuration_has_changed_waits(copy):
    path = copy / "results/tiny/study.json"
    path.write_text(path.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.002'))
    assert "4 waiting: out of date: trained by another configuration" in ask(copy, "status")
    path.write_text(path.read_text().replace('"matrix"', '"cells"'))
    with pytest.raises(
        AssertionError, match=r"unknown key 'cells'(.*\n)* *If an earlier version wrote this file, start the st"
    ):
        ask(copy, "status")


def test_damaged_files_are_told_with_their_names(copy):
    (copy / RUN / "run.json").write_bytes(b"\0" * 100)
    manifest = copy / "results/data/idc-simulated/manifest.json"
    manifest.write_text(manifest.read_text().replace("0", "1", 1))
    text = ask(copy, "status")
    assert re.search(rf"1 waiting: damaged: {RUN}/run.json: expected JSON with its digest", text)
    assert "3 waiting: its data set is damaged: results/data/idc-simulated/manifest.json: expected JSON with" in text


def test_without_a_study_the_status_says_so(project):
    assert "No study has started here" in ask(project, "status")


@pytest.fixture(scope="module")
def endless(finished, tmp_path_factory):
    """Yield a project, and Snakemake at work on one run in it that has finished epochs; both are stopped afterwards."""
    project = Path(shutil.copytree(finished, tmp_path_factory.mktemp("endless") / "clone", symlinks=True))
    (project / "endless.yaml").write_text(ENDLESS)
    command = [sys.executable, "-m", "snakemake", *TINY, "endless.yaml", "--", str(ENDLESS_RUN / "run.json")]
    study = start(command, project / "out", cwd=project, env=None, start_new_session=True)
    try:
        wait_until(lambda: len(epochs_done(project / ENDLESS_RUN)) >= 2, study, seconds=120, pause=0.2)
        STARTED.pop(study)  # it outlives the test in which it starts
        yield project, study
    finally:
        with_children(study, signal.SIGKILL)
        study.wait()


def with_children(study: subprocess.Popen, sent: signal.Signals) -> None:
    """Send a signal to Snakemake and its jobs, which are a session of their own."""
    if study.poll() is None:
        os.killpg(study.pid, sent)


def test_the_status_of_a_study_at_work_leaves_its_lock_and_its_files_alone(endless):
    project, study = endless
    with_children(study, signal.SIGSTOP)  # so that whatever changes now was changed by us
    before = content(project)
    assert [name for name in before if name.startswith(".snakemake/locks/")]
    text = ask(project, "status")
    assert content(project) == before
    with_children(study, signal.SIGCONT)
    assert "A Snakemake is at work in this folder" in text
    assert "Study endless: 0 of 4 runs done" in text
    assert of_cpu(text)["running"] == "1"
    told = re.search(r"b2/full/tiny/cpu/seed-1: epoch (\d+) of 1000, \S+ \S+ each, \S+ \S+ left; pid \d+ on ", text)
    assert told
    done = max(int(Path(name).parent.name.removeprefix("epoch-")) for name in before if "/.state/epoch-" in name)
    assert int(told[1]) == done + 1
    # It is still locked: another start is refused.
    assert "Directory cannot be locked" in snakemake(project, *TINY, "endless.yaml", fails=True)
    assert study.poll() is None


def test_a_run_that_was_killed_has_stopped_and_one_that_met_an_error_has_failed(endless):
    project, study = endless
    with_children(study, signal.SIGKILL)
    study.wait()
    text = ask(project, "status")
    assert of_cpu(text)["stopped"] == "1"
    assert re.search(r"b2/full/tiny/cpu/seed-1: \d+ of 1000 epochs done", text)

    # The shards are not what their index says.
    for shard in (project / "results/data/pcam-simulated").glob("train-*.tfrecord"):
        shard.write_bytes(b"")
    snakemake(project, "--unlock", *TINY)
    target = str(ENDLESS_RUN / "run.json")
    snakemake(project, *TINY, "endless.yaml", "--rerun-triggers", "params", "--", target, fails=True)
    text = ask(project, "status")
    assert of_cpu(text)["failed"] == "1"
    assert "results/logs/endless/pcam-simulated/b2/full/tiny/cpu/seed-1/train.log" in text
    assert "train-00000" in text.partition("Failed")[2]
