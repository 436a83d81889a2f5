"""Run folders: which of them hold a result that may be shown."""

import re

import pytest

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, write_sealed

SPECIFICATION = {"run": {"seed": 1}, "recipe": {"epochs": 3}, "input": ("a", 1)}
FILES = (runs.HISTORY, runs.TIMING, runs.ABOUT, runs.PREDICTIONS)


@pytest.fixture
def finished(tmp_path):
    for name in FILES:
        (tmp_path / name).touch()
    write_sealed(tmp_path / runs.ABOUT, {"specification": SPECIFICATION, "inputs_sha256": {"patches": "m"}})
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


@pytest.mark.parametrize("content", [b"", b"{}", b'{"specification"', b"\0\0"])
def test_a_damaged_record_of_a_run_is_a_gap_with_its_reason(finished, content):
    (finished / runs.ABOUT).write_bytes(content)
    assert runs.gap(finished, SPECIFICATION, "m").startswith(f"damaged: {finished / runs.ABOUT}: expected")


def test_predictions_are_rows_as_any_others(tmp_path):
    rows = [("valid", "a,b", 'slide "1"', 0, "0.25"), ("test", "c", "", 1, 1 / 3)]
    runs.write_predictions(tmp_path / "predictions.csv", iter(rows))
    runs.write_rows(tmp_path / "rows.csv", [dict(zip(runs.PREDICTION_COLUMNS, row, strict=True)) for row in rows])
    assert (tmp_path / "predictions.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
    assert runs.read_rows(tmp_path / "predictions.csv")[0]["group"] == 'slide "1"'


def test_predictions_that_break_off_leave_no_file(tmp_path):
    def rows():
        yield "valid", "a", "", 0, "0.25"
        raise HistobenchError("no score")

    with pytest.raises(HistobenchError, match="no score"):
        runs.write_predictions(tmp_path / "predictions.csv", rows())
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_those_of_the_run_are_refused(tmp_path):
    weights = tmp_path / runs.WEIGHTS
    weights.write_bytes(b"trained")
    write_sealed(tmp_path / runs.ABOUT, {"weights_sha256": digest(weights), "best_epoch": 2})
    assert runs.trained(tmp_path)["best_epoch"] == 2
    weights.write_bytes(b"Trained")
    with pytest.raises(HistobenchError, match=rf"{re.escape(str(weights))}: expected the sha256 that run\.json tells"):
        runs.trained(tmp_path)
