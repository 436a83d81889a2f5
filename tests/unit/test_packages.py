"""Which modules of the library may import what, so that each job imports no more than it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
LIBRARY = SCRIPTS / "histobench"


def modules(*patterns: str) -> list[str]:
    """Return names of modules, by patterns of their paths below the library."""
    paths = [path for pattern in patterns for path in sorted(LIBRARY.glob(pattern))]
    return [".".join(path.relative_to(SCRIPTS).with_suffix("").parts) for path in paths]


IMPORTED_BY_THE_SNAKEFILE = modules("core/**/*.py", "tuning/search_settings.py", "tuning/search_files.py")
IMPORTED_BY_THE_SNAKEFILE += modules("tuning/tuned_recipe.py")
TABLES_AND_FIGURES = modules("results/**/*.py", "tuning/search_tables.py")
KERAS = [
    name
    for name in modules("train/*.py", "tuning/*.py")
    if name not in IMPORTED_BY_THE_SNAKEFILE + TABLES_AND_FIGURES and not name.endswith("__init__")
]

GUARD = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise AssertionError(f"imports {name}")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def imports(refused: str, names: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", GUARD, refused, *names]
    return subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (IMPORTED_BY_THE_SNAKEFILE, "tensorflow keras keras_tuner grpc pandas sklearn matplotlib"),
        (TABLES_AND_FIGURES, "tensorflow keras keras_tuner grpc"),
    ],
)
def test_large_libraries_are_not_imported_where_they_are_not_needed(names, refused):
    assert len(names) > 20
    done = imports(refused, names)
    assert done.returncode == 0, done.stderr


def test_the_guard_guards():
    assert "imports keras" in imports("keras", ["histobench.train.models"]).stderr


def imported(path: Path) -> set[str]:
    """Return the modules of the library that a file imports."""
    statements = re.findall(r"^\s*from (histobench[\w.]*) import (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name
        for package, names in statements
        for name in (package, *(f"{package}.{each}" for each in names.split(", ")))
    }


@pytest.mark.parametrize(("names", "others"), [(KERAS, TABLES_AND_FIGURES), (TABLES_AND_FIGURES, KERAS)])
def test_modules_for_training_and_for_tables_do_not_import_each_other(names, others):
    for name in names:
        assert not imported((SCRIPTS / name.replace(".", "/")).with_suffix(".py")) & set(others), name


def test_rules_without_tensorflow_in_their_environment_run_scripts_without_it():
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    scripts = [
        script
        for block in re.split(r"\n *(?=rule )", rules)
        if "envs/report.yaml" in block
        for script in re.findall(r'"\.\./scripts/(\w+)\.py"', block)
    ]
    assert {"evaluate", "collect_runs", "print_tables", "draw_figures", "report"} <= set(scripts)
    for script in scripts:
        assert not imported(SCRIPTS / f"{script}.py") & set(KERAS), script
