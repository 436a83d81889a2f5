"""Heads on cached features are, to the bit, those of end-to-end training, on top of the deeper backbones, too."""

import pytest

from support.heads import COUNTS, SIDE, assert_heads_are_equal
from support.small import prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, (SIDE, SIDE, 3))


@pytest.mark.parametrize("model", ["inceptionv3", "densenet121"])
def test_cached_and_end_to_end_heads_are_equal(model, data, tmp_path):
    assert_heads_are_equal(model, 16, data, tmp_path)
