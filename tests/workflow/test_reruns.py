"""After a finished study: what makes which rules run again, and what does not.

Plans are made by a bare `snakemake -n`: `profiles/default`, which Snakemake reads by itself, is all that they need.
"""

import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from support.project import NOTHING, TINY, TINY_CONFIG, plan, snakemake

SCRIPTS = "workflow/scripts"
# Rules up to the scores of runs; tables, figures and the report follow from these.
STAGES = {
    *("simulate_pcam", "simulate_idc", "prepare", "extract_features", "tune", "tune_worker", "train", "predict"),
    *("evaluate", "controls"),
}
SEARCH = {"tune": 1, "tune_worker": 1}


def planned(folder: Path, *arguments: str) -> tuple[dict[str, int], set[str]]:
    """Return the jobs of `STAGES` that are to be done, and the other rules."""
    found = plan(folder, *TINY_CONFIG, *arguments)
    return {name: found[name] for name in found if name in STAGES}, set(found) - STAGES


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\nEDITED = True\n")


def test_a_second_run_does_nothing(copy):
    assert NOTHING in snakemake(copy, *TINY)


@pytest.mark.parametrize("profile", ["", "local", "demo", "slurm", "slurm-gres"])
def test_a_fresh_clone_with_copied_results_and_other_comments_plans_nothing(cloned, profile):
    # The configuration takes the place of the demo's.
    options = ["--profile", f"profiles/{profile}", "--configfile", "config/config.yaml"] if profile else []
    assert plan(cloned, *options) == {}


def test_moving_the_folder_and_deploying_software_by_conda_plan_nothing(copy, conda):
    output = snakemake(copy, "-n", *TINY_CONFIG, "--sdm", "conda", env=conda)
    assert NOTHING in output
    assert "envs/tensorflow.yaml" in output  # so the environments were looked at
    assert "tensorflow-k80" not in output  # which is for a K80 alone


def test_an_output_that_a_killed_job_left_is_made_again(copy):
    control = "results/tiny/controls/pcam-simulated/shuffled_labels.json"
    # As Snakemake marks the outputs of a job when it starts.
    (copy / ".snakemake/incomplete" / urlsafe_b64encode(control.encode()).decode()).write_text("{}")
    stages, _ = planned(copy)
    assert stages == {"controls": 1}


