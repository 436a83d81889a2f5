"""The environments that make builds, with a stub in place of Python: no network, and a second for all of these."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.project import ROOT

# All that make calls to build an environment, the stub included. No git.
PROGRAMS = ("cat", "cksum", "env", "find", "ln", "ls", "mkdir", "readlink", "sh", "touch", "tr")
LOCKS = {".venv": "envs/workflow.lock", ".venv-k80": "envs/tensorflow-k80.lock"}
FOLDERS = pytest.mark.parametrize("folder", LOCKS)

# Tells each call, and fails where one holds the words $FAILING. It is a Python 3.11, pip, and all that pip installs.
STUB = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "$*" in *"${FAILING:-nothing}"*) echo "stub: failing" >&2; exit 1 ;; esac
case "$1 $2" in
*_base_executable*) echo "$STUB" ;;
"-m venv") mkdir -p "$3/bin"; for name in python ruff mypy snakefmt snakemake; do ln -s "$STUB" "$3/bin/$name"; done ;;
esac
"""


class Checkout:
    """A folder with the Makefile and the lock files, where make finds nothing but `PROGRAMS` and the stub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs, self.calls = folder / "my project", folder / "programs", folder / "calls"
        (self.folder / "envs").mkdir(parents=True)
        for name in ("Makefile", *LOCKS.values()):
            shutil.copy(ROOT / name, self.folder / name)
        self.programs.mkdir()
        for name in PROGRAMS:
            (self.programs / name).symlink_to(shutil.which(name))
        self.stub = self.programs / "python3"
        self.stub.write_text(STUB)
        self.stub.chmod(0o755)

    def make(self, *arguments: str, failing: str = "") -> subprocess.CompletedProcess:
        """Run make: the calls of the stub are those of this run."""
        self.calls.write_text("")
        env = {"PATH": str(self.programs), "CALLS": str(self.calls), "STUB": str(self.stub)}
        return subprocess.run(
            [shutil.which("make"), *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
            env=env | ({"FAILING": failing} if failing else {}),
        )  # fmt: skip

    def built(self) -> list[str]:
        """Return the folders for which the last run of make built an environment."""
        return [line.split()[-1] for line in self.calls.read_text().splitlines() if " -m venv " in line]

    def installed(self, folder: str) -> list[Path]:
        return list((self.folder / folder).glob("installed-*"))

    def outdate(self, folder: str) -> None:
        with (self.folder / LOCKS[folder]).open("a") as file:
            file.write("# another line\n")


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    """Without an environment."""
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout) -> Checkout:
    """With both environments."""
    assert checkout.make("test").returncode == 0
    return checkout


def test_make_builds_both_environments_without_git(checkout):
    assert shutil.which("git", path=checkout.programs) is None
    done = checkout.make("test")
    assert (done.returncode, done.stderr) == (0, "")
    assert checkout.built() == [".venv", ".venv-k80"]
    calls = checkout.calls.read_text()
    for lock in LOCKS.values():
        assert f"--require-hashes --requirement {lock}\n" in calls
    for call in ("ruff check .", "snakemake --lint", "python -m pytest"):
        assert f"\n{call}" in calls


@FOLDERS
def test_a_newer_date_of_the_lock_file_builds_nothing(ready, folder):
    os.utime(ready.folder / LOCKS[folder])
    assert ready.make("test").returncode == 0
    assert ready.built() == []


@FOLDERS
def test_an_environment_that_make_built_is_replaced_when_its_lock_file_changes(ready, folder):
    before = ready.installed(folder)
    (ready.folder / folder / "bin" / "old").touch()
    ready.outdate(folder)
    assert ready.make("test").returncode == 0
    assert ready.built() == [folder]
    assert not (ready.folder / folder / "bin" / "old").exists()
    assert len(ready.installed(folder)) == 1
    assert ready.installed(folder) != before


@FOLDERS
def test_an_environment_from_before_there_was_a_mark_of_make_is_replaced(ready, folder):
    (ready.folder / folder / "built-by-make").unlink()
    ready.outdate(folder)
    assert ready.make("test").returncode == 0
    assert ready.built() == [folder]


@FOLDERS
@pytest.mark.parametrize("step", ["-m venv", "-m pip"])
def test_an_interrupted_install_is_built_again(ready, folder, step):
    ready.outdate(folder)
    assert ready.make("test", failing=step).returncode != 0
    assert ready.installed(folder) == []
    assert ready.make("test").returncode == 0
    assert ready.built() == [folder]


@FOLDERS
def test_an_environment_is_built_anew_by_its_own_python(ready, folder):
    """As where it is activated."""
    ready.outdate(folder)
    assert ready.make("test", f"PYTHON={folder}/bin/python").returncode == 0
    assert ready.built() == [folder]


def test_a_python_may_have_a_space_in_its_path(checkout):
    checkout.stub = checkout.stub.rename(checkout.folder / "a python")
    assert checkout.make("test", f"PYTHON={checkout.stub}").returncode == 0
    assert checkout.built() == [".venv", ".venv-k80"]


@FOLDERS
@pytest.mark.parametrize("outdated", [False, True])
def test_behind_a_link_nothing_changes(ready, folder, outdated):
    """An environment of another project is used where it has what the lock file asks for."""
    link, target = ready.folder / folder, ready.folder.parent / "theirs"
    link.rename(target)
    link.symlink_to(target)
    before = sorted(target.rglob("*"))
    if outdated:
        ready.outdate(folder)
    done = ready.make("test")
    assert ready.built() == []
    assert link.readlink() == target
    assert sorted(target.rglob("*")) == before
    if outdated:
        assert done.returncode != 0
        assert f"{folder} is a link to {target}" in done.stderr
        assert LOCKS[folder] in done.stderr
        assert f"remove the link {folder}" in done.stderr
    else:
        assert done.returncode == 0


@FOLDERS
@pytest.mark.parametrize("kind", ["environment", "file", "link to nothing"])
def test_what_make_did_not_build_survives(checkout, folder, kind):
    theirs = checkout.folder / folder
    if kind == "environment":
        (theirs / "bin").mkdir(parents=True)
        (theirs / "pyvenv.cfg").write_text("home = /usr/bin\n")
    elif kind == "file":
        theirs.write_text("mine")
    else:
        theirs.symlink_to("nowhere")
    before = sorted(theirs.rglob("*"))
    done = checkout.make("test")
    assert done.returncode != 0
    assert folder not in checkout.built()
    assert re.search(
        rf"^{re.escape(folder)} is .*(move it away|remove the link {folder}), then try again$",
        done.stderr,
        re.MULTILINE,
    )
    assert os.path.lexists(theirs)
    assert sorted(theirs.rglob("*")) == before
    if kind == "file":
        assert theirs.read_text() == "mine"


def test_a_python_that_is_too_old_or_a_lock_file_that_is_missing_deletes_nothing(ready):
    before = sorted((ready.folder / ".venv").rglob("*"))
    ready.outdate(".venv")
    assert ready.make("test", failing="version_info >= (3, 11)").returncode != 0
    (ready.folder / LOCKS[".venv"]).unlink()
    done = ready.make("test")
    assert done.returncode != 0
    assert f"No rule to make target '{LOCKS['.venv']}'" in done.stderr
    assert sorted((ready.folder / ".venv").rglob("*")) == before


def test_without_a_python_3_11_the_tests_run_without_the_k80s_environment(checkout):
    done = checkout.make("test", failing="ensurepip")
    assert done.returncode == 0
    assert "No Python 3.11 found" in done.stdout
    assert not (checkout.folder / ".venv-k80").exists()
    assert "python -m pytest" in checkout.calls.read_text()
