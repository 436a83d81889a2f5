"""Changes of patches: what each does, and what it leaves as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from histobench.core.changes import FLIPS_AND_TURNS, UNCHANGED
from histobench.train.augmentation import STAIN
from histobench.train.changes import CHANGES, blurred, compressed, stained

BY_NUMPY = {
    "flipped top to bottom": np.flipud,
    "flipped left to right": np.fliplr,
    "turned upside down": lambda image: np.rot90(image, 2),
    "flipped along the diagonal": lambda image: image.transpose(1, 0, 2),
    "turned to the right": lambda image: np.rot90(image, -1),
    "turned to the left": np.rot90,
    "flipped along the other diagonal": lambda image: np.rot90(image.transpose(1, 0, 2), 2),
}


@pytest.fixture(scope="module")
def tissue():
    """Smooth patches in the colours of tissue, (3, 32, 32, 3), with glass at the left."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform((140, 70, 120), (230, 190, 220), (3, 4, 4, 3)).round().astype(np.uint8)
    images = blurred(coarse.repeat(8, axis=1).repeat(8, axis=2), sigma=2)
    images[:, :, :8] = 255
    return images


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([16, 17]))
def test_shape_and_type_stay(seed, n, side):
    images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)
    before = images.copy()
    for name, change in CHANGES.items():
        changed = change(images)
        assert (changed.shape, changed.dtype) == (images.shape, np.uint8), name
    assert (images == before).all()


def test_each_is_another_one(tissue):
    found = {change(tissue).tobytes() for change in CHANGES.values()}
    assert len(found) == len(CHANGES) == 19
    assert (CHANGES[UNCHANGED](tissue) == tissue).all()


@pytest.mark.parametrize("name", FLIPS_AND_TURNS)
def test_flips_and_turns_are_those_of_their_names(name, tissue):
    change = CHANGES[name]
    assert (change(tissue) == np.stack([BY_NUMPY[name](image) for image in tissue])).all()
    back = {"turned to the right": "turned to the left", "turned to the left": "turned to the right"}.get(name, name)
    assert (CHANGES[back](change(tissue)) == tissue).all()


@given(arrays.arrays(np.uint8, (2, 4, 4, 3)))
def test_no_stain_more_or_less_is_no_change(images):
    for kind in STAIN:
        assert (stained(images, kind=kind, direction=0) == images).all()


@pytest.mark.parametrize("direction", [-1, 1])
def test_stain_multiplies_optical_density_and_leaves_glass_bright(direction, tissue):
    density = -np.log((tissue + 1.0) / 256)
    for kind, (scale, _) in STAIN.items():
        changed = stained(tissue, kind=kind, direction=direction)
        assert (changed[:, :, :8] == 255).all()
        expected = 256 * np.exp(-density * (1 + direction * scale)) - 1
        np.testing.assert_allclose(changed, expected.clip(0, 255), atol=0.51)
    names = [name for name in CHANGES if name.startswith("stain")]
    assert names == [f"stain {strength} % {way}" for strength in (5, 10, 20) for way in ("weaker", "stronger")]
    means = {name: CHANGES[name](tissue).mean() for name in names}
    assert all(means[name] > tissue.mean() for name in names if name.endswith("weaker"))
    assert means["stain 20 % stronger"] < means["stain 10 % stronger"] < means["stain 5 % stronger"] < tissue.mean()


def test_a_jpeg_of_lower_quality_is_further_from_the_patch(tissue):
    noise = np.random.default_rng(1).normal(0, 8, tissue.shape)
    images = np.clip(tissue + noise, 0, 255).astype(np.uint8)
    errors = [np.abs(compressed(images, quality=quality) - images.astype(float)).mean() for quality in (90, 70, 50)]
    assert 0 < errors[0] < errors[1] < errors[2] < 20


def test_blur_spreads_a_point_as_a_gaussian_does_and_leaves_a_plain_patch():
    point = np.zeros((1, 41, 41, 3), np.uint8)
    point[0, 18:23, 18:23] = 255
    x = np.arange(41) - 20.0
    variance = {0.0: np.square(np.arange(-2.0, 3)).mean()}
    for sigma in (1, 2):
        row = blurred(point, sigma=sigma)[0, :, :, 0].sum(axis=0).astype(float)
        variance[sigma] = (row * x**2).sum() / row.sum()
        assert variance[sigma] - variance[0.0] == pytest.approx(sigma**2, rel=0.15)
    plain = np.full((1, 20, 20, 3), 137, np.uint8)
    assert (blurred(plain, sigma=2) == plain).all()
