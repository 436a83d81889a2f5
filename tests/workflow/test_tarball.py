"""The project without git, as in a tarball: what tests copy, and what make's lint looks at."""

import subprocess
import sys

import pytest

from support import project
from support.project import ROOT, copy_project

IGNORED = (
    ".git/HEAD", ".venv/bin/python", ".venv-k80/lib/bad.py", ".venv-mine/bad.py", "results/demo/bad.py",
    ".snakemake/conda/bad.py", ".ruff_cache/x", "workflow/scripts/histobench/__pycache__/x.pyc",
)  # fmt: skip
COPIED = ("results/README.md", "workflow/scripts/histobench/results/printing.py", ".gitignore", ".ci/run", "mine.yaml")


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def tarball(tmp_path, monkeypatch):
    """The project as unpacked, in which somebody has worked; it is the one that tests copy."""
    folder = copy_project(tmp_path / "tarball")
    for name in (*IGNORED, "mine.yaml"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import os\n")
    monkeypatch.setattr(project, "ROOT", folder)
    return folder


def test_a_copy_holds_all_but_what_git_ignores(tarball, tmp_path):
    copied = files(copy_project(tmp_path / "clone"))
    assert copied == files(tarball) - set(IGNORED)
    assert copied.issuperset(COPIED)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository to compare with")
def test_a_copy_holds_what_git_has(tmp_path):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert {name for name in listed if (ROOT / name).exists()} <= files(copy_project(tmp_path / "clone"))


def test_ruff_leaves_environments_and_results_alone_where_there_is_no_git(tarball):
    """It reads .gitignore in a repository only."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    looked_at = subprocess.run(command, cwd=tarball, check=True, capture_output=True, text=True).stdout
    assert "workflow/scripts/histobench/results/printing.py" in looked_at
    assert "bad.py" not in looked_at
