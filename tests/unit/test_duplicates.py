"""Finding patches that show the same: planted ones are found, however they are turned, and nothing else is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.core.simulation import PCAM, draw_style, pcam_patch
from histobench.results import duplicates
from histobench.results.duplicates import TURNS, between, by_hash, by_place, find, turned, windows
from support.planted import shifted, turn

SIDE = PCAM.side


@pytest.fixture(scope="module")
def tissue():
    """Simulated patches of PCam's size."""
    rng = np.random.default_rng(5)
    style = draw_style(rng, PCAM)
    return np.stack([pcam_patch(rng, style, number % 2)[0] for number in range(40)])


def found_in(images, groups=None, places=None, downsample=1.0, uniform=None):
    """Find what is in an array of patches."""
    n = len(images)
    return find(
        lambda numbers: images[numbers],
        pd.factorize(np.array([image.tobytes().hex() for image in images]))[0],
        np.zeros(n, bool) if uniform is None else uniform,
        np.full(n, -1) if groups is None else np.array(groups),
        np.full((n, 2), -1) if places is None else np.array(places),
        downsample,
    )


def pairs(found):
    return set(zip(found.near["first"], found.near["second"], strict=True))


def test_the_eight_turns_differ_and_between_leads_from_one_to_another():
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, way).tobytes() for way in range(TURNS)}) == TURNS
    for first in range(TURNS):
        for second in range(TURNS):
            assert (turned(turned(square, between(first, second)), second) == turned(square, first)).all()


@pytest.mark.parametrize("way", range(TURNS))
def test_the_windows_of_a_turned_patch_are_the_same_ones(tissue, way):
    green = tissue[:8, ..., 1]
    numbers = np.arange(8)
    plain, other = windows(green, numbers), windows(np.ascontiguousarray(turned(green, way)), numbers)
    for number in numbers:
        hashes = sorted(plain.loc[plain["patch"] == number, "hash"])
        assert 0 < len(hashes) <= duplicates.WINDOWS
        assert hashes == sorted(other.loc[other["patch"] == number, "hash"])


def test_turned_copies_are_one_class_and_say_how_they_are_turned(tissue):
    images = np.concatenate([tissue, np.stack([turn(tissue[way], way) for way in range(TURNS)])])
    found = found_in(images)
    first = found.copies[: len(tissue)]
    assert len(set(first)) == len(tissue)
    assert found.copies[len(tissue) :].tolist() == first[:TURNS].tolist()
    assert len(set(found.equal)) == len(tissue) + TURNS - 1  # one is as it was
    for number, way in enumerate(found.turns):
        original = int(np.flatnonzero(found.copies == found.copies[number])[0])
        assert (turn(images[number], way) == images[original]).all()
    assert not pairs(found)


@pytest.mark.parametrize("shift", [(1, 0), (-2, 3), (4, 4), (-6, 2)])
def test_shifted_patches_are_found_however_they_are_turned(tissue, shift):
    """The shift, too, is told as it is."""
    rng = np.random.default_rng(0)
    images = np.concatenate(
        [tissue, np.stack([turn(np.roll(each, shift, (0, 1)), rng.integers(8)) for each in tissue])]
    )
    found = found_in(images)
    assert pairs(found) == {(number, number + len(tissue)) for number in range(len(tissue))}
    assert len(set(found.copies)) == len(images)
    assert (found.near["correlation"] > 0.9).all()
    share = (1 - abs(shift[0]) / SIDE) * (1 - abs(shift[1]) / SIDE)
    assert found.near["overlap"].tolist() == pytest.approx([share] * len(tissue))


def test_noise_and_brightness_hide_nothing(tissue):
    rng = np.random.default_rng(0)
    other = shifted(tissue[3], 2, -3) * 0.8 + rng.normal(0, 3, tissue[3].shape)
    found = found_in(np.concatenate([tissue, other.clip(0, 255).astype(np.uint8)[None]]))
    assert pairs(found) == {(3, len(tissue))}


def test_copies_of_copies_are_paired_once(tissue):
    """Of equal patches the first stands for all."""
    images = np.concatenate([tissue, tissue[[7, 7]], np.roll(tissue[7], 3, 0)[None]])
    assert pairs(found_in(images)) == {(7, len(images) - 1)}


