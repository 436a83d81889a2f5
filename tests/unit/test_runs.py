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


def test_a_folder_that_is_not_there(tmp_path):
    assert runs.gap(tmp_path / "none", SPECIFICATION, "m") == "not run yet"


@pytest.mark.parametrize(
    ("missing", "specification", "manifest", "scored", "gap"),
    [
        ([], SPECIFICATION, "m", True, ""),
        *(([name], SPECIFICATION, "m", True, "started, not finished") for name in FILES),
        ([runs.PREDICTIONS], SPECIFICATION, "m", False, ""),  # a run for its seconds needs no predictions
        ([], SPECIFICATION | {"recipe": {"epochs": 4}}, "m", True, "out of date: trained by another configuration"),
        ([], SPECIFICATION, "other", True, "out of date: trained on data prepared otherwise"),
        ([], SPECIFICATION, None, True, "its data set is gone"),
    ],
)
def test_whether_a_run_has_a_current_result(finished, missing, specification, manifest, scored, gap):
    for name in missing:
        (finished / name).unlink()
    assert runs.gap(finished, specification, manifest, scored=scored) == gap
