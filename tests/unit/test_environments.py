"""Environments: pinned, with hashes, and the same pins everywhere."""

import re

import pytest
import yaml

from support.project import ROOT

ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
LOCKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "envs").glob("*.lock"))}
PINS = {name: dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", lock, re.MULTILINE)) for name, lock in LOCKS.items()}


def pip_packages(path):
    """What a conda environment has pip install, as it says it."""
    return next(entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict))


def split(package):
    return re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9-]+\])?==(\S+)", package).groups()


def test_there_is_a_lock_file_for_each_keras():
    assert {name: pins["keras"][0] for name, pins in PINS.items()} == {"workflow": "3", "tensorflow-k80": "2"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_the_lock_file_has_hashes_and_none_an_address(lock):
    blocks = re.split(r"\n(?=\S)", LOCKS[lock].strip())
    assert len(blocks) > 50
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in LOCKS[lock]


@pytest.mark.parametrize(("lock", "number"), [("workflow", 20), ("tensorflow-k80", 9)])
def test_everything_asked_for_is_locked(lock, number):
    asked = re.findall(r"^([a-z0-9-]+)", (ROOT / "envs" / f"{lock}.in").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(asked) >= number
    assert [name for name in asked if name not in PINS[lock]] == []


def is_cuda(package: str) -> bool:
    return package.startswith("nvidia-") and not package.startswith("nvidia-ml-py")


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environments_pin_what_their_lock_file_pins(path):
    pins = dict(split(package) for package in pip_packages(path) if not is_cuda(package))
    locked = PINS.get(path.stem, PINS["workflow"])
    assert len(pins) >= 9
    assert pins == {name: locked[name] for name in pins}


def test_the_k80_has_what_other_cards_have():
    """CUDA, which the one names as an extra of TensorFlow and the other package by package, left out."""
    names = [
        {split(package)[0] for package in pip_packages(ROOT / "envs" / name) if not is_cuda(package)}
        for name in ("tensorflow.yaml", "tensorflow-k80.yaml")
    ]
    assert names[0] == names[1]


def test_the_k80s_cuda_is_that_of_tensorflow():
    """TensorRT left out: the version asked for has no wheel for Python 3.11."""
    found = list(ROOT.glob(".venv-k80/lib/python*/site-packages/tensorflow-*.dist-info/METADATA"))
    if not found:
        pytest.skip("no .venv-k80 with TensorFlow 2.14: `make test` builds it where it finds a Python 3.11")
    asked = re.findall(r"^Requires-Dist: (\S+) \(==(\S+)\) ; extra == 'and-cuda'", found[0].read_text(), re.MULTILINE)
    cuda = [split(package) for package in pip_packages(ROOT / "envs" / "tensorflow-k80.yaml") if is_cuda(package)]
    assert sorted([*cuda, ("tensorrt", "8.5.3.1")]) == sorted(asked)


def test_the_readme_names_the_versions_of_the_lock_file_and_the_oldest():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pins = PINS["workflow"]
    snakefile = (ROOT / "workflow" / "Snakefile").read_text(encoding="utf-8")
    oldest = re.search(r'^min_version\("(.*)"\)', snakefile, re.MULTILINE)[1]
    newest = pins["snakemake"]
    assert f"| Snakemake {newest} with its SLURM plugin {pins['snakemake-executor-plugin-slurm']}," in text
    assert f"| Snakemake {oldest} to {newest.rpartition('.')[0]} |" in text


def test_every_environment_is_that_of_a_rule_or_of_a_device():
    """Those of devices are named by a function."""
    rules = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    named = {name for text in rules for name in re.findall(r"conda:\s+\"../../envs/([^\"]+)\"", text)}
    assert any("conda:\n        environment\n" in text for text in rules)
    assert named | {"tensorflow-k80.yaml", "jax.yaml"} == {path.name for path in ENVIRONMENTS}
