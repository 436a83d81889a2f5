"""Running Snakemake as a user would, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ("--profile", "profiles/local", "--cores", "1", "--configfile", "tests/configs/tiny.yaml")


def copy_project(target: Path) -> Path:
    """Copy what git would: a fresh clone with the work tree's changes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def snakemake(project: Path, *arguments: str, env: dict[str, str] | None = None, check: bool = True):
    """Run Snakemake in a project as a user would, and return what it printed, both streams together."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
        env=os.environ | (env or {}),
    )  # fmt: skip
    if check and done.returncode:
        pytest.fail(f"snakemake {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-8000:]}")
    return done


def jobs(output: str) -> dict[str, int]:
    """Return the number of jobs by rule that a dry run announces."""
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
