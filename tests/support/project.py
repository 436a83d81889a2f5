"""Running Snakemake and make as a user would, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCAL = ("--profile", "profiles/local", "--cores", "1")
TINY_CONFIG = ("--configfile", "tests/configs/tiny.yaml")
TINY = (*LOCAL, *TINY_CONFIG)
# With the overlay of `extend`.
OVERLAID = (*TINY, "overlay.yaml")
NOTHING = "Nothing to be done"
# For an overlay over the tiny study: a block of the matrix, and a cross-validation.
BLOCK = {"models": ["b2"], "modes": ["full"], "recipes": ["tiny"], "devices": ["cpu"], "seeds": [1]}
FOLDS = {"source": "idc-simulated", "split": {"by": "group", "folds": 3, "seed": 1}}


def extend(finished: Path, folder: Path, study: Mapping[str, Any]) -> None:
    """Copy a folder in which the tiny study is finished, with an overlay for the arguments `OVERLAID`."""
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(study))


def copy_project(target: Path) -> Path:
    """Make a fresh clone with the work tree's changes. It works without git, since a tarball has no repository."""
    shutil.copytree(ROOT, target, symlinks=True, ignore=_ignored, dirs_exist_ok=True)
    return target


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Return what git leaves out of a folder: its own, and what our .gitignore names by the few patterns known here."""
    place = "/" / Path(folder).relative_to(ROOT)
    ignored = {".git"}
    for line in (ROOT / ".gitignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        matching = {name for name in names if fnmatch(str(place / name) if pattern.startswith("/") else name, pattern)}
        ignored = ignored - matching if line.startswith("!") else ignored | matching
    return ignored


def snakemake(
    folder: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    fails: bool = False,
    python: str | Path = sys.executable,
) -> str:
    """Run Snakemake in a folder and return what it printed, both streams together.

    It must end with an error where it `fails`, else without one.
    """
    return _run(folder, [str(python), "-m", "snakemake", *arguments], env or {}, fails)


def make(folder: Path, goal: str, target: str, *, env: dict[str, str] | None = None, fails: bool = False) -> str:
    """Run make for a goal that calls Snakemake, for this target of Snakemake alone, in the tests' environment."""
    # The demo has targets of its own.
    snakemake = f"SNAKEMAKE={sys.executable} -m snakemake {'' if goal == 'demo' else target}"
    return _run(folder, ["make", goal, "INSTALLED=", f"DEMO={target}", snakemake], env or {}, fails)


def _run(folder: Path, command: list[str], env: dict[str, str], fails: bool) -> str:
    done = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
        env=os.environ | env,
    )  # fmt: skip
    if bool(done.returncode) != fails:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-8000:]}")
    return done.stdout


def jobs(output: str) -> dict[str, int]:
    """Return the number of jobs by rule that a dry run announces; {} where it says that nothing is to be done."""
    assert (NOTHING in output) != ("Job stats:" in output), output[-8000:]
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def plan(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> dict[str, int]:
    """Return the number of jobs by rule that Snakemake would run."""
    return jobs(snakemake(folder, "-n", *arguments, env=env))


def program(path: Path, text: str) -> dict[str, str]:
    """Write a stand-in for a program; return the environment in which it is found first."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return {"PATH": f"{path.parent}{os.pathsep}{os.environ['PATH']}"}


# For `at_startup`.
NO_CONNECTION = """
import socket

def refuse(*arguments, **options):
    raise AssertionError(f"a connection is opened: {arguments[1:]}")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
"""


def at_startup(folder: Path, code: str) -> dict[str, str]:
    """Return the environment in which every Python, those that Snakemake starts too, runs some code first."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}
