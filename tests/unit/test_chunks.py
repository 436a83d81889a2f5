"""Patches are read in chunks of so many bytes, whatever their size."""

import numpy as np
import pytest
from PIL import Image

from histobench.core import datasets
from histobench.core.formats import Dataset, Source
from histobench.core.own_patches import Own


@pytest.mark.parametrize("side", [8, 700, 1600])
def test_a_chunk_of_patches_of_ones_own_is_bounded_in_bytes_and_none_is_lost(tmp_path, side):
    names = []
    for split in ("train", "valid", "test"):
        for number in range(7):
            path = tmp_path / split / str(number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(path, compress_level=1)
            names.append("/".join(path.parts[-3:]))
    source = Source("own", "folder", str(tmp_path), {}, {}, {}, side, "own", own=Own())
    chunks = list(datasets.read(Dataset("own", source, "published"), datasets.Tally()))
    assert sorted(name for each in chunks for name in each.ids) == sorted(names)
    for each in chunks:
        assert len(each.ids) == 1 or each.images.nbytes <= datasets.CHUNK_BYTES


def test_patches_as_small_as_the_published_ones_come_by_as_many_as_before():
    assert datasets.chunk(50) == datasets.chunk(96) == datasets.CHUNK
