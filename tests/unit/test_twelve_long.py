"""Every CNN of the paper passes through `full` and `tl`."""

import pytest

from histobench.core.catalogue import CATALOGUE
from support.cnns import COUNTS, SHAPE, assert_full_moves_every_weight, assert_tl_moves_the_head_alone
from support.small import prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, SHAPE)


@pytest.mark.parametrize("key", CATALOGUE)
def test_full_moves_every_weight(key, data, tmp_path):
    assert_full_moves_every_weight(key, data, tmp_path)


@pytest.mark.parametrize("key", [key for key, model in CATALOGUE.items() if model.application])
def test_tl_moves_the_head_alone(key, data, tmp_path):
    assert_tl_moves_the_head_alone(key, data, tmp_path)
