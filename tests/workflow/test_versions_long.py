"""The oldest Snakemake and the locked one, under each Python: they plan the same, and find nothing to lint.

Each version is installed from the package registry, with the plugin for SLURM and nothing else: planning needs no more.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from support.project import ROOT, copy_project, jobs, snakemake

OLDEST = re.search(r'^min_version\("(.*)"\)', (ROOT / "workflow/Snakefile").read_text(), re.MULTILINE)[1]
LOCK = ROOT / "envs/workflow.lock"
PINS = dict(re.findall(r"^(snakemake[a-z-]*)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE))
PLUGIN = f"snakemake-executor-plugin-slurm=={PINS['snakemake-executor-plugin-slurm']}"
LATER_PYTHONS = ("3.12", "3.13")


def interpreter(version: str) -> str:
    """Return a Python of this version; a program of this name on the path may be one of pyenv's that does not work."""
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for place in map(str, filter(None, places)):
        asked = subprocess.run([place, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
        if asked.stdout.startswith(f"{version}."):
            return place
    return pytest.skip(f"no Python {version} found")


def uv(*arguments: str | Path) -> str:
    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    if "error sending request" in done.stderr or "network was disabled" in done.stderr:
        pytest.skip(f"the package registry cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stderr


def environment(folder: Path, python: str, *packages: str) -> Path:
    """Return the Python of a new environment with these packages."""
    uv("venv", "--python", interpreter(python), folder)
    if packages:
        uv("pip", "install", "--python", folder / "bin/python", *packages)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The jobs that the Snakemake of the tests plans."""
    return jobs(snakemake(copy_project(tmp_path_factory.mktemp("planned") / "clone"), "-n"))


@pytest.mark.parametrize("python", ["3.11", *LATER_PYTHONS])
@pytest.mark.parametrize("version", [OLDEST, PINS["snakemake"]])
def test_the_oldest_and_the_locked_snakemake_plan_and_lint(project, planned, tmp_path, python, version):
    path = environment(tmp_path / "environment", python, f"snakemake=={version}", PLUGIN)
    for profile in ((), ("--profile", "profiles/slurm"), ("--profile", "profiles/slurm-gres")):
        assert jobs(snakemake(project, "-n", *profile, python=path)) == planned
    assert "Congratulations" in snakemake(project, "--lint", python=path)


def test_an_older_snakemake_is_told(project, tmp_path):
    path = environment(tmp_path / "environment", "3.11", "snakemake==9.4.1", PLUGIN)
    output = snakemake(project, "-n", python=path, fails=True)
    assert f"Expecting Snakemake version {OLDEST} or higher (you are currently using 9.4.1)" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("python", LATER_PYTHONS)
def test_what_is_locked_can_be_installed_under_later_pythons(tmp_path, python):
    """Every package is published for it; but for one, which is plain Python, as a wheel."""
    path = environment(tmp_path / "environment", python)
    wheels = ("--only-binary", ":all:", "--no-binary", "connection-pool")
    said = uv("pip", "install", "--dry-run", *wheels, "--require-hashes", "--requirement", LOCK, "--python", path)
    assert f"+ snakemake=={PINS['snakemake']}\n" in said
