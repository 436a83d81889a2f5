"""The environments that make builds, and what it does with them.

A stub takes the place of Python and of all that pip installs, so nothing is downloaded. The Python of the tests runs
`envs/build.py`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT, make, program

# The programs that the Makefile and the stub call. Git is not among them.
PROGRAMS = ("awk", "cksum", "env", "ln", "mkdir", "readlink", "sh", "sleep", "touch", "tr")
LOCKS = {".venv": "envs/workflow.lock", ".venv-k80": "envs/tensorflow-k80.lock"}
FOLDERS = pytest.mark.parametrize("folder", LOCKS)

# Writes each call to the file $CALLS, and fails those that contain the words $FAILING. It stands for Python 3.11, for
# pip, which does $IN_PIP, and for all that pip installs.
STUB = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "$*" in *"${FAILING:-nothing}"*) echo "stub: failing" >&2; exit 1 ;; esac
case "$1 $2" in
envs/build.py*) exec "$REAL_PYTHON" -IS -c "$AS_STUB" "$@" ;;
"-m venv") mkdir -p "$3/bin"; for name in python ruff mypy snakefmt snakemake; do ln -s "$STUB" "$3/bin/$name"; done ;;
"-m pip") eval "$IN_PIP" ;;
"-m histobench"*) echo "caches: $XDG_CACHE_HOME, $MPLCONFIGDIR" ;;
esac
"""
# How the stub runs a script of the project: as one whose Python is the stub.
AS_STUB = """
import os, runpy, sys
sys.executable = os.environ["STUB"]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Kills that Python before its $KILL_AT-th change of a file or start of a process.
KILLED = """
import os, sys
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.utime", "subprocess.Popen"}
changes = 0
def count(event, arguments):
    global changes
    if event in CHANGES or event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT:
        changes += 1
        if changes == int(os.environ["KILL_AT"]):
            os._exit(9)