def test_deleted_predictions_of_one_run_run_what_depends_on_them(copy):
    (copy / "results/tiny/runs/idc-simulated/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    stages, others = planned(copy)
    assert stages == {"predict": 1, "evaluate": 1}
    assert {"collect_runs", "print_tables", "draw_figures", "draw_galleries", "report"} <= others
    assert "describe_models" not in others


@pytest.mark.parametrize(
    ("modules", "rules"),
    [
        # Which modules each rule depends on is in unit/test_code.py.
        (["train/fit"], {**SEARCH, "train": 4, "predict": 4, "evaluate": 4}),
        (["train/predict", "results/controls"], {"predict": 4, "evaluate": 4, "controls": 2}),
        (
            ["core/datasets/idc"],
            {"prepare": 1, "controls": 1, "extract_features": 1, **SEARCH, "train": 3, "predict": 3, "evaluate": 3},
        ),
    ],
)
def test_edited_modules_run_the_rules_that_depend_on_them(copy, modules, rules):
    for module in modules:
        edit(copy / SCRIPTS / "histobench" / f"{module}.py")
    stages, _ = planned(copy)
    assert stages == rules


def test_deleted_features_are_not_missed_until_a_new_head_needs_them(copy):
    shutil.rmtree(copy / "results/tiny/features")
    assert planned(copy) == ({}, set())
    stages, _ = planned(copy, "--", "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-2/run.json")
    assert set(stages) == {"extract_features", "train"}


def drawn(folder: Path) -> list[str]:
    """Return the figures that the last job has drawn."""
    log = (folder / "results/logs/tiny/figures.log").read_text()
    return sorted(line.split()[-2].rstrip(":") for line in log.splitlines() if line.endswith(": made"))


@pytest.mark.slow
def test_an_edited_figure_is_drawn_anew_and_no_other_unless_all_are_forced(copy):
    edit(copy / SCRIPTS / "histobench/results/figures/learning_curves.py")
    # `default` and the sum.
    assert plan(copy, *TINY_CONFIG) == {"draw_figures": 1, "report": 1, "default": 1, "total": 3}
    before = {path: path.read_bytes() for path in (copy / "results/tiny/figures").glob("[!.]*.*")}
    snakemake(copy, *TINY)
    assert drawn(copy) == ["learning_curves_idc-simulated", "learning_curves_pcam-simulated"]
    assert {path: path.read_bytes() for path in before} == before
    snakemake(copy, *TINY, "--force", "--", "results/tiny/figures/forest.svg")
    assert len(drawn(copy)) == len([path for path in before if path.suffix == ".svg" and "gallery" not in path.name])


@pytest.mark.slow
def test_a_figure_that_fails_is_named_and_the_others_are_not_drawn_twice(copy):
    path = copy / SCRIPTS / "histobench/results/figures/forest.py"
    text = path.read_text()
    path.write_text(text + "\ndef forest_figure(inputs):\n    raise ZeroDivisionError('no forest')\n")
    edit(copy / SCRIPTS / "histobench/results/figures/learning_curves.py")
    output = snakemake(copy, *TINY, fails=True)
    assert "results/tiny/figures/forest: ZeroDivisionError: no forest" in output
    assert "The others are finished" in output
    assert "Traceback" in output
    path.write_text(text)
    snakemake(copy, *TINY)
    assert drawn(copy) == ["forest", "forest_narrow"]  # of one module
    assert len(list((copy / "results/tiny/figures").glob("forest*.svg"))) == 2


def test_another_recipe_trains_anew_what_uses_it_and_another_number_of_workers_searches_nothing_anew(copy):
    path = copy / "tests/configs/tiny.yaml"
    text = path.read_text()
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: 0.002"))
    stages, _ = planned(copy)
    # No search, which looks for another rate by itself.
    assert stages == {"train": 4, "predict": 4, "evaluate": 4}
    path.write_text(text.replace("workers: 2", "workers: 3"))
    stages, _ = planned(copy)
    # The third one finds that the search has ended.
    assert ("tune" in stages, stages["tune_worker"]) == (False, 1)


def test_another_split_or_another_digest_prepares_anew(copy):
    """A configuration's objects must reach Snakemake as plain values, the only ones whose changes it notices."""
    path = copy / "tests/configs/tiny.yaml"
    split = "split: {by: group, train: 0.4, valid: 0.3, test: 0.3, seed: 1}"
    path.write_text(path.read_text().replace("source: idc-simulated}", f"source: idc-simulated, {split}}}"))
    stages, _ = planned(copy)
    assert stages.pop("prepare") == 1
    assert {"controls", "extract_features", "tune", "train"} <= set(stages)


@pytest.mark.slow
def test_what_is_forced_is_computed_anew_and_what_was_lost_comes_back(copy):
    """A run, features and a search have a saved state each; the head's run merely follows from forced features."""
    head, features, search = (
        copy / "results/tiny" / folder
        for folder in (
            "runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-1",
            "features/idc-simulated/mobilenet/paper/cpu",
            "searches/idc-simulated/mobilenet/tl/tiny-tuned/cpu",
        )
    )
    about = {head: "run.json", features: "features.json", search: "search.json"}
    targets = [str((folder / name).relative_to(copy)) for folder, name in about.items()]
    before = {folder: (folder / ".state/events").read_text() for folder in about}

    def since(folder: Path) -> str:
        return (folder / ".state/events").read_text().removeprefix(before[folder])

    forced = ("--forcerun", "extract_features", "tune")
    snakemake(copy, "-n", *TINY_CONFIG, *forced, "--", *targets)
    assert not list(copy.rglob(".state/anew"))
    output = snakemake(copy, *TINY, *forced, "--", *targets)
    assert "2 forced jobs have a saved state" in output
    for folder in (features, search):
        assert "told to force this job" in since(folder)
        assert "finished before" not in since(folder)
        assert list((folder / ".state/set-aside").iterdir())
    assert "told to force" not in since(head)
    assert "finished before; the outputs are rebuilt from the state" in since(head)

    (head / "run.json").unlink()
    snakemake(copy, *TINY, "--", targets[0])
    assert since(head).count("finished before") == 2

    # Of a job that was finished after its Snakemake was killed; and a mark of a start that never came to it.
    (head / ".state/anew").touch()
    mark = copy / ".snakemake/incomplete" / urlsafe_b64encode(targets[0].encode()).decode()
    mark.write_text("{}")
    snakemake(copy, *TINY, "--", targets[0])
    assert since(head).count("finished before") == 3
    assert "told to force" not in since(head)

    # So does one for a search, of which another worker alone is missing.
    (search / ".state/anew").touch()
    (search / "worker-2.json").unlink()
    snakemake(copy, *TINY, "--", str((search / "worker-2.json").relative_to(copy)))
    assert since(search).count("told to force") == 1

    snakemake(copy, *TINY, "--touch", "--forceall", "--", targets[0])
    assert not list(copy.rglob(".state/anew"))
    snakemake(copy, *TINY, "--force", "--", targets[0])
    assert "starting at epoch 1" in since(head)
