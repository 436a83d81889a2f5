"""The record of a run."""

import resource
import sys
from types import SimpleNamespace

import pytest

from histobench.core.files import read_sealed
from histobench.core.job import Task, task
from histobench.train import provenance


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_the_peak_of_memory_is_in_mib_whatever_the_system_counts(monkeypatch, platform, unit):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2048 * unit))
    assert provenance._peak_memory_mib() == 2048


def test_what_a_job_asked_for_is_recorded_and_is_no_part_of_what_it_does(tmp_path, prepared_folder):
    tasks = [Task({"run": {}}, prepared_folder, requested={"runtime": 30 * n, "mem_mb": 4000 * n}) for n in (1, 2)]
    assert provenance.About(tasks[0]).identity == provenance.About(tasks[1]).identity
    for each in tasks:
        provenance.About(each).write(tmp_path / "run.json", {})
        assert read_sealed(tmp_path / "run.json")["requested"] == each.requested


def test_the_request_is_that_of_this_try():
    given = {"runtime": 60, "mem_mb": 16000, "gpu": 1, "tmpdir": "/tmp"}
    snakemake = SimpleNamespace(
        input=SimpleNamespace(manifest="data/manifest.json", get=lambda _: None),
        params=SimpleNamespace(spec={}, code=""),
        threads=4,
        resources=given,
        config={"devices": {}},
        wildcards={},
    )
    assert task(snakemake).requested == {"runtime": 60, "mem_mb": 16000}


def test_the_peak_of_memory_holds_what_was_allocated():
    before = provenance._peak_memory_mib()
    size = before + 50
    block = bytearray(b"x") * (size * 2**20)
    del block
    assert size <= provenance._peak_memory_mib() < 4 * size