sys.addaudithook(count)
"""


class Checkout:
    """A folder with the Makefile and the lock files, where make finds nothing but `PROGRAMS` and the stub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs, self.calls = folder / "my project", folder / "programs", folder / "calls"
        (self.folder / "envs").mkdir(parents=True)
        for name in ("Makefile", "envs/build.py", *LOCKS.values()):
            shutil.copy(ROOT / name, self.folder / name)
        self.programs.mkdir()
        for name in PROGRAMS:
            (self.programs / name).symlink_to(shutil.which(name))
        self.stub = self.programs / "python3"
        program(self.stub, STUB)

    def start(self, target: str, *arguments: str, **env: str) -> subprocess.Popen:
        """Start make. `env`: of the stub, or for make."""
        return subprocess.Popen(
            [shutil.which("make"), target, *arguments], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": str(self.programs), "CALLS": str(self.calls), "STUB": str(self.stub), "AS_STUB": AS_STUB,
                 "REAL_PYTHON": sys.executable} | env,
        )  # fmt: skip

    def make(self, target: str, *arguments: str, fails: bool = False, **env: str) -> subprocess.CompletedProcess:
        """Run make, which must fail or not; the stub tells the calls of this run alone."""
        self.calls.write_text("")
        process = self.start(target, *arguments, **env)
        done = subprocess.CompletedProcess(arguments, 0, *process.communicate(timeout=100))
        assert bool(process.returncode) == fails, done.stdout + done.stderr
        return done

    def make_test(self, *arguments: str, failing: str = "", fails: bool = False) -> subprocess.CompletedProcess:
        """Run `make test`; the stub fails at some calls."""
        return self.make("test", *arguments, fails=fails, **({"FAILING": failing} if failing else {}))

    def built(self) -> list[str]:
        """Return the links for which the last run of make built an environment."""
        folders = [line.split()[-1] for line in self.calls.read_text().splitlines() if " -m venv " in line]
        stems = {Path(lock).stem: folder for folder, lock in LOCKS.items()}
        return [stems[re.fullmatch(r"\.venvs/([a-z0-9-]+?)-\d+-\d+", folder)[1]] for folder in folders]

    def installed(self, folder: str) -> list[Path]:
        return list((self.folder / folder).glob("installed-*"))

    def outdate(self, folder: str) -> None:
        with (self.folder / LOCKS[folder]).open("a") as file:
            file.write("# another line\n")

    def age(self, folder: str, mark: str) -> None:
        """Let an environment be one of an older make: a folder, with that make's mark."""
        link = self.folder / folder
        target = self.folder / link.readlink()
        link.unlink()
        target.rename(link)
        if mark == "built-by-make":
            for path in self.installed(folder):
                path.rename(link / mark)
        assert list(link.glob(mark))

    def lend(self, folder: str) -> Path:
        """Let an environment be that of another project; return where it lies."""
        link, target = self.folder / folder, self.folder.parent / "theirs"
        (self.folder / link.readlink()).rename(target)
        link.unlink()
        link.symlink_to(target)
        return target

    def remove_python(self, folder: str) -> None:
        path = self.folder / folder / "bin" / "python"
        path.unlink()
        path.symlink_to("/nowhere/python")

    def state(self) -> dict[str, str]:
        """Return all paths of the environments, with what links lead to."""
        paths = [path for start in self.folder.glob(".venv*") for path in (start, *start.rglob("*"))]
        return {str(path): str(path.readlink()) if path.is_symlink() else "" for path in paths}


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
@pytest.mark.parametrize("case", ["as it is", "a folder built-by-make", "a folder installed-*", "by its own Python"])
def test_an_environment_that_make_built_is_replaced_when_its_lock_file_changes(ready, folder, case):
    before = ready.installed(folder)
    if case.startswith("a folder "):
        ready.age(folder, case.split()[-1])
    (ready.folder / folder / "bin" / "old").touch()
    ready.outdate(folder)
    # Its own Python is the one that make finds where the environment is activated.
    ready.make_test(*([f"PYTHON={folder}/bin/python"] if case == "by its own Python" else []))
    assert ready.built() == [folder]
    assert not (ready.folder / folder / "bin" / "old").exists()
    (after,) = ready.installed(folder)
    assert after not in before


@FOLDERS
def test_the_environment_before_is_kept_and_no_earlier_one(ready, folder):
    """For a study that is running in it, and for whoever goes back."""
    stem = Path(LOCKS[folder]).stem
    texts, used = [], []
    for _ in range(4):
        texts.append((ready.folder / LOCKS[folder]).read_text())
        ready.make_test()
        used.append((ready.folder / folder).readlink())
        assert {path.name for path in ready.folder.glob(f".venvs/{stem}-*")} == {path.name for path in used[-2:]}
        ready.outdate(folder)
    (ready.folder / LOCKS[folder]).write_text(texts[-2])
    ready.make_test()
    assert ready.built() == []
    assert (ready.folder / folder).readlink() == used[-2]


def test_where_the_environments_lie_behind_a_link_none_is_deleted(ready):
    """They may be those of several clones."""
    target = (ready.folder / ".venvs").rename(ready.folder.parent / "theirs")
    (ready.folder / ".venvs").symlink_to(target)
    for number in range(2, 5):
        ready.outdate(".venv")
        ready.make_test()
        assert len(list(target.glob("workflow-*"))) == number


@FOLDERS
@pytest.mark.parametrize("step", ["-m venv", "-m pip"])
@pytest.mark.parametrize("before", ["none", "link", "folder"])
def test_a_failed_install_leaves_what_was_there(ready, folder, step, before):
    """As it does offline."""
    if before == "none":
        shutil.rmtree(ready.folder / (ready.folder / folder).readlink())
        (ready.folder / folder).unlink()
    elif before == "folder":
        ready.age(folder, "built-by-make")
    ready.outdate(folder)
    state = ready.state()
    said = ready.make_test(failing=step, fails=True).stderr
    assert "could not be built, for the reason above. What was there before is as it was." in said
    assert ready.state() == state
    ready.make_test()
    assert ready.built() == [folder]
    assert ready.installed(folder)


