"""Tables and figures that one job makes one after another."""

from pathlib import Path

import pytest

from histobench.core.errors import HistobenchError
from histobench.results import items

CALLS: list[str] = []


def entry(function: str, *, code: str = "c", tables: dict[str, list[str]] | None = None) -> dict:
    return {
        "module": "results/items",
        "function": function,
        "caption": f"What {function} shows",
        "dataset": "",
        "inputs": {"runs": "runs"},
        "tables": tables or {},
        "code": code,
    }


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes items and returns which of them were not restored."""
    (tmp_path / "runs.csv").write_text("1")
    monkeypatch.setattr(items, "first", lambda inputs: "first", raising=False)
    monkeypatch.setattr(items, "second", lambda inputs: inputs.files["performance"][0].read_text(), raising=False)

    def fails(inputs):
        raise ValueError("no value")

    monkeypatch.setattr(items, "fails", fails, raising=False)

    def write(made: str, _: object, stem: Path) -> None:
        CALLS.append(stem.name)
        stem.with_suffix(".csv").write_text(made)

    def make(**entries):
        CALLS.clear()
        items.make(entries, {"runs": str(tmp_path / "runs.csv")}, {}, tmp_path / "tables", write)
        return CALLS

    return make


def test_what_has_not_changed_is_restored_and_what_needs_it_sees_it(make, tmp_path):
    second = entry("second", tables={"performance": ["a"]})
    assert make(a=entry("first"), b=second) == ["a", "b"]
    assert (tmp_path / "tables/b.csv").read_text() == "first"
    assert (tmp_path / "tables/captions/b.rst").read_text() == "What second shows\n"
    for path in (tmp_path / "tables").glob("*.csv"):  # as Snakemake does
        path.unlink()
    assert make(a=entry("first"), b=second) == []
    assert (tmp_path / "tables/b.csv").read_text() == "first"
    assert make(a=entry("first", code="d"), b=second) == ["a"]  # which is as it was, so b is, too
    (tmp_path / "runs.csv").write_text("2")
    assert make(a=entry("first"), b=second) == ["a", "b"]


def test_one_that_fails_is_named_with_what_needs_it_and_the_others_are_there(make, tmp_path):
    needs = entry("second", tables={"performance": ["bad"]})
    with pytest.raises(HistobenchError, match="2 of 3 failed") as error:
        make(bad=entry("fails"), a=entry("first"), b=needs)
    assert f"{tmp_path}/tables/bad: ValueError: no value" in str(error.value)
    assert f"{tmp_path}/tables/b: it needs bad" in str(error.value)
    assert (tmp_path / "tables/a.csv").exists()
    assert make(bad=entry("first"), a=entry("first"), b=needs) == ["bad", "b"]
