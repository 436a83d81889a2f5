"""A CNN of each kind passes through `full`: one of the author's own, a plain one, and one with drop-connect.

All twelve do in `test_twelve_long.py`, through `tl` as well, which `test_transfer.py` holds for some.
"""

import pytest

from support.cnns import COUNTS, SHAPE, assert_full_moves_every_weight
from support.small import prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, SHAPE)


@pytest.mark.parametrize("key", ["b6", "mobilenet", "efficientnetv2b0"])
def test_full_moves_every_weight(key, data, tmp_path):
    assert_full_moves_every_weight(key, data, tmp_path)
