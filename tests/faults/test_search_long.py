"""Ten kills of the author's search: no finished trial is lost, none is run twice."""

import random

from support import jobs
from support.processes import finish
from support.searches import Parts, kill, repeated, search_here, start_search, trials, tried
from support.small import features_specification

AUTHOR = {"max_epochs": 10, "factor": 3}
KILLS, TRIALS = 10, 30


def test_ten_kills_of_the_authors_search(prepared_folder, tmp_path):
    parts = Parts(prepared_folder, tmp_path / "features")
    jobs.run("extract", *parts, spec=features_specification("tiny"))
    search_here(parts, tmp_path / "undisturbed", **AUTHOR)
    folder, rng = tmp_path / "search", random.Random(KILLS)
    for number in range(KILLS):
        kill(start_search(parts, folder, **AUTHOR), folder, after=(number + 1) * (TRIALS - 3) // KILLS, rng=rng)
    finish(start_search(parts, folder, **AUTHOR))
    assert [row["status"] for row in trials(folder)] == ["COMPLETED"] * TRIALS
    assert tried(folder) == tried(tmp_path / "undisturbed")
    assert repeated(folder) <= KILLS
    print(f"{repeated(folder)} trials were repeated")
