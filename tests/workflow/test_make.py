"""The environments that make builds. A stub takes the place of Python, so nothing is downloaded."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.project import ROOT, program

# The programs that the Makefile and the stub call. Git is not among them.
PROGRAMS = ("cat", "cksum", "env", "find", "ln", "ls", "mkdir", "readlink", "sh", "touch", "tr")
LOCKS = {".venv": "envs/workflow.lock", ".venv-k80": "envs/tensorflow-k80.lock"}
FOLDERS = pytest.mark.parametrize("folder", LOCKS)

# Writes each call to the file $CALLS, and fails those that contain the words $FAILING. It stands for Python 3.11,
# for pip and for all that pip installs.
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
        program(self.stub, STUB)

    def make_test(self, *arguments: str, failing: str = "", fails: bool = False) -> subprocess.CompletedProcess:
        """Run `make test`, which must fail or not; the stub tells the calls of this run alone, and fails at some."""
        self.calls.write_text("")
        env = {"PATH": str(self.programs), "CALLS": str(self.calls), "STUB": str(self.stub)}
        done = subprocess.run(
            [shutil.which("make"), "test", *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
            env=env | ({"FAILING": failing} if failing else {}),
        )  # fmt: skip
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done

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
    checkout.make_test()
    return checkout


def test_make_builds_both_environments_without_git(checkout):
    assert shutil.which("git", path=checkout.programs) is None
    assert checkout.make_test().stderr == ""
    assert checkout.built() == [".venv", ".venv-k80"]
    calls = checkout.calls.read_text()
    for lock in LOCKS.values():
        assert f"--require-hashes --requirement {lock}\n" in calls
    for call in ("ruff check .", "snakemake --lint", "python -m pytest"):
        assert f"\n{call}" in calls


@FOLDERS
def test_a_newer_date_of_the_lock_file_builds_nothing(ready, folder):
    os.utime(ready.folder / LOCKS[folder])
    ready.make_test()
    assert ready.built() == []


@FOLDERS
@pytest.mark.parametrize("case", ["as it is", "from before make left its mark", "by its own Python"])
def test_an_environment_that_make_built_is_replaced_when_its_lock_file_changes(ready, folder, case):
    before = ready.installed(folder)
    (ready.folder / folder / "bin" / "old").touch()
    if case == "from before make left its mark":
        (ready.folder / folder / "built-by-make").unlink()
    ready.outdate(folder)
    # Its own Python is the one that make finds where the environment is activated.
    ready.make_test(*([f"PYTHON={folder}/bin/python"] if case == "by its own Python" else []))
    assert ready.built() == [folder]
    assert not (ready.folder / folder / "bin" / "old").exists()
    (after,) = ready.installed(folder)
    assert after not in before


@FOLDERS
@pytest.mark.parametrize("step", ["-m venv", "-m pip"])
def test_an_interrupted_install_is_built_again(ready, folder, step):
    ready.outdate(folder)
    ready.make_test(failing=step, fails=True)
    assert ready.installed(folder) == []
    ready.make_test()
    assert ready.built() == [folder]


def test_a_python_may_have_a_space_in_its_path(checkout):
    checkout.stub = checkout.stub.rename(checkout.folder / "a python")
    checkout.make_test(f"PYTHON={checkout.stub}")
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
    done = ready.make_test(fails=outdated)
    assert ready.built() == []
    assert link.readlink() == target
    assert sorted(target.rglob("*")) == before
    if outdated:
        assert f"{folder} is a link to {target}, where other packages are installed than {LOCKS[folder]}" in done.stderr
        assert f"remove the link {folder}" in done.stderr


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
    done = checkout.make_test(fails=True)
    assert folder not in checkout.built()
    said = rf"^{re.escape(folder)} is .*(move it away|remove the link {folder}), then try again$"
    assert re.search(said, done.stderr, re.MULTILINE)
    assert os.path.lexists(theirs)
    assert sorted(theirs.rglob("*")) == before
    if kind == "file":
        assert theirs.read_text() == "mine"


def test_a_python_that_is_too_old_or_a_lock_file_that_is_missing_deletes_nothing(ready):
    before = sorted((ready.folder / ".venv").rglob("*"))
    ready.outdate(".venv")
    ready.make_test(failing="version_info >= (3, 11)", fails=True)
    (ready.folder / LOCKS[".venv"]).unlink()
    assert f"No rule to make target '{LOCKS['.venv']}'" in ready.make_test(fails=True).stderr
    assert sorted((ready.folder / ".venv").rglob("*")) == before


def test_without_a_python_3_11_the_tests_run_without_the_k80s_environment(checkout):
    assert "No Python 3.11 found" in checkout.make_test(failing="ensurepip").stdout
    assert not (checkout.folder / ".venv-k80").exists()
    assert "python -m pytest" in checkout.calls.read_text()
