"""The code that a rule's result depends on is declared: an edit of anything else must not matter to it."""

import ast
import re
from pathlib import Path

import pytest

from histobench.code import EXEMPT
from support.project import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
LIBRARY = SCRIPTS / "histobench"


def imported(path: Path) -> set[str]:
    """Library modules that a file imports, by name below the library; packages count as their __init__."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("histobench"):
            for alias in node.names:
                for dotted in (f"{node.module}.{alias.name}", node.module):
                    name = dotted.partition(".")[2].replace(".", "/")
                    if name and (LIBRARY / f"{name}.py").exists():
                        found.add(name)
                        break
    return found


def depends_on(script: str) -> set[str]:
    waiting, seen = imported(SCRIPTS / f"{script}.py"), set()
    while waiting:
        module = waiting.pop()
        if module not in seen | EXEMPT:
            seen.add(module)
            waiting |= imported(LIBRARY / f"{module}.py")
    return seen


RULES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk"))
DECLARED = {
    script: set(re.findall(r'"([\w/]+)"', modules))
    for script, modules in re.findall(r'code\.digest\(\s*"(\w+)"([^)]*)\)', RULES)
}


def test_the_rules_declare_code():
    assert {"simulate", "prepare", "extract_features", "tune", "train", "predict", "explain"} <= set(DECLARED)


# Imported, but what it does is undone before it could show in the result.
WITHOUT_EFFECT = {
    "train": {"train/anatomy"},  # what it counts stands beside the seconds, in run.json
    "tune": {"train/checkpoints"},  # a trial has no state of its own
    "predict": {"train/random_state"},  # fresh weights, over which the trained ones are loaded
    "describe_models": {"train/random_state"},  # sizes do not depend on the weights' values
}


@pytest.mark.parametrize("script", sorted(set(DECLARED) - {"prepare"}))
def test_a_rule_declares_what_its_script_imports(script):
    assert depends_on(script) - WITHOUT_EFFECT.get(script, set()) == DECLARED[script]


def test_prepare_declares_the_format_that_it_reads():
    for kind in ("pcam", "idc", "folder"):
        needed = imported(LIBRARY / "datasets" / f"{kind}.py") | imported(LIBRARY / "train" / "records.py")
        assert needed - EXEMPT - {"datasets/prepared"} <= DECLARED["prepare"]
    assert "datasets/{STUDY.datasets[wildcards.dataset].source.format}" in RULES
