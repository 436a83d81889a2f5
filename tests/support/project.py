"""Running Snakemake as a user would, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ("--profile", "profiles/local", "--cores", "1", "--configfile", "tests/configs/tiny.yaml")


def copy_project(target: Path) -> Path:
    """Copy what git would: a fresh clone with the work tree's changes. No git is asked, since a tarball has none."""
    shutil.copytree(ROOT, target, symlinks=True, ignore=_ignored, dirs_exist_ok=True)
    return target


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Return what git leaves out of a folder: its own, and what .gitignore names, in the few words that ours needs."""
    place = "/" / Path(folder).relative_to(ROOT)
    ignored = {".git"}
    for line in (ROOT / ".gitignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        matching = {name for name in names if fnmatch(str(place / name) if pattern.startswith("/") else name, pattern)}
        ignored = ignored - matching if line.startswith("!") else ignored | matching
    return ignored


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
