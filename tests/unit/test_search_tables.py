"""Tables and figures of made-up searches."""

import json

import numpy as np
import pandas as pd
import pytest

from histobench.results import printing
from histobench.results.columns import names
from histobench.results.figures import search as figures
from histobench.results.printing import Table
from histobench.results.tables import performance as of_runs
from histobench.tuning import search_files, search_tables
from support.frames import cells, run
from support.small import SEARCH

PUBLISHED = pd.DataFrame({"format": ["pcam"], "model": ["b2"], "mode": ["full"], "auc": [0.95]})
HYPERBAND, RANDOM = "tuned", "tuned-random"


def trial(number: int, score: float, **changes):
    return (
        {"trial": f"{number:04d}", "configuration": f"{number:04d}", "bracket": 2, "round": 0}
        | {"learning_rate": 10 ** -(number + 2.5), "batch_size": 32 * (number + 1)}
        | {"first_epoch": 1, "last_epoch": 2, "status": "COMPLETED", "score": score, "epochs": 2}
        | {"seconds": 5.0, "training_seconds": 3.0, "validation_seconds": 1.0, "worker": "worker-1", "tries": 1}
        | changes
    )


@pytest.fixture
def found(tmp_path):
    """Hyperband's search of one cell, in which a trial failed and one was repeated, and a random one."""
    folders = []
    of_hyperband = [trial(0, 0.7), trial(1, 0.9, tries=2), trial(2, np.nan, status="FAILED", epochs=0)]
    of_hyperband.append(trial(3, 0.95, configuration="0001", round=1, first_epoch=3, last_epoch=4))
    for recipe, method, rows in (
        (HYPERBAND, "hyperband", of_hyperband),
        (RANDOM, "random", [trial(0, 0.8, last_epoch=4)]),
    ):
        folder = tmp_path / recipe
        folder.mkdir()
        pd.DataFrame(rows).to_csv(folder / search_files.TRIALS, index=False)
        names = {"dataset": "pcam", "model": "b2", "mode": "full", "recipe": recipe, "device": "cpu", "seed": 1}
        about = {
            "specification": {"run": names, "recipe": {"search": SEARCH | {"method": method}}},
            "spent": {"trials": len(rows), "failed": 1, "repeated": 1, "epochs": 6, "seconds": 20.0},
            "best": {"trial": "0003", "score": 0.95, "values": {"learning_rate": 0.001, "batch_size": 64}},
            "workers": ["worker-1"],
        }
        (folder / search_files.ABOUT).write_text(json.dumps(about))
        folders.append(folder)
    return search_tables.read(folders)


@pytest.fixture
def matrix() -> pd.DataFrame:
    rows = [run(), *(run(recipe=recipe, tuned_from="paper") for recipe in (HYPERBAND, RANDOM))]
    waiting = {"model": "vgg19", "recipe": HYPERBAND, "tuned_from": "paper", "gap": "not run yet"}
    return cells(*rows, missing=(waiting,))


def performance() -> pd.DataFrame:
    rows = [
        {"dataset": "pcam", "model": "b2", "model_name": "B2", "mode": "full", "recipe": recipe, "device": "cpu",
         "auc": auc, "auc_low": auc - 0.02, "auc_high": auc + 0.02, "seeds": 2}
        for recipe, auc in (("paper", 0.88), (HYPERBAND, 0.93), (RANDOM, 0.91))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names(of_runs.COLUMNS))


def test_a_search_stands_beside_what_it_is_worth(found, matrix):
    table = search_tables.searches(matrix, [HYPERBAND, RANDOM], found, performance(), PUBLISHED)
    assert list(table.columns) == names(search_tables.COLUMNS)
    hyperband, at_random, waiting = table.to_dict("records")
    counts = [hyperband[name] for name in ("method", "trials", "failed", "repeated")]
    assert counts == ["hyperband", 4, 1, 1]
    assert (hyperband["epochs"], hyperband["search_seconds"], hyperband["best_score"]) == (6, 20.0, 0.95)
    assert (hyperband["learning_rate"], hyperband["batch_size"]) == (0.001, 64)
    assert (hyperband["auc"], hyperband["untuned_auc"], at_random["auc"]) == (0.93, 0.88, 0.91)
    # The paper's was found by Hyperband.
    assert hyperband["published_auc"] == 0.95
    assert np.isnan(at_random["published_auc"])
    assert hyperband["space"] == "learning rate, batch size"
    # One that has not ended has a row all the same.
    assert (waiting["model"], waiting["gap"], waiting["method"]) == ("vgg19", "not run yet", "")
    assert pd.isna(waiting["trials"])
    assert np.isnan(waiting["auc"])


