"""The notes above every table, figure and page."""

import pandas as pd

from histobench.results.announcements import announcements, of_run
from support.frames import cells, run


def test_they_tell_what_a_reader_must_know():
    rows = [
        run(dataset="sim", patches="simulated"),
        run("mobilenet", dataset="small", patches="subset", weights="random"),
        run(dataset="idc-random", split="random split of patches", leaky=True),
        run("b6", dataset="idc-random", split="random split of patches", leaky=True, weights="", collapsed=True),
    ]
    found = announcements(pd.DataFrame(rows), cells(*rows, missing=({"model": "vgg19"},)))
    assert [note.split(".")[0] for note in found] == [
        *("Simulated patches: sim", "Subset of the published patches: small", "Random weights: MOBILENET"),
        *("Leaky split: idc-random (random split of patches)", "Collapsed runs: 1 of 4", "Missing runs: 1 of 5"),
    ]


def test_of_one_run_only_what_holds_for_its_cell_is_told():
    rows = [run(patches="simulated"), run("mobilenet", patches="simulated", weights="random")]
    frame, known = pd.DataFrame(rows), cells(*rows, missing=({"model": "vgg19"},))
    assert [note.split(".")[0] for note in of_run(frame, known, rows[0]["folder"])] == ["Simulated patches: pcam"]
    assert len(of_run(frame, known, rows[1]["folder"])) == 2


def test_runs_of_other_cells_hide_no_gap():
    rows = [run("b6", recipe="timing"), run("vgg19", recipe="timing", collapsed=True)]
    found = announcements(pd.DataFrame(rows), cells(missing=({"model": "b2"}, {"model": "mobilenet"})))
    assert found == ["Missing runs: 2 of 2. They are shown as gaps."]


def test_what_becomes_of_collapsed_runs_is_the_tables_to_say():
    rows = [run(collapsed=True)]
    (note,) = announcements(pd.DataFrame(rows), cells(*rows), collapsed="they count")
    assert note == "Collapsed runs: 1 of 1. They predict a constant; they count."


def test_they_are_silent_where_there_is_nothing_to_say():
    rows = [run(), run("b6", weights="own file"), run("vgg19", weights="", patches="own")]
    out = {"model": "mobilenet", "left_out": True}  # cannot run, so it is not missing
    assert announcements(pd.DataFrame(rows), cells(*rows, missing=(out,))) == []
