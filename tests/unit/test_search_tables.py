"""Tables and figures of made-up searches."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from histobench.core.files import write_sealed
from histobench.results import printing
from histobench.results.columns import names
from histobench.results.figures import search as figures
from histobench.results.printing import Table
from histobench.results.tables.performance import read
from histobench.tuning import search_files, search_tables
from support.frames import PUBLISHED, cells, performances, run
from support.small import SEARCH

HYPERBAND, RANDOM = "tuned", "tuned-random"
AUCS = {HYPERBAND: 0.93, RANDOM: 0.91}
RUNS = [run(auc=0.88), *(run(recipe=recipe, tuned_from="paper", auc=auc) for recipe, auc in AUCS.items())]
WAITING = {"model": "vgg19", "recipe": HYPERBAND, "tuned_from": "paper", "gap": "not run yet"}
CELLS, PERFORMANCE = cells(*RUNS, missing=(WAITING,)), performances(*RUNS, missing=(WAITING,))
INTERVALS = PERFORMANCE[["auc_low", "auc_high"]].to_numpy()


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
    of_hyperband = [trial(0, 0.7), trial(1, 0.9, tries=2), trial(2, np.nan, status="FAILED", epochs=0)]
    of_hyperband.append(trial(3, 0.95, configuration="0001", round=1, first_epoch=3, last_epoch=4))
    at_random = [trial(0, 0.8, last_epoch=4)]
    for recipe, method, rows in ((HYPERBAND, "hyperband", of_hyperband), (RANDOM, "random", at_random)):
        folder = tmp_path / recipe
        folder.mkdir()
        pd.DataFrame(rows).to_csv(folder / search_files.TRIALS, index=False)
        names = {"dataset": "pcam", "model": "b2", "mode": "full", "recipe": recipe, "device": "cpu", "seed": 1}
        about = {
            "specification": {"run": names, "recipe": {"search": SEARCH | {"method": method}}},
            "spent": {"trials": len(rows), "failed": 1, "diverged": 2, "repeated": 1, "epochs": 6, "seconds": 20.0},
            "best": {"trial": "0003", "score": 0.95, "values": {"learning_rate": 0.001, "batch_size": 64}},
            "workers": ["worker-1"],
        }
        write_sealed(folder / search_files.ABOUT, about)
    return search_tables.read([tmp_path / HYPERBAND, tmp_path / RANDOM])


@pytest.fixture
def searches(found) -> pd.DataFrame:
    """The table of searches, each with the AUC of its recipe."""
    return search_tables.searches(CELLS, [HYPERBAND, RANDOM], found, PERFORMANCE, PUBLISHED)


@pytest.fixture
def trials(found) -> pd.DataFrame:
    """The table of all trials."""
    return search_tables.trials(CELLS, found)


def test_a_search_stands_beside_what_it_is_worth(searches):
    assert list(searches.columns) == names(search_tables.COLUMNS)
    hyperband, at_random, waiting = searches.to_dict("records")
    counts = [hyperband[name] for name in ("method", "trials", "failed", "repeated")]
    assert counts == ["hyperband", 4, 1, 1]
    assert (hyperband["epochs"], hyperband["search_seconds"], hyperband["best_score"]) == (6, 20.0, 0.95)
    assert (hyperband["learning_rate"], hyperband["batch_size"]) == (0.001, 64)
    assert (hyperband["auc"], hyperband["untuned_auc"], at_random["auc"]) == (0.93, 0.88, 0.91)
    # The paper's was found by Hyperband.
    assert hyperband["published_auc"] == 0.85
    assert np.isnan(at_random["published_auc"])
    assert hyperband["space"] == "learning rate, batch size"
    # One that has not ended has a row all the same.
    assert (waiting["model"], waiting["gap"], waiting["method"]) == ("vgg19", "not run yet", "")
    assert pd.isna(waiting["trials"])
    assert np.isnan(waiting["auc"])


def test_all_trials_the_best_first(trials):
    assert list(trials.columns) == names(search_tables.TRIALS)
    assert trials["trial"].tolist() == ["0003", "0001", "0000", "0002", "0000"]
    assert trials["recipe"].tolist() == [HYPERBAND] * 4 + [RANDOM]
    assert trials["trial_seconds"].tolist() == [5.0] * 5


def in_print(table, columns, grids):
    return printing.markdown(printing.printed(Table("A table", table, columns, grids=grids), "table"))


def test_in_print_a_rate_is_no_zero(trials):
    text = in_print(trials, search_tables.TRIALS, search_tables.trials_in_print(trials))
    assert "0.000316" in text
    assert "3.16e-05" in text
    assert "Dense units" not in text  # was not searched for


def test_print_says_what_was_found_and_what_it_cost_apart(searches):
    text = in_print(searches, search_tables.COLUMNS, search_tables.in_print(searches))
    worth, values, cost = text.split("\n## ")
    low, high = INTERVALS[1]
    assert f"0.930 ({low:.3f}–{high:.3f})" in worth
    assert "not run yet" in worth
    assert values.startswith("What was found")
    assert "| hyperband | val_auc" in " ".join(values.split())
    assert cost.startswith("What it cost")


def test_without_a_search_the_tables_are_empty_and_their_figures_can_be_drawn():
    trials = search_tables.trials(CELLS, {})
    searches = search_tables.searches(CELLS, [HYPERBAND], {}, read([]), PUBLISHED)
    assert trials.empty
    assert searches["gap"].tolist() == ["", "not run yet"]
    figures.trials(trials)
    figures.tuned(searches)


def test_the_figure_shows_every_trial_that_has_a_score(trials):
    of_hyperband = trials[trials["recipe"] == HYPERBAND]
    figure = figures.trials(of_hyperband)
    axes = figure.axes[0]
    drawn = [(*points.get_offsets()[0], points.get_sizes()[0]) for points in axes.collections]
    some = of_hyperband[of_hyperband["score"].notna()]
    expected = zip(some["learning_rate"], some["batch_size"], figures.AREA * some["last_epoch"], strict=True)
    assert sorted(drawn) == sorted(expected)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("Learning rate", "Batch size", "log")
    # The ring is around the best one.
    (ring,) = axes.lines
    best = some.iloc[0]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (best["learning_rate"], best["batch_size"])
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts == ["2 epochs", "4 epochs", "best trial"]
    # One that diverged is a cross at its place, and does not count among the scores.
    diverged = of_hyperband.assign(status=["DIVERGED", *of_hyperband["status"][1:]])
    axes = figures.trials(diverged).axes[0]
    cross, ring = axes.lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (best["learning_rate"], best["batch_size"])
    assert len(axes.collections) == len(drawn) - 1
    assert ring.get_xdata()[0] == some.iloc[1]["learning_rate"]
    # Of a search for one number the score is the other axis.
    axes = figures.trials(of_hyperband.assign(batch_size=pd.NA)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Learning rate", "Score")


def test_tuned_stands_beside_untuned_with_intervals(searches):
    figure = figures.tuned(searches)
    axes = figure.axes[0]
    points = {
        each.get_label(): each.get_offsets()[:, 0].tolist() for each in axes.collections if each.get_label()[0] != "_"
    }
    assert points == {"untuned": [0.88], "hyperband": [0.93], "random": [0.91]}
    bars = np.concatenate([each.get_segments() for each in axes.collections if isinstance(each, LineCollection)])
    np.testing.assert_allclose(bars[:, :, 0], INTERVALS[:3])
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "untuned", "tuned by Hyperband", "tuned by random search",
    ]  # fmt: skip
