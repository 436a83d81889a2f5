"""Cached features are read when they are taken: those of the patch at its position, or an error."""

import os
from pathlib import Path

import numpy as np
import pytest

from histobench.core import features
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, write_sealed
from support.small import COUNTS


@pytest.fixture
def folder(tmp_path):
    """A folder of features of the training patches, five of each."""
    values = np.random.default_rng(1).normal(size=(COUNTS["train"], 5)).astype(np.float32)
    np.save(tmp_path / features.file_name("train"), values)
    write_sealed(tmp_path / features.ABOUT, {"sha256": {"train": digest(tmp_path / features.file_name("train"))}})
    return tmp_path


def test_features_by_position(prepared_folder, folder):
    part = features.Features(prepared_folder, folder, "train")
    assert (part.shape, part.dtype, len(part)) == ((5,), "float32", COUNTS["train"])
    positions = np.array([3, 60, 3, 0])
    expected = np.load(folder / features.file_name("train"))[positions]
    taken = part.take(positions)
    np.testing.assert_array_equal(taken, expected)
    assert taken.dtype == np.float32
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(folder) not in maps.read_text()


def test_features_that_are_cut_while_they_are_read_are_an_error_that_names_the_file(prepared_folder, folder):
    part, path = features.Features(prepared_folder, folder, "train"), folder / features.file_name("train")
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(HistobenchError, match=r"train\.npy: expected 20 bytes from byte \d+ on, found: 16"):
        part.take(np.array([COUNTS["train"] - 1]))
