"""Printed tables: what a reader sees of a frame."""

import re

import numpy as np
import pandas as pd
import pytest

from histobench.results import printing
from histobench.results.columns import BOOTSTRAP, RUNS, Column, three_digits
from histobench.results.printing import Table
from histobench.results.tables import performance
from support.frames import performances, run


def texts(tmp_path, frame, columns=(), **options):
    """Return the texts of a table's files by suffix."""
    printing.write(Table(**{"title": "A table", "frame": frame, "columns": columns} | options), tmp_path / "table")
    files = sorted(tmp_path.glob("[!.]*"))
    assert [file.name for file in files] == ["table.csv", "table.html", "table.json", "table.md"]
    return {file.suffix: file.read_text(encoding="utf-8") for file in files}


def of_performance(tmp_path, *rows, missing=(), **kwargs):
    """Return the texts of a table of performance."""
    table = performances(*rows, missing=missing)
    return texts(tmp_path, table, performance.COLUMNS, first=performance.first(table), **kwargs)


def out(model, mode, why="no backbone"):
    """Return a cell that cannot run."""
    return {"model": model, "mode": mode, "gap": f"left out: {why}", "left_out": True}


def first_of(tmp_path):
    """Return the headings of the columns that come first."""
    (printed,) = printing.read(tmp_path / "table.json").grids
    return printed.headings[: printed.first]


