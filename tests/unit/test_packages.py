"""The library's packages: `results` never needs TensorFlow, and `train` and `results` never import each other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
LIBRARY = SCRIPTS / "histobench"
RESULTS = [*sorted((LIBRARY / "results").rglob("*.py")), LIBRARY / "tuning" / "search_tables.py"]

GUARD = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras", "keras_tuner"}:
            raise AssertionError(f"results import {name}")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def imports(names: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", GUARD, *names], cwd=SCRIPTS, capture_output=True, text=True)


def test_results_never_import_tensorflow():
    names = [".".join(path.relative_to(SCRIPTS).with_suffix("").parts) for path in RESULTS]
    assert len(names) > 20
    done = imports(names)
    assert done.returncode == 0, done.stderr


def test_the_guard_guards():
    assert "results import keras" in imports(["histobench.train.models"]).stderr


@pytest.mark.parametrize(("package", "other"), [("train", "results"), ("results", "train")])
def test_neither_package_imports_the_other(package, other):
    found = [
        f"{path.name}: {line}"
        for path in (LIBRARY / package).rglob("*.py")
        for line in re.findall(rf"^\s*(?:from|import) histobench\.{other}\b.*", path.read_text(), re.MULTILINE)
    ]
    assert found == []


def test_rules_without_tensorflow_in_their_environment_run_scripts_without_it():
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    of_results = [
        script
        for block in re.split(r"\n(?=rule )", rules)
        if "envs/report.yaml" in block
        for script in re.findall(r'"\.\./scripts/(\w+)\.py"', block)
    ]
    assert {"evaluate", "collect_runs", "table_performance", "figure_gallery", "report"} <= set(of_results)
    for script in of_results:
        assert "histobench.train" not in Path(SCRIPTS / f"{script}.py").read_text(encoding="utf-8")