@pytest.mark.parametrize("side", [1, 8, 16, 30, 50, 97])
def test_patches_of_any_size(tissue, side):
    images = tissue[:10, :side, :side]
    found = found_in(np.concatenate([images, turn(images[2], 5)[None]]))
    assert found.copies[-1] == found.copies[2]


HASHES = st.integers(0, 2**64 - 1)


@settings(max_examples=50)
@given(hashes=st.lists(HASHES, min_size=2, max_size=20, unique=True), bits=st.sets(st.integers(0, 63), max_size=6))
def test_hashes_that_differ_in_three_bits_share_a_band(hashes, bits):
    other = hashes[0]
    for bit in bits:
        other ^= 1 << bit
    values = np.array([*hashes, other], np.uint64)
    n = len(values)
    found = by_hash(pd.DataFrame({"patch": range(n), "y": 9, "x": 9, "turn": 0, "hash": values}), SIDE, {})
    expected = {(a, b) for a in range(n) for b in range(a + 1, n) if int(values[a] ^ values[b]).bit_count() <= 3}
    assert set(zip(found["first"], found["second"], strict=True)) == expected


def test_overlapping_places_are_compared_at_their_shift(tissue):
    """Of one slide, in pixels of the slide: four to a pixel of a patch, as in PCam."""
    slide = np.concatenate(list(tissue[:3]), axis=1)
    corners = [(0, 0), (0, 48), (0, 100), (0, 190)]
    images = np.stack([slide[y : y + SIDE, x : x + SIDE] for y, x in corners])
    places = [(4 * x, 4 * y) for y, x in corners]
    found = found_in(images, [0] * 4, places, downsample=4)
    assert pairs(found) == {(0, 1), (1, 2)}
    assert found.near["by_place"].all()
    assert found.near["correlation"].tolist() == pytest.approx([1, 1])
    assert found.near["overlap"].tolist() == pytest.approx([48 / 96, 44 / 96])
    # Such windows lie in the middle of both halves: other slides, or no places, and pixels alone tell.
    assert not found_in(images, [0, 1, 2, 3], places, downsample=4).near["by_place"].any()


def test_places_that_pixels_contradict_count_for_nothing(tissue):
    found = found_in(tissue[:4], [0, 0, 0, -1], [(0, 0), (30, 30), (500, 0), (0, 0)])
    assert not pairs(found)
    assert found.unlike == 1


def test_places_all_the_same_or_unknown_are_none():
    numbers, groups = np.arange(4), np.array([0, 0, 1, 1])
    places = np.array([(5, 5), (5, 5), (-1, -1), (0, 0)])
    assert by_place(groups, places, 1, SIDE, numbers, {}).empty


def test_places_between_pixels(tissue):
    """A shift of 10.5 px is compared at 10 and at 11."""
    images = np.stack([tissue[0], np.roll(tissue[0], -10, 1)])
    found = found_in(images, [0, 0], [(0, 0), (42, 0)], downsample=4)
    assert pairs(found) == {(0, 1)}


def test_uniform_patches_are_compared_for_equality_alone():
    rng = np.random.default_rng(0)
    white = rng.normal(240, 1, (300, SIDE, SIDE, 3)).astype(np.uint8)
    white[250:] = white[0]
    found = found_in(white, uniform=np.ones(300, bool))
    assert not pairs(found)
    assert len(set(found.copies)) == 250


def test_too_much_of_one_thing_is_told_and_bounded(tissue, monkeypatch):
    """What repeats is compared with some others, and the rest is told."""
    images = np.stack([np.roll(tissue[0], number, 0) for number in range(9)])
    monkeypatch.setattr(duplicates, "COMPARED", 2)
    found = found_in(images)
    assert found.skipped[duplicates.TOO_MANY_ALIKE] > 0
    assert 0 < len(pairs(found)) < 36
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 5)
    found = found_in(images, [0] * 9, [(0, 10 * number) for number in range(9)])
    assert found.skipped[duplicates.TOO_MANY_PLACES] == 9
    assert found.skipped[duplicates.TOO_MANY_PAIRS] > 0
    assert len(pairs(found)) <= 5
