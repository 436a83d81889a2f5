"""The record of a run."""

import resource
import sys
from types import SimpleNamespace

import pytest

from histobench.train import provenance


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_the_peak_of_memory_is_in_mib_whatever_the_system_counts(monkeypatch, platform, unit):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2048 * unit))
    assert provenance._peak_memory_mib() == 2048


def test_the_peak_of_memory_holds_what_was_allocated():
    before = provenance._peak_memory_mib()
    size = before + 50
    block = bytearray(b"x") * (size * 2**20)
    del block
    assert size <= provenance._peak_memory_mib() < 4 * size
