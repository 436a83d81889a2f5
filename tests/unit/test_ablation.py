"""The ablation: which steps it has, what they add, and that no test patch counts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results.columns import names
from histobench.results.figures.ablation import _label, steps
from histobench.results.tables.ablation import COLUMNS, ablation
from support.frames import cells, run
from support.paper import study

STEPS = {"full/native": "full/paper", "finetune/native": "full/native"}
RNG = np.random.default_rng(1)


def predictions(shift):
    """Return scores that tell more of the label the higher the shift; those of test patches tell nothing."""
    n = 300
    label = np.arange(n) % 2
    noise = np.random.default_rng(2).normal(size=n)
    valid = {"split": "valid", "label": label, "score": 1 / (1 + np.exp(-noise - shift * label))}
    test = {"split": "test", "label": label, "score": RNG.random(n)}
    frames = [pd.DataFrame({"patch_id": [f"{n:04}" for n in range(n)], "group": "", **each}) for each in (valid, test)]
    return pd.concat(frames, ignore_index=True)


def made(rows, shifts, steps=STEPS):
    scored = {row["folder"]: predictions(shift) for row, shift in zip(rows, shifts, strict=True)}
    return ablation(steps, pd.DataFrame(rows), cells(*rows), scored), scored


def test_each_step_is_compared_with_what_it_is_added_to_on_validation_patches():
    rows = [run(), run(recipe="native"), run(recipe="native", seed=2), run(mode="finetune", recipe="native")]
    table, scored = made(rows, [0.5, 1.5, 1.7, 1.6])
    assert list(table) == names(COLUMNS)
    assert table["added_to"].tolist() == ["", "full/paper", "full/native"]
    assert table["seeds"].tolist() == [1, 2, 1] and set(table["n"]) == {300} and set(table["unit"]) == {"patch"}
    aucs = []
    for row in rows:
        valid = scored[row["folder"]].query("split == 'valid'")
        aucs.append(roc_auc_score(valid["label"], valid["score"]))
    expected = [aucs[0], (aucs[1] + aucs[2]) / 2, aucs[3]]
    np.testing.assert_allclose(table["auc"], expected)
    assert np.isnan(table["difference"][0])
    np.testing.assert_allclose(table["difference"][1:], np.diff(expected))
    assert table["difference_low"][1] > 0 and table["p"][1] < 0.05
    assert table["difference_low"][2] < 0 < table["difference_high"][2]


def test_a_mean_of_scores_is_compared_with_the_same_seeds():
    """Two seeds far apart, each a little better by its mean: else the difference would drown in that between them."""
    rows = [run(seed=1), run(seed=2), run(recipe="paper.d4", seed=1), run(recipe="paper.d4", seed=2)]
    shifts = [0.5, 2.5, 0.7, 2.7]
    scored = {row["folder"]: predictions(shift) for row, shift in zip(rows, shifts, strict=True)}
    asked = cells(*rows)
    steps = {"full/paper.d4": "full/paper"}
    unrelated = ablation(steps, pd.DataFrame(rows), asked, scored).iloc[1]
    asked.loc[asked["recipe"] == "paper.d4", "averaged_from"] = "b2/full/paper/cpu"
    related = ablation(steps, pd.DataFrame(rows), asked, scored).iloc[1]
    assert related["difference"] == unrelated["difference"]
    assert unrelated["difference_low"] < 0 < related["difference_low"]


def test_test_patches_have_no_say():
    rows = [run(), run(recipe="native")]
    before, scored = made(rows, [0.5, 1.5])
    for frame in scored.values():
        frame.loc[frame["split"] == "test", "score"] = 1 - frame["label"]
    again = ablation(STEPS, pd.DataFrame(rows), cells(*rows), scored)
    pd.testing.assert_frame_equal(before, again)


def test_every_model_and_data_set_has_steps_of_its_own():
    rows = [run(recipe=recipe, model=model) for model in ("b2", "b6") for recipe in ("paper", "native")]
    rows += [run(recipe=recipe, dataset="idc") for recipe in ("paper", "native", "other")]
    table, _ = made(rows, [0.1] * len(rows))
    assert table[["dataset", "model", "recipe"]].to_numpy().tolist() == [
        [dataset, model, recipe]
        for dataset, model in (("pcam", "b2"), ("pcam", "b6"), ("idc", "b2"))
        for recipe in ("paper", "native")
    ]


def test_a_step_without_runs_says_why():
    rows = [run(collapsed=True), run(recipe="native")]
    table, _ = made(rows, [0.5, 1.5])
    assert table["gap"].tolist() == ["collapsed", "full/paper: collapsed"]
    table, _ = made(rows[1:], [1.5])
    assert table["gap"].tolist() == ["full/paper: not in the matrix"] and table["auc"].notna().all()


def asked(**steps):
    block = {"datasets": ["pcam"], "models": ["mobilenet"], "modes": ["full", "tl"], "recipes": ["paper", "native"]}
    block |= {"devices": ["cpu"], "seeds": [1]}
    other = block | {"datasets": ["idc"], "modes": ["full"], "recipes": ["fast", "timing"]}
    elsewhere = block | {"datasets": ["idc"], "modes": ["scratch"], "recipes": ["paper"]}
    found = {name.replace("_", "/", 1): base for name, base in steps.items()}
    return study(matrix=[block, other, elsewhere], ablation=found)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"full_natve": "full/paper"}, "expected the mode and the recipe of cells .* found 'full/natve'"),
        ({"full_timing": "full/paper"}, "cells of the matrix with scores, found 'full/timing'"),
        ({"full_linear": "full/paper"}, "found 'full/linear'.*; known: full/paper, full/native, tl/paper, "),
        ({"full_native": "paper"}, "found 'paper'"),
        ({"full_native": "tl/native", "tl_native": "tl/paper"}, "ablation.full/native: tl/native, .* must stand above"),
        ({"scratch_paper": "full/native"}, "ablation.scratch/paper: the matrix has it and full/native on no data set"),
        ({"full_native": "full/native"}, "ablation.full/native: full/native, .* must stand above"),
    ],
)
def test_a_step_that_leads_nowhere_is_refused(steps, message):
    with pytest.raises(HistobenchError, match=message):
        asked(**steps)


def test_steps_stand_in_the_order_of_the_configuration():
    found = asked(tl_paper="full/paper", tl_native="tl/paper")
    assert list(found.ablation.items()) == [("tl/paper", "full/paper"), ("tl/native", "tl/paper")]


def test_the_figure_has_a_row_for_each_step_and_names_what_changes():
    rows = [run(), run(recipe="native"), run(mode="finetune", recipe="native")]
    table, _ = made(rows, [0.5, 1.5, 1.6])
    figure = steps(table)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [_label(row) for row in table.to_dict("records")]
    assert [_label(row) for row in table.to_dict("records")] == [
        "paper, full", "paper → native", "native → fine-tuned",
    ]  # fmt: skip
    assert f"{table['auc'][1]:.3f}" in [text.get_text() for text in axes.texts]
