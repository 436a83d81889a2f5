"""Published values of others: whole, and shown only beside runs by the same protocol."""

import pandas as pd
import pytest

from histobench.core import recipes
from histobench.core.formats import FORMATS
from histobench.results import collect
from histobench.results.columns import names
from histobench.results.inputs import Inputs
from histobench.results.tables import others
from support.frames import cells, run
from support.project import ROOT

FILES = sorted((ROOT / "config" / "published").glob("*.csv"))
PUBLISHED = others.read(FILES)
EVA = PUBLISHED[PUBLISHED["source"] == "eva"]


def linear(**changes):
    return run(mode="tl", recipe="linear", transfer="cached", classifier="linear head", **changes)


def table(*rows, published=PUBLISHED, missing=()):
    made = others.others(pd.DataFrame(rows), cells(*rows, missing=missing), published)
    assert list(made) == names(others.COLUMNS)
    return made


def test_values_are_fractions_of_known_metrics_classifiers_and_formats_each_once_with_a_source():
    assert PUBLISHED["published_value"].between(0.5, 1).all()
    assert not PUBLISHED.duplicated(["source", "published_model", "metric"]).any()
    assert set(PUBLISHED["metric"]) <= set(collect.COLUMNS)
    assert set(PUBLISHED["classifier"]) <= {recipes.CNN, recipes.LINEAR_HEAD}
    assert set(PUBLISHED["format"]) <= set(FORMATS)
    assert PUBLISHED["address"].str.startswith("https://").all()
    assert (PUBLISHED["protocol"] != "").all()
    # Of a value without a protocol, or the other way round, nothing would be seen.
    assert set(pd.read_csv(FILES[0])["source"]) == set(pd.read_csv(FILES[1])["source"])


def test_linear_probing_stands_beside_linear_heads_and_end_to_end_training_beside_cnns():
    made = table(linear(balanced_accuracy=0.8), run(auc=0.9, accuracy=0.85, f1=0.8))
    assert set(made.loc[made["classifier"] == "linear head", "source"]) == {"eva"}
    assert made.loc[made["classifier"] == "linear head", "value"].unique().tolist() == [0.8]
    of_cnns = made[made["classifier"] == "CNN"].set_index(["metric", "published_model"])
    assert of_cnns["value"].to_dict() == {
        ("accuracy", "P4M-DenseNet"): 0.85,
        ("auc", "DSF-CNN (C8)"): 0.9,
        ("auc", "P4M-DenseNet"): 0.9,
    }
    assert len(made) == len(EVA) + 3


@pytest.mark.parametrize(
    "changes",
    [
        {"patches": "subset"},
        {"patches": "simulated"},
        {"split": "random by patch, 0.8/0.1/0.1, seed 1"},
        {"format": "idc", "dataset": "idc"},
        {"classifier": "dense head"},
        {"classifier": "k-NN"},
        {"collapsed": True},
    ],
)
def test_another_protocol_has_none(changes):
    row = linear() | changes
    assert table(row).empty


def test_a_source_that_does_not_say_what_it_scored_has_none():
    assert "tiatoolbox" in set(PUBLISHED["source"])
    made = table(run(f1=0.9), linear())
    assert "tiatoolbox" not in set(made["source"])
    silent = EVA.assign(part="")
    assert table(linear(), published=silent).empty


def test_ours_is_the_cell_that_is_best_on_validation_patches_over_its_seeds():
    rows = [
        linear(model="vgg19", seed=1, valid_auc=0.90, balanced_accuracy=0.70),
        linear(model="vgg19", seed=2, valid_auc=0.94, balanced_accuracy=0.74),
        linear(model="resnet50", valid_auc=0.91, balanced_accuracy=0.99),
    ]
    made = table(*rows)
    assert made["model"].unique().tolist() == ["vgg19"]
    assert made["value"].unique() == pytest.approx([0.72])
    assert made["seeds"].unique().tolist() == [2]
    assert made["runs"].iloc[0].split() == [row["folder"] for row in rows[:2]]
    assert made["published_value"].is_monotonic_decreasing


def test_the_table_names_protocols_addresses_and_what_is_not_shown():
    row = linear()
    inputs = Inputs({"others": list(map(str, FILES))}, "", {"name": "x"})
    vars(inputs).update(runs=pd.DataFrame([row]), cells=cells(row))  # as if they had been read
    made = others.others_table(inputs)
    assert any("tiatoolbox" in note for note in made.footnotes)
    told = next(column for column in made.columns if column.name == "protocol").footnote_of(made.frame)
    assert "AdamW at 0.0003" in told
    assert "https://github.com/kaiko-ai/eva" in told
