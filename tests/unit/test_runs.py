"""Run folders: which of them hold a result that may be shown."""

import pytest

from histobench.core import runs
from histobench.core.files import write_json

SPECIFICATION = {"run": {"seed": 1}, "recipe": {"epochs": 3}, "input": ("a", 1)}
FILES = (runs.HISTORY, runs.TIMING, runs.ABOUT, runs.PREDICTIONS)


@pytest.fixture
def finished(tmp_path):
    for name in FILES:
        (tmp_path / name).touch()
    write_json(tmp_path / runs.ABOUT, {"specification": SPECIFICATION, "inputs_sha256": {"manifest": "m"}})
    return tmp_path


def test_a_finished_run_is_no_gap(finished):
    assert runs.gap(finished, SPECIFICATION, "m") == ""


def test_a_folder_that_is_not_there(tmp_path):
    assert runs.gap(tmp_path / "none", SPECIFICATION, "m") == "not run yet"


@pytest.mark.parametrize("missing", FILES)
def test_a_folder_without_one_of_its_files(finished, missing):
    (finished / missing).unlink()
    assert runs.gap(finished, SPECIFICATION, "m") == "started, not finished"


def test_a_run_for_its_seconds_needs_no_predictions(finished):
    (finished / runs.PREDICTIONS).unlink()
    assert runs.gap(finished, SPECIFICATION, "m", scored=False) == ""


@pytest.mark.parametrize(
    ("specification", "manifest", "reason"),
    [
        (SPECIFICATION | {"recipe": {"epochs": 4}}, "m", "another configuration"),
        (SPECIFICATION, "other", "data prepared otherwise"),
        (SPECIFICATION, None, "its data set is gone"),
    ],
)
def test_a_result_of_something_else(finished, specification, manifest, reason):
    assert reason in runs.gap(finished, specification, manifest)
