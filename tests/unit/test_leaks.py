"""What leaks is worth: the AUC without it, and that of a leaky split beside one without leaks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from histobench.results.columns import names
from histobench.results.tables import leaks as table_of_leaks
from histobench.results.tables import leaky_split as table_of_splits
from histobench.results.tables.contradicted import contradicted
from histobench.results.tables.leaks import ALL, NO_COPIES, NO_GROUPS, NO_LEAKS, NO_NEAR, ONCE, leaks
from histobench.results.tables.leaky_split import APART, ENOUGH, SHARED, leaky_split
from support.frames import cell, run

CELL = {"dataset": "pcam", "model": "b2", "model_name": "B2", "mode": "full", "recipe": "paper", "device": "cpu"}


def scored(labels, scores, groups="", prefix="p"):
    """Return predictions of test patches, and of a validation patch."""
    test = pd.DataFrame({"split": "test", "patch_id": [f"{prefix}{number:04d}" for number in range(len(labels))]})
    test = test.assign(group=groups, label=labels, score=scores)
    return pd.concat([test, test.head(1).assign(split="valid", patch_id="v")], ignore_index=True)


def of_seeds(*frames, **changes):
    """Return runs with these predictions, by seed, and the predictions by folder."""
    rows = [run(seed=seed, **changes) for seed in range(1, 1 + len(frames))]
    return pd.DataFrame(rows), {row["folder"]: frame for row, frame in zip(rows, frames, strict=True)}


def about(**shared):
    counts = [{"part": "test", "beside": part} for part in ("train", "valid", "test")]
    return {"counts": counts, "shared_groups": {f"test {part}": groups for part, groups in shared.items()}}


def copies(*rows):
    """Return rows of duplicates.csv."""
    return pd.DataFrame(rows, columns=["patch_id", "same", "copies_in", "near_in"]).assign(split="test")


LABELS = np.array([0, 1] * 10)
SCORES = np.random.default_rng(0).random(20).round(2)
GROUPS = [f"g{number // 5}" for number in range(20)]


def table(*scores, groups=GROUPS, shared=(), found=()):
    runs, predictions = of_seeds(*(scored(LABELS, each, groups) for each in scores or (SCORES,)))
    made = leaks(CELL, runs, predictions, about(**dict(shared)), copies(*found))
    assert list(made) == names(table_of_leaks.COLUMNS)
    return made.set_index("test_patches")


def test_each_row_leaves_out_what_it_says():
    found = [
        ("p0000", 7, "train test", ""),
        ("p0002", 7, "train test", ""),  # of the same label
        ("p0003", 7, "test", ""),  # of the other label
        ("p0005", 8, "", "valid"),
        ("p0006", 9, "", "test"),
    ]
    made = table(shared={"train": ["g3"], "valid": ["g9"]}.items(), found=found)
    left = {
        ALL: [],
        ONCE: [2],
        NO_COPIES: [0, 2],
        NO_NEAR: [0, 2, 5],
        NO_GROUPS: [15, 16, 17, 18, 19],
        NO_LEAKS: [0, 2, 5, 15, 16, 17, 18, 19],
    }
    assert list(made.index) == list(left)
    for name, out in left.items():
        kept = np.delete(np.arange(20), out)
        row = made.loc[name]
        assert (row["n"], row["left_out"], row["positives"]) == (len(kept), len(out), LABELS[kept].sum())
        assert row["auc"] == pytest.approx(roc_auc_score(LABELS[kept], SCORES[kept]))
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]
        assert row["groups"] == len({GROUPS[number] for number in kept})
    differences = made["difference"].drop(ALL)
    assert differences.tolist() == pytest.approx((made["auc"].drop(ALL) - made.loc[ALL, "auc"]).tolist())
    assert np.isnan(made.loc[ALL, "difference"])


def test_nothing_that_leaks_leaves_all_as_it_is():
    made = table()
    assert (made["left_out"] == 0).all()
    same = made.drop(ALL)[["difference", "difference_low", "difference_high"]]
    assert (same == 0).all(axis=None)


def test_seeds_are_averaged_and_the_whole_test_set_has_the_interval_of_its_metrics():
    from histobench.results import metrics

    other = np.random.default_rng(1).random(20).round(2)
    made = table(SCORES, other)
    both = [roc_auc_score(LABELS, scores) for scores in (SCORES, other)]
    assert made.loc[ALL, "auc"] == pytest.approx(np.mean(both))
    alone = table(SCORES).loc[ALL]
    valid = scored([0, 1], [0.1, 0.9], "v", "v").query("split == 'test'").assign(split="valid")
    whole = pd.concat([scored(LABELS, SCORES, GROUPS).query("split == 'test'"), valid])
    assert [alone["auc_low"], alone["auc_high"]] == metrics.evaluate(whole)[0]["intervals"]["auc"]


def test_seeds_with_folds_of_their_own_are_not_averaged_by_the_folds_of_the_first(monkeypatch):
    """The audit knows the folds of one seed: what they give away is nothing to the scores of another one."""
    runs, predictions = of_seeds(*(scored(LABELS, each, GROUPS) for each in (SCORES, 1 - SCORES)))
    monkeypatch.setattr(table_of_leaks.audit, "read", lambda _: (about(), copies(), None))
    monkeypatch.setattr(table_of_leaks.performance, "read", lambda _: pd.DataFrame([CELL]))
    monkeypatch.setattr(table_of_leaks.best, "best", lambda *_: pd.DataFrame([CELL]))

    def made(**seeds):
        files = dict.fromkeys(("audit", "performance"))
        inputs = SimpleNamespace(files=files, runs=runs, dataset="pcam", by_run=lambda _: predictions)
        inputs.first_seeds, inputs.announcements = seeds, list
        return table_of_leaks.leaks_table(inputs)

    both, second = made(), made(pcam=2)
    assert both.frame["auc"].iloc[0] == pytest.approx(0.5)
    assert second.frame["auc"].iloc[0] == pytest.approx(roc_auc_score(LABELS, 1 - SCORES))
    assert "those of seed 2" in second.footnotes[-1]
    assert made(pcam=3).frame.empty  # its run is missing


def test_what_cannot_be_told_says_why():
    made = table(shared={"train": ["g0", "g1", "g2", "g3"]}.items())
    assert made.loc[NO_GROUPS, "gap"] == "no patches are left"
    assert np.isnan(made.loc[NO_GROUPS, "auc"])
    made = table(groups="")
    assert made.loc[NO_GROUPS, "gap"] == made.loc[NO_LEAKS, "gap"] == "slides or patients are unknown"
    assert np.isnan(made.loc[NO_GROUPS, "auc"])
    assert not np.isnan(made.loc[NO_LEAKS, "auc"])
    assert made["effective_n"].isna().all()
    made = table(found=[(f"p{number:04d}", number, "train", "") for number in range(0, 20, 2)])
    assert made.loc[NO_COPIES, "gap"] == "no patches of both classes are left"


def splits(labels, a, b, ids=("p", "p"), **changes):
    """Return the table of two data sets with one cell each, with these scores by seed."""
    runs, predictions = [], {}
    for dataset, arms, prefix in (("leaky", a, ids[0]), ("grouped", b, ids[1])):
        some, frames = of_seeds(*(scored(labels, each, "", prefix) for each in arms), dataset=dataset, **changes)
        runs.append(some)
        predictions |= frames
    cells = pd.DataFrame([cell(dataset="leaky"), cell(dataset="grouped"), cell(dataset="leaky", model="b6")])
    made = leaky_split([["leaky", "grouped"]], pd.concat(runs), cells, predictions)
    assert list(made) == names(table_of_splits.COLUMNS)
    assert len(made) == 1  # B6 is in one of the two only
    return made.iloc[0]


MANY = np.array([0, 1] * ENOUGH)


def noisy(deviation, seed):
    return 1 / (1 + np.exp(-(MANY + np.random.default_rng(seed).normal(0, deviation, len(MANY)))))


def test_shared_patches_pair_the_arms():
    a, b = noisy(0.3, 1), noisy(1.0, 2)
    row = splits(MANY, [a], [b])
    assert row["difference"] == pytest.approx(roc_auc_score(MANY, a) - roc_auc_score(MANY, b))
    assert (row["auc_a"], row["auc_b"]) == pytest.approx((roc_auc_score(MANY, a), roc_auc_score(MANY, b)))
    assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
    assert (row["test_patches"], row["n_a"], row["n_b"], row["unit"]) == (SHARED, 200, 200, "patch")
    assert splits(MANY, [a], [a])["difference_high"] == 0  # the same patches in each resample
    assert splits(MANY, [a, b], [b])["seeds_a"] == 2


def test_other_patches_are_resampled_apart():
    row = splits(MANY, [noisy(0.3, 1)], [noisy(1.0, 2)], ids=("p", "q"))
    assert row["test_patches"] == APART
    assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
    same = splits(MANY, [noisy(1.0, 1)], [noisy(1.0, 1)], ids=("p", "q"))
    assert same["difference"] == 0
    assert same["difference_low"] < 0 < same["difference_high"]


def test_an_arm_without_a_run_says_why():
    row = splits(MANY, [noisy(1, 1)], [])
    assert row["gap"] == "grouped: "
    row = splits(MANY, [noisy(1, 1)], [noisy(1, 2)], collapsed=True)
    assert row["gap"] == "leaky: collapsed; grouped: collapsed"
    assert np.isnan(row["difference"])


def test_contradicted_labels_have_their_places_where_these_are_known():
    scored = pd.DataFrame(
        {"patch_id": list("abcd"), "group": "g", "label": [0, 0, 1, 1], "score": [0.9, 0.1, 0.2, 0.4]}
    )
    scored = scored.assign(scored_by=2, contradicting=[2, 0, 2, 1])
    places = pd.DataFrame({"patch_id": list("dcba"), "x": [4, -1, 2, 1], "y": [40, -1, 20, 10]})
    made = contradicted(scored, places)
    assert made[["patch_id", "x", "y"]].astype(object).to_numpy().tolist() == [
        ["a", 1, 10],
        ["c", pd.NA, pd.NA],
        ["d", 4, 40],
    ]


def test_of_a_cross_validation_another_fold_gives_away_what_is_tested_on():
    """Every patch is tested on, in its own fold: a copy there gives nothing away, one in another fold does."""
    found = copies(("p0000", 7, "fold-1", ""), ("p0001", 8, "fold-1 fold-2", ""), ("p0002", 9, "", "fold-2"))
    found["split"] = "fold-1"
    counts = [{"part": f"fold-{part}", "beside": f"fold-{part}"} for part in (1, 2)]
    runs, predictions = of_seeds(scored(LABELS, SCORES, GROUPS))
    made = leaks(CELL, runs, predictions, {"counts": counts, "shared_groups": {"fold-2 fold-1": []}}, found)
    assert made["left_out"].tolist() == [0, 0, 1, 2, 0, 2]
