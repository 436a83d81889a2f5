"""Benchmarks, run as a user would, at a size of seconds: that they run and say what they promise, never how fast."""

import importlib.util
import math
import os
import re
import subprocess
import sys

import pytest

from support.project import ROOT

pytestmark = pytest.mark.slow

# By script: options that make it small, and what it prints that holds a ratio.
BENCHMARKS = {
    "apply.py": (
        ("--width", "2048", "--height", "2048", "--model", "b2", "--threads", "1"),
        (
            r"apply takes (\S+) of the plain script's time",
            r"apply reaches (\S+) of the patches/s of the model alone",
            r"apply takes (\S+) of the plain script's memory",
        ),
    ),
    "audit.py": (
        ("--patches", "60", "120", "--whole", "1000"),
        (
            r"60 patches: .* found (\S+) of 4 copies",
            r"120 patches: .* found (\S+) of 11 copies",
            r"60 patches: the audit takes (\S+) of the plain way's time",
            r"from 60 to 120: (\S+) us and .* for 1,000 at that slope",
        ),
    ),
    "augmentation.py": (
        ("--seconds", "0.1", "--threads", "1"),
        (
            r"d4: .* patches/s; (\S+) times",
            r"d4\+stain: .* patches/s; (\S+) times",
            r"author-b6: .*? patches/s; (\S+) times",
        ),
    ),
    "dry_run.py": (
        ("--seeds", "1", "--rounds", "1"),
        (r"the study takes (\S+) times as long as trivial rules, by job",),
    ),
    "identity.py": (
        ("--files", "100", "--patches", "40"),
        (r"100 files: first look .*, (\S+) of the first's time", r"checks takes (\S+) of the time without"),
    ),
    "epochs.py": (
        ("--cases", "b2", "--scale", "0.0625", "--repeats", "1", "--threads", "1", "--before", "."),
        (r"b2, 64 patches: before \S+ s, after \S+ s, (\S+) of before",),
    ),
    "gpu.py": (
        ("--backend", "tensorflow"),
        (r"`fast` takes (\S+) of the time of plain, paper", r"`fast` takes (\S+) of the time of histobench, paper"),
    ),
    "prepare.py": (
        ("--patches", "80"),
        (r"ours takes (\S+) of the plain script's time", r"ours takes (\S+) of the time without reading ahead"),
    ),
    "reading.py": (
        ("--patches", "40", "--sparse", "--train", "b2"),
        (
            r"first: reading takes (\S+) of the time of mapping",
            r"again, by 128: reading takes (\S+) of the time of mapping",
            r"b2: an epoch of 40 patches in .* s, peak memory (\S+) MiB",
        ),
    ),
    "scale.py": (
        ("--rows", "3000"),
        (
            r"prepare: bookkeeping takes (\S+) of the plain way's time",
            r"opening the training part takes (\S+) of the plain way's time",
            r"the AUC of resamples takes (\S+) of the plain way's time",
        ),
    ),
    "transfer.py": (
        ("--models", "mobilenet", "--patches", "16", "--epochs", "1", "--threads", "1"),
        (
            r"mobilenet: end to end takes (\S+) times as long as on cached features, extraction included",
            r"(\S+) times with the imports; histories equal: True",
        ),
    ),
}


# About half a minute each, for what no user runs: `make test-long` is enough to see that they still do.
LONG = ("apply.py", "audit.py", "epochs.py", "prepare.py", "scale.py", "transfer.py")


def test_every_benchmark_is_run_here():
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert scripts == set(BENCHMARKS)


@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in BENCHMARKS]
)
def test_a_benchmark_runs_and_prints_its_ratios(script, tmp_path):
    options, ratios = BENCHMARKS[script]
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *options],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for ratio in ratios:
        found = re.search(ratio, done.stdout)
        assert found, f"no {ratio!r} in:\n{done.stdout}"
        assert 0 < float(found[1]) < math.inf


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--backend", "torch"), "--backend torch: is not installed here"),
        (("--at-once", "0"), "expected 1 or more"),
        (("--json", "nowhere/gpu.json"), "there is no folder nowhere"),
    ],
)
def test_the_benchmark_of_a_card_refuses_at_once_what_would_fail_after_minutes(options, told):
    if importlib.util.find_spec("torch") and "torch" in options:
        pytest.skip("it is installed")
    command = [sys.executable, "benchmarks/gpu.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