def test_all_trials_the_best_first(found, matrix):
    table = search_tables.trials(matrix, found)
    assert list(table.columns) == names(search_tables.TRIALS)
    assert table["trial"].tolist() == ["0003", "0001", "0000", "0002", "0000"]
    assert table["recipe"].tolist() == [HYPERBAND] * 4 + [RANDOM]
    assert table["trial_seconds"].tolist() == [5.0] * 5


def test_in_print_a_rate_is_no_zero(found, matrix, tmp_path):
    table = search_tables.trials(matrix, found)
    grids = search_tables.trials_in_print(table)
    printing.write(Table("Trials", table, search_tables.TRIALS, grids=grids), tmp_path / "trials")
    text = (tmp_path / "trials.md").read_text()
    assert "0.000316" in text
    assert "3.16e-05" in text
    assert "Dense units" not in text  # was not searched for


def test_print_says_what_was_found_and_what_it_cost_apart(found, matrix, tmp_path):
    table = search_tables.searches(matrix, [HYPERBAND, RANDOM], found, performance(), PUBLISHED)
    grids = search_tables.in_print(table)
    printing.write(Table("Searches", table, search_tables.COLUMNS, grids=grids), tmp_path / "searches")
    worth, values, cost = (tmp_path / "searches.md").read_text().split("\n## ")
    assert "0.930 (0.910–0.950)" in worth
    assert "not run yet" in worth
    assert values.startswith("What was found")
    assert "| hyperband | val_auc" in " ".join(values.split())
    assert cost.startswith("What it cost")


def test_without_a_search_the_tables_are_empty(matrix):
    assert search_tables.trials(matrix, {}).empty
    table = search_tables.searches(matrix, [HYPERBAND], {}, performance(), PUBLISHED)
    assert table["gap"].tolist() == ["", "not run yet"]


def circles(figure):
    axes = figure.axes[0]
    return [(*points.get_offsets()[0], points.get_sizes()[0]) for points in axes.collections]


def test_the_figure_shows_every_trial_that_has_a_score(found, matrix):
    table = search_tables.trials(matrix, found)
    figure = figures.trials(table[table["recipe"] == HYPERBAND])
    drawn = circles(figure)
    some = table[(table["recipe"] == HYPERBAND) & table["score"].notna()]
    expected = zip(some["learning_rate"], some["batch_size"], figures.AREA * some["last_epoch"], strict=True)
    assert sorted(drawn) == sorted(map(tuple, expected))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("Learning rate", "Batch size", "log")
    # The ring is around the best one.
    (ring,) = axes.lines
    best = some.iloc[0]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (best["learning_rate"], best["batch_size"])
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts == ["2 epochs", "4 epochs", "best trial"]


def test_a_search_for_one_number_has_the_score_for_its_other_axis(found, matrix):
    table = search_tables.trials(matrix, found)
    figure = figures.trials(table[table["recipe"] == HYPERBAND].assign(batch_size=pd.NA))
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("Learning rate", "Score")


def test_the_figure_of_no_trials_and_that_of_no_searches_can_be_drawn(matrix):
    figures.trials(search_tables.trials(matrix, {}))
    figures.tuned(
        search_tables.searches(matrix, [HYPERBAND], {}, pd.DataFrame(columns=names(of_runs.COLUMNS)), PUBLISHED)
    )


def test_tuned_stands_beside_untuned_with_intervals(found, matrix):
    figure = figures.tuned(search_tables.searches(matrix, [HYPERBAND, RANDOM], found, performance(), PUBLISHED))
    axes = figure.axes[0]
    points = {
        each.get_label(): each.get_offsets()[:, 0].tolist() for each in axes.collections if each.get_label()[0] != "_"
    }
    assert points == {"untuned": [0.88], "hyperband": [0.93], "random": [0.91]}
    segments = [
        segment[:, 0].tolist()
        for each in axes.collections
        if hasattr(each, "get_segments")
        for segment in each.get_segments()
    ]
    assert segments == [pytest.approx([auc - 0.02, auc + 0.02]) for auc in (0.88, 0.93, 0.91)]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "untuned", "tuned by Hyperband", "tuned by random search",
    ]  # fmt: skip
