"""What `make status` says of searches; what it says of a study at work is tested on one, in tests/workflow."""

import json

import pytest

from histobench.core import status
from histobench.core.lease import HolderLookup, held
from histobench.tuning import search_files
from support.paper import study

SEARCH = "results/paper/searches/pcam/vgg19/full/tuned/a100"


def lines() -> list[str]:
    return status._searches(study(), HolderLookup())[1:]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "<1 s"), (1.51, "2 s"), (119.4, "119 s"), (120, "2.0 min"), (7200, "2.0 h"), (40 * 3600, "40 h")],
)
def test_an_estimate_has_no_more_digits_than_it_is_good_for(seconds, said):
    assert status._duration(seconds) == said


def test_a_search_at_work_tells_how_far_it_is_and_who_is_at_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lines() == ["Searches: 0 of 2 ended"]
    folder = tmp_path / SEARCH
    for number in range(3):
        trial = folder / ".state" / search_files.PROJECT / f"trial_{number:04d}"
        trial.mkdir(parents=True)
        if number < 2:  # the last one has not ended
            (trial / search_files.TRIAL).write_text(json.dumps({}))
    assert lines() == ["Searches: 0 of 2 ended"]
    with held(folder / search_files.worker_folder("worker-1")):
        (_, told) = lines()
    assert told.startswith("  pcam/vgg19/full/tuned/a100: 2 of 30 trials; pid ")
    (folder / search_files.RECIPE).write_text("batch_size: 64")
    assert lines() == ["Searches: 1 of 2 ended"]
