"""Tests of transfer learning against full training: the paper's, which must come out as printed, and ours."""

from dataclasses import replace

import pandas as pd
import pytest
from scipy import stats

from histobench.core.errors import HistobenchError
from histobench.results import paper
from histobench.results.tables import tests as mode_tests
from support.project import ROOT

PUBLISHED = paper.read(ROOT / "config" / "paper")


def ours(**aucs):
    """Return AUCs by model: (transfer learning, full), None where there is none."""
    rows = [
        {"dataset": "pcam", "model": model, "mode": mode, "auc": auc}
        for model, both in aucs.items()
        for mode, auc in zip(("tl", "full"), both, strict=True)
    ]
    return pd.DataFrame(rows, columns=["dataset", "model", "mode", "auc"]).astype({"auc": float})


def of(table, source, test, dataset="pcam"):
    rows = table[(table["source"] == source) & (table["test"] == test) & (table["dataset"] == dataset)]
    (row,) = rows.to_dict("records")
    return row


@pytest.mark.parametrize(
    ("dataset", "welch", "paired"),
    [("PCam", ("-2.5527", "16.285", "0.02108"), "0.0118"), ("IDC", ("-3.5998", "8.4843", "0.006335"), "0.0099")],
)
def test_the_papers_tests_come_out_as_printed(dataset, welch, paired):
    table = mode_tests.tests(PUBLISHED, ours())
    row = of(table, "published", "Welch", dataset)
    assert (row["t"], row["df"], row["p"]) == welch
    assert of(table, "published", "paired t", dataset)["p"] == paired
    mode_tests.check(table, PUBLISHED)


def test_a_digit_that_changes_is_an_error():
    first = PUBLISHED.performance.index[0]
    changed = PUBLISHED.performance.copy()
    changed.loc[first, "auc"] += 0.01
    table = mode_tests.tests(replace(PUBLISHED, performance=changed), ours())
    with pytest.raises(HistobenchError, match="Welch's test on PCam: expected"):
        mode_tests.check(table, PUBLISHED)


def test_ours_are_tested_as_scipy_tests_them():
    aucs = {"a": (0.80, 0.90), "b": (0.85, 0.88), "c": (0.70, 0.93), "d": (None, 0.95)}
    table = mode_tests.tests(PUBLISHED, ours(**aucs))
    tl, full = [0.80, 0.85, 0.70], [0.90, 0.88, 0.93]
    welch, row = stats.ttest_ind(tl, [*full, 0.95], equal_var=False), of(table, "this study", "Welch")
    assert (row["n_tl"], row["n_full"]) == (3, 4)
    assert [float(row["t"]), float(row["p"])] == pytest.approx([welch.statistic, welch.pvalue], abs=1e-4)
    paired, row = stats.ttest_rel(tl, full), of(table, "this study", "paired t")
    assert (row["n_tl"], row["n_full"], row["df"]) == (3, 3, "2")
    assert [float(row["t"]), float(row["p"])] == pytest.approx([paired.statistic, paired.pvalue], abs=1e-4)


@pytest.mark.parametrize(
    ("aucs", "welch", "paired"),
    [
        ({}, None, None),
        ({"a": (0.8, 0.9)}, "fewer than 2 models in each mode", "fewer than 2 models with both modes"),
        ({"a": (0.8, None), "b": (0.7, None), "c": (None, 0.9), "d": (None, 0.8)}, "", "fewer than 2 models"),
        ({"a": (None, None)}, None, None),
    ],
)
def test_too_few_models_are_a_gap(aucs, welch, paired):
    table = mode_tests.tests(PUBLISHED, ours(**aucs))
    if welch is None:
        assert set(table["source"]) == {"published"}
        return
    assert of(table, "this study", "Welch")["gap"] == welch
    row = of(table, "this study", "paired t")
    assert row["gap"].startswith(paired)
    assert (row["t"], row["p"]) == ("–", "–")


def test_models_without_any_spread_have_no_t():
    row = of(mode_tests.tests(PUBLISHED, ours(a=(0.8, 0.9), b=(0.8, 0.9))), "this study", "paired t")
    assert (row["t"], row["p"]) == ("–", "–")
    assert row["difference"] == pytest.approx(-0.1)
