"""A slide of 40,000 x 30,000 px: in little memory, and killed in between to the same bytes."""

import json
import signal
import sys
import time

import pandas as pd
import pytest

from support.processes import start
from support.slides import export, write_large

JOB = """
import resource, sys
from pathlib import Path
from histobench.scoring import score
score.CHUNK = 512
model, slide, folder = map(Path, sys.argv[1:])
score.score_slide(
    score.Job(model, d4=False, code="c", threads=1, device="cpu"), slide, folder, stride=None, microns_per_pixel=None
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    export(folder / "model", side=96, microns_per_pixel=0.972)
    return folder / "model", write_large(folder / "a.tif", 40_000, 30_000)


def scoring(files, target):
    return start([sys.executable, "-c", JOB, *files, target], target.with_suffix(".log"))


def finish(files, target):
    """Return the peak memory of the job in MiB."""
    assert scoring(files, target).wait() == 0
    return int(target.with_suffix(".log").read_text().split()[-1])


def test_it_is_scored_in_little_memory_and_killed_to_the_same_bytes(files, tmp_path):
    memory = finish(files, tmp_path / "whole")
    about = json.loads((tmp_path / "whole/about.json").read_text())
    assert (about["width"], about["height"]) == (40_000, 30_000)
    assert about["columns"] * about["rows"] > 8000
    small = write_large(tmp_path / "small.tif", 4096, 4096)
    # TensorFlow takes most of it, whatever the slide; level 0 alone would be 3,433 MiB.
    assert memory - finish((files[0], small), tmp_path / "small") < 400
    target = tmp_path / "killed"
    for parts in (1, 3):
        process = scoring(files, target)
        while len(list((target / ".state").glob("part-*"))) < parts:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(files, target)
    for name in ("scores.parquet", "about.json", "overview.jpg"):
        assert (target / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "parts are there; " in (target / ".state/events").read_text()
    assert len(pd.read_parquet(target / "scores.parquet")) == about["scored"]