def grid(text):
    """Return the cells of a Markdown table, heading first."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in (rows[0], *rows[2:])]


def test_what_the_report_reads_is_what_was_printed(tmp_path):
    frame = pd.DataFrame({"model_name": ["B2"], "auc": [0.5], "runs": ["a b"]})
    page = texts(tmp_path, frame, [RUNS], notes=["note"], title="Title", footnotes=["foot"])
    table = printing.read(tmp_path / "table.json")
    assert (table.name, table.title, table.notes, table.runs) == ("table", "Title", ["note"], ["a", "b"])
    assert [grid.rows for grid in table.grids] == [[["B2", "0.500"]]]
    assert table.footnotes[-1] == "foot"
    assert printing.html(table) == page[".html"]


def test_markdown(tmp_path):
    text = of_performance(
        tmp_path,
        run("densenet121", auc=0.91234),
        run("x", model_name="x|y <i>", auc=0.7),
        run("mobilenet", auc=0.5, collapsed=True),
        run("mobilenet", seed=2, auc=0.5, collapsed=True),
        notes=["Simulated patches: a | b."],
        title="Performance",
    )[".md"]
    lines = text.splitlines()
    assert lines[0] == "# Performance"
    heading, first, second, third = grid(text)
    first_row = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert lines.index("> **Simulated patches: a \\| b.**") < first_row
    assert re.fullmatch(r"0\.912 \(0\.\d{3}–0\.\d{3}\)", first[heading.index("AUC (95 % interval)")])
    assert second[heading.index("Model")] == "x\\|y &lt;i&gt;"
    assert second[heading.index("AUC (95 % interval)")].startswith("† 0.700")
    assert third.count("collapsed") == 4
    assert third[heading.index("Seeds")] == "0 (2 collapsed)"
    assert text.count("† At or below the colour floor") == 1
    assert "95 % intervals: bootstrap; 54 groups, at least 10: whole groups are resampled." in text


def test_what_is_the_same_in_all_rows_is_said_once(tmp_path):
    text = of_performance(tmp_path, run(), run("b6"), missing=({"model": "vgg19", "gap": "not run yet"},))[".md"]
    heading = grid(text)[0]
    assert not {"Recipe", "Device", "Test patches", "Data set", "Split"} & set(heading)
    (said,) = [line for line in text.splitlines() if line.startswith("In every row: ")]
    for words in ("data set pcam", "recipe paper", "device cpu", "test patches 32,768", "split published"):
        assert words in said
    assert heading.index("Seeds")  # 1, 1 and 0


def test_a_recipe_that_differs_is_a_column_and_is_told_of_cells_that_cannot_run(tmp_path):
    text = of_performance(tmp_path, run(), run(recipe="native"), missing=(out("vgg19", "full", "too small"),))[".md"]
    heading, *rows = grid(text)
    assert [row[heading.index("Recipe")] for row in rows] == ["paper", "native"]
    assert "Cannot run: VGG19, full, paper: too small." in text


def test_a_single_row_keeps_its_columns_and_published_values_their_two_decimals(tmp_path):
    text = of_performance(tmp_path, run(auc=0.9))[".md"]
    heading, row = grid(text)
    assert "Recipe" in heading
    assert row[heading.index("Published accuracy")] == "0.78"
    assert row[heading.index("AUC, ours − published")] == "0.050"
    assert "In every row" not in text
    assert "†" not in text  # neither a mark nor its footnote


def test_columns_without_a_value_are_left_out_and_those_said_once_are_not_among_the_first(tmp_path):
    text = of_performance(tmp_path, run("resnet50"), run("b6"))[".md"]
    for heading in ("over seeds", "Published", "Remark"):
        assert heading not in text
    first = [heading.partition(" (")[0] for heading in first_of(tmp_path)]
    assert first == ["Model", "Mode", "AUC", "Balanced accuracy", "Accuracy", "Loss"]


def test_gaps_and_reasons_stand_in_a_remark_and_common_reasons_in_sight_on_a_page(tmp_path):
    subset = {"data_differs": "a subset"}
    rows = [run(**subset, weights_differ="random weights"), run(mode="tl", model="vgg19", **subset)]
    text = of_performance(tmp_path, *rows, missing=({"model": "b6", "gap": "not run yet"},))
    heading, *found = grid(text[".md"])
    assert [row[heading.index("Remark")] for row in found] == ["not comparable: random weights", "", "not run yet"]
    assert "Remark" in first_of(tmp_path)
    assert "Not comparable with the published values: a subset." in text[".md"]
    assert "<strong>Not comparable with the published values</strong>" in text[".html"]


def test_what_the_paper_does_not_have_is_not_called_incomparable(tmp_path):
    rows = [run("b6", data_differs="a subset"), run(mode="scratch", data_differs="a subset")]
    assert "omparable" not in of_performance(tmp_path, *rows)[".md"]


def test_html_is_self_contained_and_escaped(tmp_path):
    notes = ["Own <script> note: the rest"]
    page = of_performance(tmp_path, run("x", model_name="<b>"), run(auc=0.5), notes=notes, title="A & B <i>")[".html"]
    for text in ("http:", "https:", "src=", "<link", "@import", "url(", "<b>", "<script", "<i>"):
        assert text not in page
    for text in ("&lt;b&gt;", "A &amp; B &lt;i&gt;", "<strong>Own &lt;script&gt; note</strong>"):
        assert text in page
    assert "Own &lt;script&gt; note: the rest" in page
    for text in ("prefers-color-scheme: dark", 'name="viewport"', run(auc=0.5)["folder"]):
        assert text in page
    assert page.count("<tr>") == 3
    assert re.search(r'<td class="number">† 0\.500 <span class="interval">\(0\.\d{3}–0\.\d{3}\)</span></td>', page)


def test_any_table_can_be_written_and_its_csv_round_trips(tmp_path):
    table = pd.DataFrame({"model_name": ["B2", "B6"], "seconds_per_epoch": [5 / 3, np.nan], "faster": [True, False]})
    table["patches"] = pd.array([1333, pd.NA], dtype="Int64")
    text = texts(tmp_path, table)[".md"]
    heading = ["Model name", "Seconds per epoch", "Faster", "Patches"]
    assert grid(text) == [heading, ["B2", "1.667", "yes", "1,333"], ["B6", "–", "no", "–"]]
    assert text.splitlines()[3].split("|")[2].endswith(":")  # numbers stand at the right
    read = pd.read_csv(tmp_path / "table.csv", dtype={"patches": "Int64"})
    pd.testing.assert_frame_equal(read, table, check_exact=True)


def test_a_table_too_wide_for_a_page_is_stacked(tmp_path):
    frame = pd.DataFrame({"model": ["B2"], "AUC": [0.9], "loss": [0.25], "device": ["cpu"]})
    grids = {"": frame[["model", "AUC"]], "Below & <i>": frame[["model", "loss"]]}
    text = texts(tmp_path, frame, grids=grids)[".md"]
    above, below = text.split("## Below &amp; &lt;i&gt;")
    assert grid(above) == [["Model", "Auc"], ["B2", "0.900"]]
    assert grid(below) == [["Model", "Loss"], ["B2", "0.250"]]
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    captions = re.findall("<caption>(.*?)</caption>", page)
    assert captions == ["A table", "Below &amp; &lt;i&gt;"]
    assert list(pd.read_csv(tmp_path / "table.csv")) == list(frame)


def test_seconds_have_three_digits(tmp_path):
    seconds = [9158.4, 100.4, 25.125, -7.164, 0.01234, 0.0, np.nan, 1.0]
    text = texts(tmp_path, pd.DataFrame({"n": 1, "seconds": seconds}), [Column("seconds", format=three_digits)])[".md"]
    printed = [row[1] for row in grid(text)[1:]]
    assert printed == ["9,158", "100", "25.1", "-7.16", "0.0123", "0", "–", "1.00"]


def test_an_empty_table_says_so(tmp_path):
    assert "Nothing yet." in texts(tmp_path, pd.DataFrame(columns=["model", "auc"]))[".md"]


def test_negative_intervals_have_no_dash(tmp_path):
    table = pd.DataFrame({"model": ["B2"], "difference": [-0.1], "difference_low": [-0.2], "difference_high": [-0.05]})
    heading, row = grid(texts(tmp_path, table, [Column("difference", interval=BOOTSTRAP)])[".md"])
    assert (heading[1], row[1]) == ("Difference (95 % interval)", "-0.100 (-0.200 to -0.050)")


def test_the_spread_over_seeds_is_printed_with_its_interval(tmp_path):
    rows = [run(seed=number, auc=auc) for number, auc in enumerate([0.80, 0.84, 0.88])]
    assert "0.040 (0.741–0.939)" in of_performance(tmp_path, *rows)[".md"]


def test_print_says_how_a_head_was_trained(tmp_path):
    heads = [run("vgg19", mode="tl", transfer="cached"), run("mobilenet", mode="tl", transfer="end_to_end")]
    found = of_performance(tmp_path, run("vgg19"), *heads)
    for suffix in (".md", ".html"):
        assert "TL, cached features" in found[suffix]
        assert "TL, end to end" in found[suffix]
        assert "full, " not in found[suffix]
    assert "Transfer" not in found[".md"]
    assert list(pd.read_csv(tmp_path / "table.csv")["transfer"].fillna("")) == ["", "cached", "end_to_end"]


def test_print_says_which_backend_of_keras_ran(tmp_path):
    found = of_performance(tmp_path, run(), run("b6", device="h100", backend="jax"))[".md"]
    assert "Keras ran on jax (device h100), and on tensorflow on all other devices." in found
    assert "Keras ran on" not in of_performance(tmp_path, run())[".md"]


def test_sentences_wrap_on_a_page_and_figures_do_not(tmp_path):
    table = pd.DataFrame({"claim": ["Short", "Short"], "numbers": ["a sentence " * 10, "short"], "auc": [0.9, 0.8]})
    page = texts(tmp_path, table)[".html"]
    assert [style or "" for style in re.findall(r'<td(?: class="(\w+)")?>', page)] == ["", "prose", "number"] * 2


def test_the_columns_that_matter_come_first_and_the_csv_keeps_its_order(tmp_path):
    frame = pd.DataFrame({"loss": [0.1, 0.2], "n": [3, 4], "model": ["B2", "B6"], "auc": [0.9, 0.8], "x": ["a", "b"]})
    text = texts(tmp_path, frame, [Column("auc", "AUC")], first=["model", "auc", "of another table", "loss"])
    assert grid(text[".md"])[0] == ["Model", "AUC", "Loss", "N", "X"]
    assert first_of(tmp_path) == ["Model", "AUC", "Loss"]
    assert re.findall(r'class="([^"]*more)"', text[".html"]) == ["number more", "more"] * 3  # a heading, two rows
    assert text[".html"].count("All columns</label>") == 1
    assert list(pd.read_csv(tmp_path / "table.csv")) == list(frame)


@pytest.mark.parametrize("first", [(), ("model", "auc"), ("not here",)])
def test_where_nothing_is_left_over_nothing_opens(tmp_path, first):
    page = texts(tmp_path, pd.DataFrame({"model": ["B2"], "auc": [0.9]}), first=first)[".html"]
    assert "All columns" not in page
    assert "more" not in re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)


def test_published_values_stand_for_ours_where_no_run_is_there(tmp_path):
    missing = ({"model": "vgg19", "mode": "tl", "gap": "not run yet"}, {"model": "b2", "gap": "not run yet"})
    of_performance(tmp_path, missing=missing)
    assert {"Published AUC", "Published accuracy", "Published loss"} <= set(first_of(tmp_path))


def test_cells_that_cannot_run_are_a_line_below_the_table(tmp_path):
    small = "it needs 75 px"
    missing = (
        *(out("b2", "tl"), out("b6", "tl"), out("vgg19", "tl", small), out("vgg19", "full", small)),
        {"model": "mobilenet", "gap": "not run yet"},
    )
    text = of_performance(tmp_path, run(), missing=missing)
    heading, *rows = grid(text[".md"])
    assert [row[heading.index("Model")] for row in rows] == ["B2", "MOBILENET"]
    line = "Cannot run: B2 and B6, TL: no backbone. VGG19, TL and full: it needs 75 px."
    assert line in text[".md"].splitlines()
    assert f'<p class="small">{line}</p>' in text[".html"]
    assert pd.read_csv(tmp_path / "table.csv")["gap"].str.startswith("left out: ").sum() == 4


def test_keys_between_backticks_are_code_on_a_page(tmp_path):
    why = "it needs <80 px>; see `resize`, or a `b"
    pages = of_performance(tmp_path, run(), missing=(out("vgg19", "full", why), {"model": "b6", "gap": "say `knn`"}))
    assert "it needs &lt;80 px&gt;; see <code>resize</code>, or a `b." in pages[".html"]
    assert ">say <code>knn</code></td>" in pages[".html"]
    assert "see `resize`" in pages[".md"] and "say `knn`" in pages[".md"]


def test_where_no_cell_can_run_nothing_is_promised(tmp_path):
    found = of_performance(tmp_path, missing=(out("b2", "tl"),))
    for suffix in (".md", ".html"):
        assert "Nothing yet" not in found[suffix]
        assert "Cannot run: B2, TL: no backbone." in found[suffix]


def test_notes_are_folded_under_their_heads_and_marks_are_explained_in_sight(tmp_path):
    notes = ["Simulated patches: pcam. Nothing.", "Random weights: B2, B6.", "Random weights: another."]
    page = of_performance(tmp_path, run(auc=0.5), run("b6", data_differs="a subset"), notes=notes)[".html"]
    sight, folded = page.split('<details class="about">')
    (summary,) = re.findall("<summary>(.*?)</summary>", folded.partition("</summary>")[0] + "</summary>")
    assert re.sub("<.*?>", "", summary) == "Simulated patches · Random weights · notes and runs"
    assert "† At or below the colour floor" in sight
    assert "† At or below the colour floor" not in folded
    for text in (*notes, "95 % intervals: "):
        assert text not in sight
        assert text in folded
