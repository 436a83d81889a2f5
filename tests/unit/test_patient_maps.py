"""Slides or patients put together from their test patches."""

import numpy as np
import pandas as pd
import pytest

from histobench.results.figures import patient_maps
from histobench.results.figures.patient_maps import LABELS, Patient, chosen, maps

RNG = np.random.default_rng(4)


def test_the_best_the_median_and_the_worst_by_auc_are_chosen():
    rows = []
    for number, quality in enumerate([0.9, 0.1, 0.5, 0.7, 0.3]):
        labels = np.arange(30) % 2
        values = quality * labels + (1 - quality) * RNG.random(30)
        rows += [(f"g{number}", label, value) for label, value in zip(labels, values, strict=True)]
    rows += [("few", label, float(label)) for label in (0, 1)] + [("one class", 1, 0.5)] * 30 + [("", 0, 1.0)] * 30
    test = pd.DataFrame(rows, columns=["group", "label", "score"])
    found = chosen(test)
    assert list(found) == ["best", "median", "worst"]
    aucs = [auc for _, auc in found.values()]
    assert aucs == sorted(aucs, reverse=True)
    assert found["best"][0] == "g0"
    assert {group for group, _ in found.values()} <= {f"g{number}" for number in range(5)}
    assert chosen(test[test["group"].isin(["g0", "few"])]) == {"best": ("g0", found["best"][1])}
    assert chosen(test[test["group"] == "few"]) == {}


def patient(n, spread):
    places = RNG.permutation(spread * spread)[:n]
    return Patient(
        "p: AUC 0.9",
        np.stack([places % spread, places // spread], axis=1).astype(float),
        RNG.integers(0, 200, (n, 50, 50, 3), np.uint8),
        RNG.integers(0, 2, n),
        RNG.random(n),
    )


@pytest.mark.parametrize(("n", "spread", "larger"), [(60, 12, False), (40, 400, True)])
def test_each_patch_has_its_tissue_label_and_score_at_its_place(n, spread, larger):
    some = patient(n, spread)
    figure = maps([some])
    tissue, labels, scores = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3])
    masked = np.ma.getmaskarray(figure.axes[2].images[0].get_array())
    first = some.places - some.places.min(axis=0)
    scale = min(patient_maps.PIXELS / (some.places.max() + 1), 50)
    side = 16 if larger else round(scale)
    right = 0
    for (x, y), label, score in zip(first, some.labels, some.scores, strict=True):
        column, row = int(x * scale + side / 2), int(y * scale + side / 2)
        right += (labels[row, column] == LABELS[label]).all() and scores[row, column] == pytest.approx(score)
        assert not masked[row, column]
        assert tissue[row, column].max() < 255
    assert right >= (n if not larger else n - 5)  # far apart, some cover one another
    assert masked.mean() > 0.1
    assert figure.axes[0].get_title(loc="left") == "p: AUC 0.9"
