"""Digests of code: what makes a result out of date, and what does not."""

import shutil

import pytest

from histobench import code
from histobench.errors import HistobenchError


@pytest.fixture
def library(tmp_path, monkeypatch):
    def copy():
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(code.SCRIPTS, root, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(code, "SCRIPTS", root)
        monkeypatch.setattr(code, "LIBRARY", root / "histobench")
        return root

    return copy


def test_comments_dates_and_places_do_not_count(library):
    before = code.digest("train", "train/fit")
    root = library()
    module = root / "histobench" / "train" / "fit.py"
    module.write_text("# a new comment\n\n" + module.read_text() + "\n\n# another\n")
    assert code.digest("train", "train/fit") == before


@pytest.mark.parametrize("edited", ["train.py", "histobench/train/fit.py"])
def test_an_edit_of_script_or_declared_module_counts(library, edited):
    before = code.digest("train", "train/fit")
    root = library()
    path = root / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest("train", "train/fit") != before
    assert code.digest("train", "train/fit") == code.digest("train", "train/fit")


def test_an_edit_of_another_module_does_not_count(library):
    before = code.digest("train", "train/fit")
    path = library() / "histobench" / "train" / "predict.py"
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest("train", "train/fit") == before


def test_a_declared_module_that_is_gone_is_an_error():
    with pytest.raises(HistobenchError, match=r"train/gone\.py.*does not exist"):
        code.digest("train", "train/gone")


@pytest.mark.parametrize(
    "edited",
    [
        "table_speed.py",
        "histobench/results/speed.py",
        "histobench/results/statistics.py",  # by way of claims
        "histobench/results/table.html.j2",  # a template of tables
        "histobench/results/parts.html.j2",  # that this one imports
    ],
)
def test_an_edit_of_what_is_imported_near_or_far_counts(library, edited):
    before = code.digest_with_imports("table_speed")
    root = library()
    assert code.digest_with_imports("table_speed") == before
    code._imports.cache_clear()
    code._digest.cache_clear()
    path = root / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest_with_imports("table_speed") != before


@pytest.mark.parametrize("edited", ["histobench/files.py", "histobench/results/figures/size.py", "table_models.py"])
def test_an_edit_of_what_is_not_imported_or_exempt_does_not(library, edited):
    before = code.digest_with_imports("table_speed")
    path = library() / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest_with_imports("table_speed") == before