@pytest.mark.parametrize("before", ["none", "link", "folder"])
def test_wherever_a_build_is_killed_what_was_there_serves_and_the_next_finishes(ready, before, tmp_path):
    link = ready.folder / ".venv"
    if before == "folder":
        ready.age(".venv", "built-by-make")
    elif before != "link":
        link.unlink()
    ready.outdate(".venv")
    if before == "none":
        (ready.folder / ".venvs/workflow-half-built").mkdir()
    start = shutil.copytree(ready.folder, tmp_path / "start", symlinks=True)
    without, killed = 0, 0
    while True:
        shutil.rmtree(ready.folder)
        shutil.copytree(start, ready.folder, symlinks=True)
        process = ready.start("install", AS_STUB=KILLED + AS_STUB, KILL_AT=str(killed + 1))
        process.communicate(timeout=100)
        if not process.returncode:
            break
        killed += 1
        serves = (link / "bin/python").exists()
        without += not serves
        for folder in ready.folder.glob(".venvs/workflow-*"):
            assert not list(folder.glob("installed-*")) or (folder / "bin/python").exists()
        ready.make("install")
        assert len(ready.installed(".venv")) == 1
        assert link.readlink().parent == Path(".venvs")
        assert (link / "bin/python").exists()
    assert killed > 6
    # A folder of an older make cannot be exchanged for a link in one step: once it has just been moved aside, or is
    # about to be followed by the link.
    assert without <= {"link": 0, "folder": 3}.get(before, killed)


def test_two_makes_at_once_build_one_environment(checkout):
    both = [checkout.start("install", IN_PIP="sleep 1") for _ in range(2)]
    said = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert checkout.built() == [".venv"]


def test_what_a_killed_make_has_left_at_work_is_waited_for(checkout):
    """Its pip still writes into the folder."""
    checkout.make("install", fails=True, IN_PIP='kill -9 $PPID; sleep 1; touch "${0%/*}/late" "$CALLS.late"')
    checkout.make("install")
    assert checkout.calls.with_suffix(".late").exists()
    assert checkout.installed(".venv")
    assert not (checkout.folder / ".venv/bin/late").exists()


@FOLDERS
def test_an_environment_whose_python_is_gone_is_built_again(ready, folder):
    """And is what it was where that fails: its Python may be back tomorrow."""
    ready.remove_python(folder)
    state = ready.state()
    ready.make_test(failing="-m pip", fails=True)
    assert ready.state() == state
    ready.make_test()
    assert ready.built() == [folder]


OUT_OF_DATE = "Warning: .venv is not what envs/workflow.lock asks for; make install builds that.\n"
NO_ENVIRONMENT = "No environment to look with: run make install\n"


@pytest.mark.parametrize(
    ("environment", "message", "fails"),
    [
        ("up to date", "", False),
        ("newer date", "", False),
        ("out of date", OUT_OF_DATE, False),
        ("an older make's", OUT_OF_DATE, False),
        ("out of date behind a link", OUT_OF_DATE, False),
        ("none", NO_ENVIRONMENT, True),
        ("its Python gone", NO_ENVIRONMENT, True),
    ],
)
def test_looking_neither_builds_nor_deletes(ready, environment, message, fails):
    if environment == "newer date":
        os.utime(ready.folder / "envs/workflow.lock")
    elif environment == "none":
        (ready.folder / ".venv").unlink()
        shutil.rmtree(ready.folder / ".venvs")
    elif environment == "its Python gone":
        ready.remove_python(".venv")
    elif environment == "an older make's":
        ready.age(".venv", "built-by-make")
    elif environment == "out of date behind a link":
        ready.lend(".venv")
    if environment.startswith("out of date"):
        ready.outdate(".venv")
    state = ready.state()
    for target in ("help", "install-profile"):
        assert ready.make(target, HOME=str(ready.folder.parent)).stderr == ""
        assert ready.calls.read_text() == ""
    for target in ("status", "plan"):
        assert ready.make(target, fails=fails).stderr.partition("make: ***")[0] == message
        calls = ready.calls.read_text()
        assert calls == "" if fails else re.fullmatch(rf"python -m histobench\.core\.{target} ?\n", calls)
    assert ready.state() == state


