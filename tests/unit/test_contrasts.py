"""Contrasts: which cells are compared, and how; and the cells that represent a model."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.core.errors import HistobenchError
from histobench.results.cells import first_cells, runs_of
from histobench.results.columns import names
from histobench.results.statistics import delong
from histobench.results.tables.contrasts import COLUMNS, NOTES, TRANSFER, TUNED, contrasts
from support.frames import NAMES, cell

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
# 39 replicates, so that the smallest p is 2 / 40.
TL, FULL = (f"pcam/b2/{mode}/paper/cpu/seed-1" for mode in ("tl", "full"))
REPLICATES = np.linspace(-0.02, 0.02, 39)


class Study:
    """Cells and, for those that have runs, runs.csv, replicates and predictions."""

    def __init__(self):
        self.cells, self.runs, self.replicates, self.predictions = [], [], {}, {}

    def add(self, mode="full", model="b2", aucs=(), scores=None, collapsed=(), valid_auc=0.5, **changes):
        """Add a cell and its runs: seeds 1, 2, ... with these AUCs, and replicates around them."""
        added = cell(mode, model, **changes)
        self.cells.append(added)
        names = {name: added[name] for name in NAMES}
        for seed, auc in enumerate(aucs, 1):
            folder = f"{'/'.join(names.values())}/seed-{seed}"
            about = {"seed": seed, "auc": auc, "collapsed": seed in collapsed, "interval_unit": "group"}
            about["valid_auc"] = valid_auc
            self.runs.append({**names, **about, "folder": folder})
            self.replicates[folder] = pd.DataFrame({"replicate": range(39), "auc": auc + REPLICATES})
            self.predictions[folder] = predictions((scores or {}).get(seed, LABELS / 2 + 0.25))
        return self

    def table(self, *encoders, named=()):
        columns = [*NAMES, "seed", "auc", "valid_auc", "collapsed", "interval_unit", "folder"]
        runs = pd.DataFrame(self.runs, columns=columns)
        table = contrasts(runs, pd.DataFrame(self.cells), self.replicates, self.predictions, encoders, named)
        assert list(table) == names(COLUMNS)
        return table

    def row(self):
        table = self.table()
        assert len(table) == 1
        return table.iloc[0]


def predictions(scores, labels=LABELS):
    """Return predictions of the test patches p0, p1, ..., and of validation patches with constant scores."""
    test = pd.DataFrame({"split": "test", "patch_id": [f"p{i}" for i in range(len(labels))], "group": ""})
    test = test.assign(label=labels, score=scores)
    return pd.concat([test.assign(split="valid", score=0.5), test], ignore_index=True)


GOOD = [0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.9]
POOR = [0.1, 0.6, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4]
DELONG_P = delong(LABELS, GOOD, POOR)["p"]


def test_transfer_against_full_by_hand():
    study = Study().add("full", aucs=[0.80], scores={1: POOR}).add("tl", aucs=[0.90], scores={1: GOOD})
    # Differences of the replicates: 0.1, but for three of them 0.04, 0.05 and -0.01.
    study.replicates[TL].loc[[3, 5, 8], "auc"] -= [0.06, 0.05, 0.11]
    row = study.row()
    assert (row["contrast"], row["dataset"], row["model_name"], row["mode"]) == ("TL − full", "pcam", "B2", "")
    assert row[["auc_a", "auc_b"]].tolist() == [0.90, 0.80]
    assert row["difference"] == pytest.approx(0.1)
    # One of 39 below zero: 2 (1 + 1) / 40. The quantile 0.025 of 39 values is 0.95 of the way from the lowest to the
    # second, 0.04; the third lowest is 0.05.
    assert row["p"] == row["p_holm"] == pytest.approx(0.1)
    assert row["difference_low"] == pytest.approx(-0.01 + 0.95 * 0.05)
    assert row["difference_high"] == pytest.approx(0.1)
    assert row["delong_p"] == pytest.approx(DELONG_P)
    assert row[["seeds_a", "seeds_b", "unit", "gap"]].tolist() == [1, 1, "group", ""]
    assert (row["recipe"], row["device"]) == ("paper", "cpu")
    assert row["runs"] == f"{TL} {FULL}"


def test_heads_on_embeddings_stand_against_the_best_cnn_on_whichever_device():
    """The CNN is chosen on validation patches: not by its AUC on the test patches."""
    study = Study().add("full", aucs=[0.9], device="a100").add("full", "b6", [0.8], device="a100", valid_auc=0.7)
    for number, head in enumerate(("dense head", "linear head", "linear head", "k-NN")):
        study.add("tl", "uni", [0.85 + number / 100], recipe=f"r{number}", classifier=head)
    assert study.table().empty
    table = study.table("uni")
    assert table["contrast"].tolist() == ["dense head − full", "linear head − full", "k-NN − full"]
    assert set(table["model_name"]) == {"UNI / B6"}
    assert table["difference"].tolist() == pytest.approx([0.05, 0.06, 0.08])
    assert table["recipe"].tolist() == [f"r{number} / paper" for number in (0, 1, 3)]
    assert (table["p_holm"] == table["p"]).all()  # families of their own
    # Without a run the first of the matrix, and why there is none.
    (row,) = Study().add("full").add("full", "b6").add("tl", "uni", [0.9]).table("uni").to_dict("records")
    assert (row["model"], row["gap"]) == ("uni / b2", "full: ")


def test_identical_arms_do_not_differ_whatever_the_order_of_their_replicates():
    study = Study().add("full", aucs=[0.8], scores={1: GOOD}).add("tl", aucs=[0.8], scores={1: GOOD})
    study.replicates[TL] = study.replicates[TL].iloc[::-1].reset_index(drop=True)
    row = study.row()
    assert row[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert row[["p", "p_holm", "delong_p"]].tolist() == [1, 1, 1]


def test_seeds_are_averaged_and_nested():
    study = Study().add("full", aucs=[0.7, 0.8]).add("tl", aucs=[0.8, 0.9, 1.0])
    row = study.row()
    assert row[["auc_a", "auc_b", "difference"]].tolist() == pytest.approx([0.9, 0.75, 0.15])
    assert row[["seeds_a", "seeds_b"]].tolist() == [3, 2]
    # Within a replicate all runs move together, so the spread is of the drawn seeds alone.
    assert row["difference_low"] < 0.15 < row["difference_high"]


def test_collapsed_seeds_are_left_out_but_named():
    study = Study().add("full", aucs=[0.8])
    study.add("tl", aucs=[0.5, 0.9], collapsed={1}, seeds=3, gap="seed 3: not run yet")  # one is enough
    row = study.row()
    assert row[["auc_a", "difference", "seeds_a", "gap"]].tolist() == [0.9, pytest.approx(0.1), 1, ""]
    assert row["runs"].split()[0] == TL


def test_delong_is_of_the_lowest_seed_that_both_arms_have():
    study = Study()
    study.add("full", aucs=[0.8, 0.8, 0.8], scores={1: GOOD, 2: POOR, 3: GOOD})
    study.add("tl", aucs=[0.5, 0.9, 0.9], scores={1: GOOD, 2: GOOD, 3: GOOD}, collapsed={1})
    study.runs.reverse()  # order is not what decides
    assert study.row()["delong_p"] == pytest.approx(DELONG_P)


def test_without_a_common_seed_there_is_no_delong():
    study = Study().add("full", aucs=[0.8, 0.5], collapsed={2}).add("tl", aucs=[0.5, 0.9], collapsed={1})
    row = study.row()
    assert pd.isna(row["delong_p"])
    assert (row["gap"], row["difference"]) == ("", pytest.approx(0.1))


@settings(max_examples=20)
@given(st.permutations(range(16)))
def test_delong_does_not_depend_on_the_order_of_patches(order):
    study = Study().add("full", aucs=[0.8], scores={1: POOR}).add("tl", aucs=[0.9], scores={1: GOOD})
    study.predictions[TL] = study.predictions[TL].iloc[list(order)]
    assert study.row()["delong_p"] == pytest.approx(DELONG_P)


def test_delong_that_is_not_defined_is_no_number():
    # One run separates the classes and the other swaps them; and a class of one patch.
    study = Study().add("full", aucs=[0.0], scores={1: 1 - LABELS}).add("tl", aucs=[1.0], scores={1: LABELS})
    assert pd.isna(study.row()["delong_p"])
    labels = np.array([0, 0, 0, 1])
    for folder in study.predictions:
        study.predictions[folder] = predictions([0.1, 0.6, 0.3, 0.5], labels)
    assert pd.isna(study.row()["delong_p"])


def test_holm_is_over_the_contrasts_of_a_data_set():
    study = Study()
    for dataset, models in {"pcam": ["b6", "b2", "vgg19"], "idc": ["b2"]}.items():
        for mode, model in product(["full", "tl"], models):
            # All replicates of TL are above: p is 2 / 40.
            study.add(mode, model, aucs=[0.8 + (mode == "tl") / 10], dataset=dataset)
    study.add("full", "resnet50", aucs=[0.8]).add("tl", "resnet50", gap="not run yet")
    table = study.table()
    # Data sets stand together, in the order of the matrix as models do.
    assert table["dataset"].tolist() == ["pcam"] * 4 + ["idc"]
    assert table["model_name"].tolist() == ["B6", "B2", "VGG19", "RESNET50", "B2"]
    assert table["p"].tolist() == pytest.approx([0.05] * 3 + [np.nan, 0.05], nan_ok=True)
    assert table["p_holm"].tolist() == pytest.approx([0.15] * 3 + [np.nan, 0.05], nan_ok=True)


@pytest.mark.parametrize(
    ("tl", "full", "gap"),
    [
        ({"gap": "not run yet"}, {"aucs": [0.8]}, "TL: not run yet"),
        ({"aucs": [0.8]}, {"gap": "started, not finished"}, "full: started, not finished"),
        ({"gap": "not run yet"}, {"gap": "not run yet"}, "TL: not run yet; full: not run yet"),
        ({"aucs": [0.5], "collapsed": {1}}, {"aucs": [0.8]}, "TL: collapsed"),
        ({"aucs": [0.5], "collapsed": {1}, "gap": "seed 2: ..."}, {"aucs": [0.8]}, "TL: collapsed, seed 2: ..."),
        ({"aucs": [np.nan]}, {"aucs": [0.8]}, "TL: no AUC, the test patches are of one class"),
    ],
)
def test_an_arm_without_an_auc_is_a_gap(tl, full, gap):
    study = Study().add("tl", **tl).add("full", **full)
    study.predictions = study.replicates = {}
    row = study.row()
    assert row["gap"] == gap
    assert row[["difference", "difference_low", "difference_high", "p", "p_holm", "delong_p"]].isna().all()
    assert row["runs"].split() == [run["folder"] for run in study.runs]
    assert row["unit"] == ("group" if study.runs else "")
    assert row["seeds_b"] == (1 if full.get("aucs") else 0)


def test_a_mode_that_is_not_there_or_cannot_run_has_no_contrast():
    study = Study().add("full", aucs=[0.8]).add("tl", left_out=True, gap="left out: it has no pretrained backbone")
    study.add("full", "vgg19", aucs=[0.8]).add("scratch", "vgg19", aucs=[0.8])
    assert study.table().empty


def test_arms_are_of_one_recipe_where_one_has_both_modes():
    study = Study()
    study.add("tl", recipe="timing", timing_only=True, aucs=[0.6])
    study.add("tl", recipe="tuned", tuned_from="native", left_out=True)
    study.add("tl", recipe="end-to-end", aucs=[0.9])
    study.add("full", recipe="paper", aucs=[0.8])
    study.add("tl", recipe="native", aucs=[0.7])
    study.add("full", recipe="native", aucs=[0.6])
    row = study.row()
    assert row["recipe"] == "native"
    assert row[["auc_a", "auc_b"]].tolist() == [0.7, 0.6]


def test_without_a_common_recipe_arms_are_the_first_cells_of_the_matrix():
    study = Study()
    study.add("tl", recipe="end-to-end", aucs=[0.9])
    study.add("full", recipe="paper", aucs=[0.8])
    study.add("tl", recipe="native", aucs=[0.7])
    row = study.row()
    assert row["recipe"] == "end-to-end / paper"
    assert row[["auc_a", "auc_b"]].tolist() == [0.9, 0.8]


def test_arms_are_on_one_device_the_first_that_has_both():
    study = Study().add("full", device="k80", recipe="timing", timing_only=True, aucs=[0.5])
    study.add("full", device="v100", aucs=[0.6]).add("full", device="a100", aucs=[0.7])
    study.add("tl", device="k80", aucs=[0.65]).add("tl", device="a100", aucs=[0.8])
    study.add("tl", device="v100", left_out=True).add("full", device="k80", aucs=[0.5])
    row = study.row()
    assert row["device"] == "a100"
    assert row[["auc_a", "auc_b"]].tolist() == [0.8, 0.7]


def test_modes_without_a_common_device_are_a_gap():
    row = Study().add("full", device="a100", aucs=[0.8]).add("tl", device="cpu", aucs=[0.9]).row()
    assert (row["gap"], row["device"]) == ("no device has both", "cpu / a100")
    assert pd.isna(row["p"])


LINEAR, KNN = "full − linear head", "full − k-NN"


def test_training_is_contrasted_with_the_baselines_of_the_same_backbone():
    study = Study()
    study.add("tl", recipe="linear", classifier="linear head", aucs=[0.7, 0.72])
    study.add("tl", recipe="knn", classifier="k-NN", aucs=[0.65])
    study.add("full", recipe="paper", aucs=[0.8])
    study.add("tl", recipe="paper", aucs=[0.75])
    study.add("finetune", recipe="native", aucs=[0.85])
    study.add("full", "b6", aucs=[0.9])  # without a baseline
    study.add("tl", "vgg19", recipe="linear", classifier="linear head", aucs=[0.6])  # nothing was trained
    table = study.table().set_index("contrast")
    # A linear head that comes first is not what stands for transfer learning.
    assert table.loc[TRANSFER, ["auc_a", "auc_b", "recipe"]].tolist() == [0.75, 0.8, "paper"]
    expected = {
        LINEAR: ("paper / linear", 0.8, 0.71),
        KNN: ("paper / knn", 0.8, 0.65),
        "fine-tuned − linear head": ("native / linear", 0.85, 0.71),
        "fine-tuned − k-NN": ("native / knn", 0.85, 0.65),
    }
    assert table.index.tolist() == [TRANSFER, *expected]
    for contrast, (recipe, a, b) in expected.items():
        row = table.loc[contrast]
        assert (row["recipe"], row["mode"], row["gap"]) == (recipe, "", "")
        assert row[["auc_a", "auc_b", "difference"]].tolist() == pytest.approx([a, b, a - b])


def test_contrasts_with_a_baseline_are_families_of_their_own():
    study = Study()
    for model in ("b6", "vgg19"):
        study.add("full", model, aucs=[0.8]).add("tl", model, aucs=[0.7])
        for classifier in ("linear head", "k-NN"):
            study.add("tl", model, recipe=classifier[0], classifier=classifier, aucs=[0.6])
    table = study.table()
    assert table["contrast"].tolist() == [TRANSFER, LINEAR, KNN] * 2
    assert table["p_holm"].tolist() == pytest.approx([2 * 0.05] * 6)


def test_a_baseline_by_the_same_recipe_comes_first_and_another_device_is_a_gap():
    study = Study()
    for recipe, auc in (("other", 0.6), ("linear", 0.7)):
        study.add("tl", recipe=recipe, classifier="linear head", aucs=[auc])
    study.add("full", recipe="linear", aucs=[0.8])
    study.add("tl", recipe="knn", classifier="k-NN", device="a100", aucs=[0.65])
    table = study.table().set_index("contrast")
    assert table.index.tolist() == [LINEAR, KNN]
    assert table.loc[LINEAR, ["recipe", "auc_b"]].tolist() == ["linear", 0.7]
    assert table.loc[KNN, "gap"] == "no device has both"


def test_tuned_against_untuned():
    study = Study().add("full", recipe="paper", aucs=[0.8])
    study.add("full", recipe="native", aucs=[0.7])
    study.add("full", recipe="tuned", tuned_from="native", aucs=[0.9])
    study.add("full", "b6", recipe="native", aucs=[0.6])
    row = study.row()
    assert (row["contrast"], row["mode"], row["recipe"]) == (TUNED, "full", "tuned / native")
    assert row[["auc_a", "auc_b"]].tolist() == [0.9, 0.7]
    assert row["p"] == pytest.approx(0.05)


@pytest.mark.parametrize("names", [{"model": "b6"}, {"mode": "scratch"}, {"device": "a100"}, {"dataset": "idc"}])
def test_untuned_is_of_the_same_data_set_model_mode_and_device(names):
    study = Study().add(**names, aucs=[0.8]).add(recipe="tuned", tuned_from="paper", aucs=[0.9])
    row = study.row()
    assert (row["contrast"], row["gap"], row["recipe"]) == (TUNED, "untuned: not in the matrix", "tuned / paper")
    assert (row["auc_a"], row["seeds_b"]) == (0.9, 0)


def test_contrasts_of_the_configuration_are_called_after_what_differs():
    study = Study()
    study.add("full", "p4m", aucs=[0.9]).add("full", "b2", aucs=[0.8])
    study.add("finetune", "b2", recipe="strong", aucs=[0.95]).add("full", "b2", aucs=[0.7], dataset="idc")
    p4m, b2 = (("p4m" if model else "b2", "full", "paper", "cpu") for model in (True, False))
    strong = ("b2", "finetune", "strong", "cpu")
    table = study.table(named=[(p4m, b2), (strong, b2)])
    # On IDC each lacks an arm.
    assert table["dataset"].tolist() == ["pcam", "pcam"]
    assert table["contrast"].tolist() == ["P4M − B2", "fine-tuned, strong − full, paper"]
    assert table["difference"].tolist() == pytest.approx([0.1, 0.15])
    assert table["model"].tolist() == ["p4m / b2", "b2"]
    # They count in the family of the data set.
    assert table["p_holm"].tolist() == pytest.approx(2 * table["p"])


def test_every_tuned_cell_has_a_contrast_in_the_family_of_its_data_set():
    study = Study()
    for mode, recipe in product(["tl", "full"], ["paper", "tuned"]):
        tuned_from = "paper" if recipe == "tuned" else ""
        auc = 0.7 + 0.1 * (mode == "tl") + (recipe == "tuned") / 20
        study.add(mode, recipe=recipe, tuned_from=tuned_from, aucs=[auc])
    study.add("scratch", recipe="tuned", tuned_from="paper", left_out=True)
    study.add("full", recipe="tuned-timing", tuned_from="paper", timing_only=True, aucs=[0.9])
    table = study.table()
    assert table["contrast"].tolist() == [TRANSFER, TUNED, TUNED]
    assert table["mode"].tolist() == ["", "tl", "full"]
    assert table["difference"].tolist() == pytest.approx([0.1, 0.05, 0.05])
    assert table["p_holm"].tolist() == pytest.approx([0.15] * 3)


@pytest.mark.parametrize(("lost", "file"), [("replicates", "bootstrap.csv"), ("predictions", "predictions.csv")])
def test_a_missing_file_is_named(lost, file):
    study = Study().add("full", aucs=[0.8]).add("tl", aucs=[0.9])
    del getattr(study, lost)[FULL]
    with pytest.raises(HistobenchError, match=f"{file} of {FULL}"):
        study.table()


@pytest.mark.parametrize("other", [predictions(GOOD, LABELS[::-1]), predictions(GOOD[:7], LABELS[:7])])
def test_other_test_patches_are_refused(other):
    study = Study().add("full", aucs=[0.8]).add("tl", aucs=[0.9])
    study.predictions[TL] = other
    with pytest.raises(HistobenchError, match=f"same test patches.*{TL}.*{FULL}"):
        study.table()


def test_the_notes_say_what_delong_assumes_and_what_holm_is_over():
    told = " ".join(NOTES)
    assert "treats patches as independent" in told
    assert "all contrasts of one data set" in told


def test_first_cells_are_the_first_of_each_data_set_model_and_mode():
    first = [cell(device="v100", gap="not run yet"), cell("tl"), cell("full", "b6"), cell(dataset="idc")]
    never = [cell(recipe="timing", timing_only=True), cell(recipe="tuned", tuned_from="paper")]
    never += [cell(recipe="small", left_out=True), cell("scratch", left_out=True)]
    later = [cell(device="a100"), cell(recipe="native", device="v100")]
    found = first_cells(pd.DataFrame([*never, first[0], *later, *first[1:]]))
    pd.testing.assert_frame_equal(found, pd.DataFrame(first))


def test_the_runs_of_a_cell_are_those_of_all_its_names():
    study = Study().add(aucs=[0.8, 0.9])
    for other in ({"dataset": "idc"}, {"model": "b6"}, {"mode": "tl"}, {"recipe": "native"}, {"device": "a100"}):
        study.add(**other, aucs=[0.7])
    assert runs_of(cell(), pd.DataFrame(study.runs))["auc"].tolist() == [0.8, 0.9]
