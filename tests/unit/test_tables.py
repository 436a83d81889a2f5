"""Tables: averages over seeds, intervals, collapsed runs, and what a reader sees."""

import re

import numpy as np
import pandas as pd
import pytest

from histobench.errors import HistobenchError
from histobench.results.metrics import evaluate
from histobench.results.tables import notes, performance, to_markdown, write


def run(model="B2", seed=1, auc=0.9, **changes):
    """Return one row of runs.csv."""
    row = {
        "dataset": "pcam",
        "model": model,
        "mode": "full",
        "recipe": "paper",
        "device": "cpu",
        "seed": seed,
        "name": model,
        "split": "published",
        "leaky": False,
        "patches": "published",
        "weights": "ImageNet",
        "transfer": "",
        "n_train": 262144,
        "n_valid": 32768,
        "n_test": 32768,
        "epochs": 15,
        "best_epoch": 7,
        "collapsed": False,
        "loss": 1 - auc,
        "accuracy": auc - 0.05,
        "balanced_accuracy": auc - 0.06,
        "auc": auc,
        "f1": auc - 0.07,
        "sensitivity_at_95_specificity": 0.6,
        "specificity_at_95_sensitivity": 0.5,
        "interval_unit": "group",
        "floor_auc": 0.79,
        "train_seconds": 100.0,
    } | changes
    cell = [row[key] for key in ("dataset", "model", "mode", "recipe", "device")]
    return row | {"folder": f"results/paper/runs/{'/'.join(cell)}/seed-{seed}"}


def study(*rows, spread=0.01):
    """Return runs and made-up replicates around their AUCs."""
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(rows)
    replicates = {
        row["folder"]: pd.DataFrame({"replicate": range(200), "auc": row["auc"] + spread * rng.normal(size=200)})
        for row in rows
    }
    return runs, replicates


def written(tmp_path, rows, announcements=(), title="Performance"):
    """Return the texts of the three files by suffix."""
    write(performance(*study(*rows)), tmp_path / "performance", title, list(announcements))
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["performance.csv", "performance.html", "performance.md"]
    return {file.suffix: file.read_text(encoding="utf-8") for file in files}


def test_one_row_per_cell_in_the_order_of_the_runs():
    runs, replicates = study(
        run("VGG19"), run("B2"), run("VGG19", seed=2), run("B2", mode="TL"), run("B2", device="a100"), run("B2", seed=2)
    )
    table = performance(runs, replicates)
    assert list(zip(table["model"], table["mode"], table["device"], table["seeds"], strict=True)) == [
        ("VGG19", "full", "cpu", 2),
        ("B2", "full", "cpu", 2),
        ("B2", "TL", "cpu", 1),
        ("B2", "full", "a100", 1),
    ]
    assert table["runs"][1].split() == [runs["folder"][1], runs["folder"][5]]


def test_seeds_are_averaged():
    runs, replicates = study(run(seed=1, auc=0.8), run(seed=2, auc=0.9))
    row = performance(runs, replicates).iloc[0]
    assert row["auc"] == pytest.approx(0.85)
    assert row["loss"] == pytest.approx(0.15)
    assert row["accuracy"] == pytest.approx(0.8)
    assert row["balanced_accuracy"] == pytest.approx(0.79)
    first, second = (replicates[folder]["auc"].to_numpy() for folder in runs["folder"])
    assert [row["auc_low"], row["auc_high"]] == pytest.approx(list(np.percentile((first + second) / 2, [2.5, 97.5])))


