"""Heads on cached features are, to the bit, those of end-to-end training, on top of the deeper backbones, too."""

import pytest

from histobench.core.runs import read_rows
from support.heads import COUNTS, SIDE, assert_heads_are_equal, extracted, trained
from support.small import prepare, specification


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, (SIDE, SIDE, 3))


@pytest.mark.parametrize("model", ["inceptionv3", "densenet121"])
def test_cached_and_end_to_end_heads_are_equal(model, data, tmp_path):
    assert_heads_are_equal(model, 16, data, tmp_path)


def test_efficientnetv2_sees_other_features_end_to_end(data, tmp_path):
    """Its drop-connect stays active in training: `cached` and `end_to_end` are two things there."""
    features = extracted("efficientnetv2b0", data, tmp_path / "features")
    recipe = {"batch_size": 69, "epochs": 1}
    one = trained(specification("efficientnetv2b0", "tl", transfer="cached", **recipe), data, tmp_path / "1", features)
    whole = specification("efficientnetv2b0", "tl", side=SIDE, transfer="end_to_end", **recipe)
    two = trained(whole, data, tmp_path / "2")
    losses = [read_rows(folder / "history.csv")[0]["loss"] for folder in (one, two)]
    assert losses[0] != losses[1]
