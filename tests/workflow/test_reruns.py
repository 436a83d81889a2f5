"""After a finished study: what makes which rules run again, and what does not."""

import os
import shutil
from pathlib import Path

import pytest

from support.project import TINY, copy_project, jobs, snakemake

NOTHING = "Nothing to be done"


def plan(folder: Path, *arguments: str) -> dict[str, int]:
    output = snakemake(folder, "-n", *TINY, *arguments).stdout
    assert (NOTHING in output) != ("Job stats:" in output)
    return jobs(output)


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\nEDITED = True\n")


def test_a_second_run_does_nothing(copy):
    assert NOTHING in snakemake(copy, *TINY).stdout


def test_a_fresh_clone_with_copied_results_and_other_comments_plans_nothing(finished, tmp_path):
    clone = copy_project(tmp_path / "clone")
    path = clone / "workflow" / "scripts" / "histobench" / "train" / "fit.py"
    path.write_text("# a thought\n" + path.read_text())
    for path in filter(Path.is_file, clone.rglob("*")):
        os.utime(path)  # as git leaves them: written now
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, clone / name, symlinks=True, dirs_exist_ok=True)
    assert plan(clone) == {}


def test_moving_the_folder_and_deploying_software_by_conda_plan_nothing(copy):
    # What planning asks of conda, which is not installed for the tests.
    conda = copy / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "  --version) echo 'conda 25.1.0' ;;\n"
        """  info) echo '{"conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;\n"""
        """  *) echo '{"get": {"channel_priority": "strict"}}' ;;\n"""
        "esac\n"
    )
    conda.chmod(0o755)
    env = {"PATH": f"{conda.parent}{os.pathsep}{os.environ['PATH']}"}
    output = snakemake(copy, "-n", *TINY, "--sdm", "conda", env=env).stdout
    assert NOTHING in output
    assert "envs/tensorflow.yaml" in output  # so the environments were looked at
    assert "tensorflow-k80" not in output  # which is for a K80 alone


def test_deleted_predictions_of_one_run_run_what_depends_on_them(copy):
    (copy / "results/tiny/runs/idc-simulated/b2/full/tiny/cpu/seed-1/predictions.csv").unlink()
    planned = plan(copy)
    assert {name: count for name, count in planned.items() if name in STAGES} == {"predict": 1, "evaluate": 1}
    assert {"collect_runs", "table", "figure", "report"} <= set(planned)
    assert "describe_models" not in planned


SEARCH = {"tune": 1, "tune_worker": 1}


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
        edit(copy / "workflow" / "scripts" / "histobench" / f"{module}.py")
    planned = plan(copy)
    assert {name: count for name, count in planned.items() if name in STAGES} == rules


STAGES = {
    *("simulate_pcam", "simulate_idc", "prepare", "extract_features", "tune", "tune_worker", "train", "predict"),
    *("evaluate", "controls"),
}


def test_deleted_features_are_not_missed_until_a_new_head_needs_them(copy):
    shutil.rmtree(copy / "results/tiny/features")
    assert plan(copy) == {}
    new = "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-2/run.json"
    planned = plan(copy, "--", new)
    assert {name for name in planned if name in STAGES} == {"extract_features", "train"}


def test_an_edited_figure_is_drawn_anew_and_no_other(copy):
    edit(copy / "workflow" / "scripts" / "histobench" / "results" / "figures" / "learning.py")
    # One for each data set; `all`, `default` and the sum.
    assert plan(copy) == {"figure": 2, "report": 1, "default": 1, "total": 4}


def test_another_recipe_trains_anew_what_uses_it_and_another_number_of_workers_searches_nothing_anew(copy):
    path = copy / "tests" / "configs" / "tiny.yaml"
    text = path.read_text()
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: 0.002"))
    planned = plan(copy)
    assert (planned["train"], planned["predict"], "prepare" in planned) == (4, 4, False)
    assert "tune" not in planned  # which looks for another rate by itself
    path.write_text(text.replace("workers: 2", "workers: 3"))
    planned = plan(copy)
    # The third one finds that the search has ended.
    assert ("tune" in planned, planned["tune_worker"]) == (False, 1)
