"""The counts of the paper's Table 1 for all of its models."""

import pytest

from support.table1 import TABLE_1, assert_counts_are_those_of_table_1, described


@pytest.mark.parametrize("key", TABLE_1)
def test_counts_are_those_of_table_1(key):
    assert_counts_are_those_of_table_1(key)


def test_multiply_adds_of_vgg19():
    first = 96 * 96 * 3 * 3 * 3 * 64 + 96 * 96 * 3 * 3 * 64 * 64
    second = 48 * 48 * 9 * (64 * 128 + 128 * 128)
    third = 24 * 24 * 9 * (128 * 256 + 3 * 256 * 256)
    fourth = 12 * 12 * 9 * (256 * 512 + 3 * 512 * 512)
    fifth = 6 * 6 * 9 * 4 * 512 * 512
    assert described("vgg19")[0]["multiply_adds_96"] == first + second + third + fourth + fifth + 512 * 256 + 256