HOMES = {"not set": {}, "no folder": {"HOME": "/dev/null"}, "cannot be made": {"HOME": "/proc/nowhere"}}


@pytest.mark.parametrize("home", [*HOMES, "a cache of its own that cannot be made"])
def test_where_the_home_folder_cannot_be_written_caches_lie_in_the_project(ready, home, tmp_path):
    env = HOMES.get(home, {"HOME": str(tmp_path), "XDG_CACHE_HOME": "/dev/null/cache"})
    cache = ready.folder / ".snakemake/cache"
    assert ready.make("status", **env).stdout == f"caches: {cache}, {cache}/matplotlib\n"


def test_where_it_can_be_written_caches_lie_where_they_always_do(ready, tmp_path):
    assert ready.make("status", HOME=str(tmp_path)).stdout == "caches: , \n"
    theirs = str(tmp_path / "theirs")
    assert ready.make("status", HOME="/dev/null", XDG_CACHE_HOME=theirs).stdout == f"caches: {theirs}, \n"


def test_without_a_home_folder_the_profile_is_not_installed_and_make_says_what_to_do(ready):
    done = ready.make("install-profile", fails=True, HOME="/dev/null")
    assert "/dev/null" in done.stderr
    assert "snakemake --profile profiles/slurm" in done.stderr


def test_a_python_may_have_a_space_in_its_path(checkout):
    checkout.stub = checkout.stub.rename(checkout.folder / "a python")
    checkout.make_test(f"PYTHON={checkout.stub}")
    assert checkout.built() == [".venv", ".venv-k80"]


@FOLDERS
@pytest.mark.parametrize("outdated", [False, True])
def test_behind_a_link_nothing_changes(ready, folder, outdated):
    """An environment of another project is used where it has what the lock file asks for."""
    link, target = ready.folder / folder, ready.lend(folder)
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
@pytest.mark.parametrize("kind", ["environment", "file", "link to nothing", "link to one of theirs in .venvs"])
def test_what_make_did_not_build_survives(checkout, folder, kind):
    theirs = checkout.folder / folder
    if kind == "environment":
        (theirs / "bin").mkdir(parents=True)
        (theirs / "pyvenv.cfg").write_text("home = /usr/bin\n")
    elif kind == "file":
        theirs.write_text("mine")
    elif kind == "link to one of theirs in .venvs":
        (checkout.folder / ".venvs/mine/bin").mkdir(parents=True)
        theirs.symlink_to(".venvs/mine")
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
    ready.make_test(failing="(3, 11) <= sys.version_info", fails=True)
    (ready.folder / LOCKS[".venv"]).unlink()
    assert f"No rule to make target '{LOCKS['.venv']}'" in ready.make_test(fails=True).stderr
    assert sorted((ready.folder / ".venv").rglob("*")) == before


def test_without_a_python_3_11_the_tests_run_without_the_k80s_environment(checkout):
    assert "No Python 3.11 found" in checkout.make_test(failing="ensurepip").stdout
    assert not (checkout.folder / ".venv-k80").exists()
    assert "python -m pytest" in checkout.calls.read_text()


def test_a_demo_that_fails_shows_the_message_of_the_job_that_failed(project):
    with (project / "workflow/scripts/histobench/core/simulation.py").open("a") as file:
        file.write('\n\ndef write_pcam(*_, **__):\n    raise HistobenchError("no slide to be had")\n')
    output = make(project, "demo", "results/data/pcam-simulated/manifest.json", fails=True)
    assert "ERROR no slide to be had\n" in output
    assert "make: *** [" in output.partition("no slide to be had")[2]
