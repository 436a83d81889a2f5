"""`sbatch` where SLURM is busy; on a real SLURM in tests/slurm."""

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from support.project import ROOT, program

PATH = ROOT / "workflow" / "bin" / "sbatch"
ARGUMENTS = (
    "--parsable",
    "--job-name",
    "1234",
    "--comment",
    "rule_train_wildcards_a_b",
    "--wrap",
    "python -m snakemake",
)
SCRIPT = """#!/bin/sh
echo "$@" >> {folder}/called
n=$(wc -l < {folder}/called)
if [ "$n" -le {busy} ]; then echo "sbatch: error: {message}" >&2; exit 1; fi
echo 42
"""


@pytest.fixture
def sbatch():
    loader = SourceFileLoader("sbatch", str(PATH))
    module = module_from_spec(spec_from_loader("sbatch", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def submit(sbatch, tmp_path, monkeypatch, capfd):
    """Return a function that submits to an sbatch which is busy at first: exit code, output, seconds waited, tries."""
    pauses: list[float] = []
    monkeypatch.setattr(sbatch.time, "sleep", pauses.append)
    monkeypatch.setenv(sbatch.LOG, str(tmp_path / "logs" / "sbatch.log"))

    def submit(message: str, busy: int, queue: str = "") -> tuple[int, str, list[float], list[str]]:
        env = program(tmp_path / "bin" / "sbatch", SCRIPT.format(folder=tmp_path, busy=busy, message=message))
        program(tmp_path / "bin" / "squeue", f"#!/bin/sh\necho '{queue}'\n")
        # It stands first, as in Snakemake.
        monkeypatch.setenv("PATH", os.pathsep.join((str(PATH.parent), env["PATH"])))
        code = sbatch.main([*ARGUMENTS])
        return code, capfd.readouterr().out, pauses, (tmp_path / "called").read_text().splitlines()

    return submit


@pytest.mark.parametrize(
    "message",
    [
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Resource temporarily unavailable",
        "slurm_persist_conn_open_without_init: failed to open persistent connection to host:localhost:6819",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "QOSMaxSubmitJobPerUserLimit",
        "AssocMaxSubmitJobLimit",
    ],
)
def test_a_busy_slurm_is_waited_for_ever_longer(submit, sbatch, message, tmp_path):
    code, out, pauses, tries = submit(message, busy=3)
    assert (code, out) == (0, "42\n")
    assert tries == [" ".join(sbatch.distinct([*ARGUMENTS], b""))] * 4
    assert pauses == sorted(pauses)
    assert len(pauses) == 3
    assert (tmp_path / "logs" / "sbatch.log").read_text().count(message) == 3


def test_what_will_not_mend_is_passed_on_at_once(submit):
    code, out, pauses, tries = submit("Batch job submission failed: Invalid partition name specified", busy=9)
    assert (code, out, pauses, len(tries)) == (1, "", [], 1)


def test_a_job_that_was_taken_in_spite_of_the_timeout_is_not_submitted_twice(submit, sbatch):
    other, own = (sbatch.distinct([*ARGUMENTS[:-1], wrapped], b"")[4] for wrapped in ("other", ARGUMENTS[-1]))
    assert other.startswith(f"{ARGUMENTS[4]} ")
    queue = f"41 {own}\n77 {other}"
    code, out, pauses, tries = submit("Socket timed out on send/recv operation", busy=9, queue=queue)
    assert (code, out, len(pauses), len(tries)) == (0, "41\n", 1, 1)


def test_patience_ends(submit, sbatch, monkeypatch):
    monkeypatch.setattr(sbatch, "PATIENCE", 1)
    assert submit("Resource temporarily unavailable", busy=9)[0] == 1


def test_it_is_a_program_that_hands_a_script_on(tmp_path):
    env = program(tmp_path / "bin" / "sbatch", "#!/bin/sh\ncat\n")
    env["PATH"] = os.pathsep.join((str(PATH.parent), str(Path(sys.executable).parent), env["PATH"]))
    done = subprocess.run(["sbatch", "/dev/stdin"], input="hello", env=os.environ | env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "hello")