def test_replicates_are_paired_by_number_not_by_place():
    runs, replicates = study(run(seed=1), run(seed=2))
    expected = performance(runs, replicates)
    last = runs["folder"].iloc[-1]
    replicates[last] = replicates[last].iloc[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(performance(runs, replicates), expected)


def test_interval_of_a_single_seed_is_the_runs_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    half = {"label": labels, "score": 1 / (1 + np.exp(-rng.normal(labels))), "group": ""}
    ids = [f"{i:03d}" for i in range(200)]
    predictions = pd.concat([pd.DataFrame({"split": split, "patch_id": ids} | half) for split in ("valid", "test")])
    metrics, replicates = evaluate(predictions, resamples=100)
    row = run(auc=metrics["test"]["auc"], interval_unit=metrics["intervals"]["unit"])
    table = performance(pd.DataFrame([row]), {row["folder"]: replicates})
    assert [table["auc_low"][0], table["auc_high"][0]] == metrics["intervals"]["auc"]
    assert table["interval"][0] == "bootstrap over patches, ignores clustering"


def test_collapsed_seeds_are_counted_not_averaged():
    rows = [run(seed=1, auc=0.9), run(seed=2, auc=0.5, collapsed=True), run(seed=3, auc=0.8)]
    runs, replicates = study(*rows)
    row = performance(runs, replicates).iloc[0]
    assert row["auc"] == pytest.approx(0.85)
    assert (row["seeds"], row["collapsed"]) == (2, 1)
    without = performance(runs[~runs["collapsed"]], replicates).iloc[0]
    assert (row["auc_low"], row["auc_high"]) == (without["auc_low"], without["auc_high"])
    assert row["runs"].split() == [each["folder"] for each in rows]


def test_a_cell_without_a_seed_left_is_empty():
    runs, replicates = study(run(auc=0.5, collapsed=True), run(seed=2, auc=0.5, collapsed=True))
    row = performance(runs, replicates).iloc[0]
    assert row[["loss", "accuracy", "balanced_accuracy", "auc", "auc_low", "auc_high"]].isna().all()
    assert (row["seeds"], row["collapsed"], row["below_floor"]) == (0, 2, False)


@pytest.mark.parametrize(("auc", "below"), [(0.78, True), (0.79, True), (0.80, False)])
def test_below_floor(auc, below):
    assert performance(*study(run(auc=auc)))["below_floor"][0] == below


def test_an_unknown_floor_is_not_a_floor():
    assert not performance(*study(run(auc=0.3, floor_auc=np.nan)))["below_floor"][0]


def test_weights_read_back_as_missing_are_empty():
    assert performance(*study(run(weights=np.nan)))["weights"][0] == ""


def test_missing_replicates_are_named():
    runs, replicates = study(run(), run(seed=2))
    del replicates[runs["folder"][1]]
    with pytest.raises(HistobenchError, match=re.escape(runs["folder"][1])):
        performance(runs, replicates)


def test_rows_of_a_data_set_stand_together():
    table = performance(*study(run("B6"), run("B2", dataset="idc"), run("VGG19"), run("B6", dataset="idc")))
    rows = list(zip(table["data_set"], table["model"], strict=True))
    assert rows == [("pcam", "B6"), ("pcam", "VGG19"), ("idc", "B2"), ("idc", "B6")]


def test_csv_round_trips(tmp_path):
    table = performance(*study(run(auc=1 / 3), run("B6", weights=""), run("MN", collapsed=True)))
    write(table, tmp_path / "performance", "Performance", [])
    again = pd.read_csv(tmp_path / "performance.csv", dtype={"weights": str, "transfer": str})
    again = again.fillna({"weights": "", "transfer": ""})
    pd.testing.assert_frame_equal(again, table, check_exact=True, check_dtype=False)


def test_markdown(tmp_path):
    text = written(
        tmp_path,
        [
            run("DN121", auc=0.91234),
            run("x|y <i>", auc=0.7),
            run("MN", auc=0.5, collapsed=True),
            run("MN", seed=2, auc=0.5, collapsed=True),
        ],
        ["Simulated patches: a | b."],
    )[".md"]
    lines = text.splitlines()
    assert lines[0] == "# Performance"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3  # heading, rule, one row per cell
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {16}
    assert lines.index("> **Simulated patches: a \\| b.**") < lines.index(rows[0])
    assert re.search(r"\| +DN121 .* 0\.912 \(0\.\d{3}–0\.\d{3}\) ", rows[2])
    assert "32,768" in rows[2]
    assert "x\\|y &lt;i&gt;" in rows[3]
    assert "† 0.700" in rows[3]
    assert rows[4].count("collapsed") == 5  # four metrics, and the count of seeds
    assert "0 (2 collapsed)" in rows[4]
    assert text.count("† At or below the colour floor") == 1
    assert "bootstrap over groups" in text


def test_no_mark_without_a_footnote_and_no_footnote_without_a_mark(tmp_path):
    assert "†" not in written(tmp_path, [run(auc=0.9)])[".md"]


def test_intervals_are_explained_per_data_set(tmp_path):
    text = written(tmp_path, [run(), run(dataset="idc", interval_unit="patch")])[".md"]
    assert "pcam: bootstrap over groups." in text
    assert "idc: bootstrap over patches, ignores clustering." in text


def test_html_is_self_contained_and_escaped(tmp_path):
    page = written(tmp_path, [run("<b>"), run("B2", auc=0.5)], ["Own <script> note"], title="A & B <i>")[".html"]
    for request in ["http:", "https:", "src=", "<link", "@import", "url("]:
        assert request not in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "<script" not in page
    assert "<i>" not in page
    assert "A &amp; B &lt;i&gt;" in page
    assert page.index("Own &lt;script&gt; note") < page.index("<table>")
    assert len(re.findall("<tr>", page)) == 3
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert re.search(r'<td class="number">† 0\.500 \(0\.\d{3}–0\.\d{3}\)</td>', page)
    assert "results/paper/runs/pcam/B2/full/paper/cpu/seed-1" in page


def test_any_table_can_be_written(tmp_path):
    table = pd.DataFrame({"model": ["B2", "B6"], "seconds_per_epoch": [1.23456, np.nan], "faster": [True, False]})
    to_markdown(table, tmp_path / "timing.md", "Timing", [])
    rows = [line for line in (tmp_path / "timing.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["Model", "Seconds per epoch", "Faster"]
    assert cells[2:] == [["B2", "1.235", "yes"], ["B6", "–", "no"]]
    assert cells[1][1].endswith(":")  # numbers stand at the right


def test_notes_announce_what_a_reader_must_know():
    runs, _ = study(
        run(dataset="sim", patches="simulated"),
        run(dataset="small", patches="subset", weights="random", model="MN"),
        run(dataset="idc-random", split="random split of patches", leaky=True),
        run(dataset="idc-random", split="random split of patches", leaky=True, model="B6", weights="", collapsed=True),
    )
    found = notes(runs)
    assert [note.split(".")[0] for note in found] == [
        "Simulated patches: sim",
        "Subset of the published patches: small",
        "Random weights: MN",
        "Leaky split: idc-random (random split of patches)",
        "Collapsed runs: 1 of 4",
    ]


def test_notes_are_silent_where_there_is_nothing_to_say():
    assert notes(study(run(), run("B2", weights="own file"), run("B6", weights="", patches="own"))[0]) == []


def test_the_spread_over_seeds_stands_apart_from_the_test_sets_interval(tmp_path):
    aucs = [0.80, 0.84, 0.88]
    rows = [run(seed=number, auc=auc) for number, auc in enumerate(aucs)]
    row = performance(*study(*rows)).iloc[0]
    assert row["auc_over_seeds"] == pytest.approx(0.04)
    # Student's t, 97.5 % at two degrees of freedom: 4.303 (any printed table).
    half = 4.303 * 0.04 / 3**0.5
    assert [row["auc_over_seeds_low"], row["auc_over_seeds_high"]] == pytest.approx(
        [0.84 - half, 0.84 + half], abs=1e-4
    )
    assert row["auc_low"] > row["auc_over_seeds_low"]
    assert "0.040 (0.741–0.939)" in written(tmp_path, rows)[".md"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_have_no_interval(seeds):
    row = performance(*study(*(run(seed=number, auc=0.8 + number / 50) for number in range(seeds)))).iloc[0]
    assert pd.isna(row["auc_over_seeds"]) == (seeds == 1)
    assert pd.isna(row["auc_over_seeds_low"])


def test_a_collapsed_seed_is_no_spread():
    row = performance(*study(run(seed=1, auc=0.9), run(seed=2, auc=0.5, collapsed=True), run(seed=3, auc=0.92))).iloc[0]
    assert row["auc_over_seeds"] == pytest.approx(0.02 / 2**0.5)


def test_one_seed_per_cell_prints_no_column_of_dashes(tmp_path):
    assert "over seeds" not in written(tmp_path, [run()])[".md"]


def test_print_says_how_a_head_was_trained(tmp_path):
    rows = [run("VGG19"), run("VGG19", mode="tl", transfer="cached"), run("MN", mode="tl", transfer="end_to_end")]
    texts = written(tmp_path, rows)
    for suffix in (".md", ".html"):
        assert "tl, cached features" in texts[suffix]
        assert "tl, end to end" in texts[suffix]
        assert "full, " not in texts[suffix]
    assert "Transfer" not in texts[".md"]
    assert list(pd.read_csv(tmp_path / "performance.csv")["transfer"].fillna("")) == ["", "cached", "end_to_end"]


def test_sentences_wrap_on_a_page_and_figures_do_not(tmp_path):
    table = pd.DataFrame({"claim": ["Short", "Short"], "numbers": ["a sentence " * 10, "short"], "auc": [0.9, 0.8]})
    write(table, tmp_path / "claims", "Claims", [])
    page = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert [style or "" for style in re.findall(r'<td(?: class="(\w+)")?>', page)] == ["", "prose", "number"] * 2
