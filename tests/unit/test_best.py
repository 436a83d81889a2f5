"""The best model of each data set: chosen on validation patches, with metrics on test patches."""

import pandas as pd
import pytest

from histobench.results import printing
from histobench.results.columns import names
from histobench.results.printing import Table
from histobench.results.tables.best import COLUMNS, NOTE, best, in_print
from histobench.results.tables.performance import read
from support.frames import performances, run

TERMINAL = 110


def table(*rows, missing=()):
    return best(pd.DataFrame(rows, columns=list(run())), performances(*rows, missing=missing))


def test_validation_chooses_and_the_test_set_is_shown():
    rows = [run(auc=0.8, valid_auc=0.95), run("b6", auc=0.9, valid_auc=0.7), run("vgg19", collapsed=True, valid_auc=1)]
    (row,) = table(*rows, missing=({"model": "mobilenet"},)).to_dict("records")
    assert (row["model"], row["valid_auc"], row["auc"]) == ("b2", 0.95, pytest.approx(0.8))
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert row["runs"] == rows[0]["folder"]


def test_the_mean_over_seeds_chooses_and_equal_ones_keep_the_order_of_the_matrix():
    rows = [run("b6", valid_auc=0.8), run(seed=1, valid_auc=0.9), run(seed=2, valid_auc=0.7)]
    assert table(*rows)["model"].tolist() == ["b6"]
    assert table(*rows[1:], rows[0])["model"].tolist() == ["b2"]


def test_every_data_set_has_its_own_in_the_order_of_the_matrix():
    rows = [run("b6", dataset="idc", valid_auc=0.9), run(valid_auc=0.6), run(dataset="idc", valid_auc=0.8)]
    found = table(*rows, missing=({"dataset": "another", "gap": "not run yet"},))
    assert found[["dataset", "model"]].to_numpy().tolist() == [["idc", "b6"], ["pcam", "b2"]]
    assert found.index.tolist() == [0, 1]


@pytest.mark.parametrize("rows", [[], [run(collapsed=True)]], ids=["none", "collapsed"])
def test_without_an_auc_there_is_no_best(rows):
    found = table(*rows, missing=({"gap": "not run yet"},))
    assert found.empty
    assert list(found) == names(COLUMNS)
    assert best(pd.DataFrame([run(timing_only=True)]), read([])).empty  # a study of seconds alone


def test_print_fits_a_terminal_and_names_what_the_csv_traces(tmp_path):
    rows = [
        run("inceptionv3", seed, model_name="InceptionV3", mode=mode, dataset=dataset, auc=0.5)
        for dataset, mode in (("pcam-simulated", "finetune"), ("idc-simulated", "tl"))
        for seed in (1, 2)
    ]
    found = table(*rows)
    printing.write(Table("Best", found, COLUMNS, [], [NOTE], grids=in_print(found)), tmp_path / "best")
    text = (tmp_path / "best.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(line) <= TERMINAL for line in lines)
    for words in ("pcam-simulated", "InceptionV3", "fine-tuned", "† 0.500 (", "† At or below", "recipe paper"):
        assert words in text
    assert printing.read(tmp_path / "best.json").runs == [row["folder"] for row in rows]
