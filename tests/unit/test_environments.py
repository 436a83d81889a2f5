"""Environments: pinned, with hashes, and the same pins everywhere."""

import re

import pytest
import yaml

from support.project import ROOT

LOCK = (ROOT / "envs" / "workflow.lock").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", LOCK, re.MULTILINE))
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def test_every_package_of_the_lock_file_has_hashes():
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(blocks) > 50
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_file_carries_no_address():
    assert "://" not in LOCK


def test_everything_asked_for_is_locked():
    asked = re.findall(r"^([a-z0-9-]+)", (ROOT / "envs" / "workflow.in").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(asked) > 20
    assert [name for name in asked if name not in PINS] == []


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environments_pin_what_the_lock_file_pins(path):
    packages = next(
        entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict)
    )
    pins = dict(re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z-]+\])?==(\S+)", package).groups() for package in packages)
    assert pins == {name: PINS[name] for name in pins}


def test_every_environment_of_a_rule_exists():
    named = [
        (path.parent / name).resolve()
        for path in (ROOT / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r"conda:\s+\"([^\"]+)\"", path.read_text(encoding="utf-8"))
    ]
    assert set(named) == set(ENVIRONMENTS)
