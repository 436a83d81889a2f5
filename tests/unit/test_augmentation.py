"""Augmentation: a function of (seed, epoch, position), and every kind does what its name says."""

from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage

from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError
from histobench.core.simulation import PCAM, draw_style, pcam_patch
from histobench.train import augmentation
from histobench.train.augmentation import KINDS, Augmentation, draw

# 50 px, as IDC has: a patch of 7,500 numbers is no multiple of what a processor takes at a time.
NOISE = np.random.default_rng(0).integers(0, 256, (12, 50, 50, 3), dtype=np.uint8)
POSITIONS = np.arange(100, 112)
EVERY = pytest.mark.parametrize("kinds", [*((kind,) for kind in AUGMENTATIONS), AUGMENTATIONS], ids="+".join)


def run(images, positions, kinds, seed=3, epoch=1, layer=None):
    """Augment the patches at these positions of a split that is just large enough."""
    shape = images.shape[1:]
    draws = draw(kinds, seed, epoch, int(np.max(positions, initial=0)) + 1, shape)
    layer = layer or Augmentation(kinds, shape)
    return np.asarray(layer([images, *(values[positions] for values in draws.values())]))


@cache
def layer(kinds):
    return Augmentation(kinds, NOISE.shape[1:])


@cache
def patches():
    rng = np.random.default_rng(1)
    style = draw_style(rng, PCAM)
    return np.stack([pcam_patch(rng, style, label)[0] for label in (0, 1) * 6])


def same_everywhere(image, n):
    return np.repeat(np.asarray(image)[None], n, axis=0)


def eight(image):
    """Return the eight flips and turns of one patch, by NumPy."""
    return [np.rot90(side, turns) for side in (image, np.flip(image, 1)) for turns in range(4)]


# A patch and its numbers


@EVERY
@settings(max_examples=6)
@given(chosen=st.permutations(range(12)), size=st.sampled_from([1, 5, 12]))
def test_batches_and_their_order_change_no_bit(kinds, chosen, size):
    whole = run(NOISE, POSITIONS, kinds, layer=layer(kinds))
    for start in range(0, 12, size):
        part = chosen[start : start + size]
        np.testing.assert_array_equal(run(NOISE[part], POSITIONS[part], kinds, layer=layer(kinds)), whole[part])


@EVERY
def test_numbers_of_a_patch_do_not_depend_on_how_many_follow(kinds):
    few, many = (draw(kinds, 3, 1, n, (50, 50, 3)) for n in (7, 1000))
    assert list(few) == list(many) == [kind for kind in AUGMENTATIONS if kind in kinds]
    for kind, values in few.items():
        np.testing.assert_array_equal(values, many[kind][:7])
        assert (values.shape, values.dtype) == ((7, *KINDS[kind].shape), KINDS[kind].dtype)


@EVERY
def test_type_shape_and_range_are_kept_and_seed_epoch_and_position_matter(kinds):
    base = run(NOISE, POSITIONS, kinds)
    assert (base.shape, base.dtype) == (NOISE.shape, np.float32)
    assert base.min() >= 0 and base.max() <= 255
    assert base.std() > 8  # of noise that is blurred, too: neither black nor clipped away
    for other in (
        run(NOISE, POSITIONS, kinds, seed=4),
        run(NOISE, POSITIONS, kinds, epoch=2),
        run(NOISE, POSITIONS + 12, kinds),
    ):
        same = (base == other).reshape(12, -1).all(axis=1).sum()
        # Two draws of "d4" agree for one patch in eight.
        assert same <= (6 if kinds == ("d4",) else 0)


@pytest.mark.parametrize(("one", "other"), [((1, 2), (2, 1)), ((2**32 + 3, 1), (3, 1))])
def test_seed_and_epoch_are_not_added_up_and_large_seeds_are_taken_whole(one, other):
    first, second = (run(NOISE, POSITIONS, ("stain",), *seed_and_epoch) for seed_and_epoch in (one, other))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kinds", [("d4", "stain"), ("stain", "d4")])
def test_kinds_apply_in_their_order_and_keep_their_own_numbers(kinds):
    turned = run(NOISE, POSITIONS, ("d4",)).astype(np.uint8)
    # XLA compiles both kinds in one piece.
    np.testing.assert_allclose(run(NOISE, POSITIONS, kinds), run(turned, POSITIONS, ("stain",)), atol=1e-3)


def test_kinds_share_no_numbers(monkeypatch):
    for kind, known in KINDS.items():
        monkeypatch.setitem(KINDS, kind, known._replace(prepare=lambda draws, _: draws, dtype="float64"))
    draws = draw(AUGMENTATIONS, 3, 1, 100, (50, 50, 3))
    assert len(np.unique(np.concatenate([values.ravel() for values in draws.values()]))) == 100 * sum(
        known.numbers for known in KINDS.values()
    )


def test_no_kind_only_casts_and_an_empty_batch_stays_empty():
    out = run(NOISE, POSITIONS, ())
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, NOISE)
    assert run(NOISE[:0], POSITIONS[:0], AUGMENTATIONS).shape == (0, 50, 50, 3)


def test_every_kind_of_a_recipe_is_known():
    assert set(KINDS) == set(AUGMENTATIONS)


# d4


def test_d4_is_one_of_eight_each_as_likely():
    image = NOISE[0, :6, :6]
    candidates = np.stack(eight(image))
    out = run(same_everywhere(image, 4000), np.arange(4000), ("d4",))
    match = (out[:, None] == candidates).all(axis=(2, 3, 4))
    assert (match.sum(axis=1) == 1).all()
    # 500 expected, standard deviation 21.
    counts = match.sum(axis=0)
    assert counts.min() > 400 and counts.max() < 600


def test_d4_refuses_oblong_patches():
    with pytest.raises(HistobenchError, match="40 x 50"):
        Augmentation(["author-b6", "d4"], (40, 50, 3))


# author-inceptionv3 and author-b6


AUTHOR = pytest.mark.parametrize("kind", ["author-inceptionv3", "author-b6"])


def only(monkeypatch, *, rotation=0.0, flips=False, **ranges):
    """Leave these ranges to "author-b6"; without flips all patches stay as they are."""
    for name in ("SHIFT", "ZOOM"):
        monkeypatch.setattr(augmentation, name, ranges.get(name, 0.0))

    def prepare(draws, shape):
        draws = draws if flips else np.hstack([draws[:, :5], np.abs(draws[:, 5:])])
        return augmentation._sources(draws, shape, rotation=rotation)

    monkeypatch.setitem(KINDS, "author-b6", KINDS["author-b6"]._replace(prepare=prepare))
    return partial(run, kinds=("author-b6",))


def blobs(height, width, n, wide=2.0, high=2.0):
    """Return `n` copies of a white blob in the middle of a black patch."""
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-(((x - (width - 1) / 2) / wide) ** 2 + ((y - (height - 1) / 2) / high) ** 2) / 2)
    return same_everywhere(np.repeat(np.round(255 * blob)[..., None], 3, axis=2).astype(np.uint8), n)


def moments(images):
    """Return each patch's centre of mass (x, y) and its covariance there."""
    weights = images[..., 0] / images[..., 0].sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    mean = np.stack([(weights * axis).sum(axis=(1, 2)) for axis in (x, y)], axis=1)
    off = [axis - mean[:, i, None, None] for i, axis in enumerate((x, y))]
    return mean, np.array([[(weights * a * b).sum(axis=(1, 2)) for a in off] for b in off]).transpose(2, 0, 1)


def test_author_without_ranges_changes_nothing(monkeypatch):
    np.testing.assert_allclose(only(monkeypatch)(NOISE, POSITIONS), NOISE, atol=0.05)


def test_author_without_ranges_flips_half_of_the_patches_along_each_axis(monkeypatch):
    image = NOISE[0, :6, :6]
    out = only(monkeypatch, flips=True)(same_everywhere(image, 2000), np.arange(2000))
    four = np.stack([np.flip(image, axes) for axes in ((), 0, 1, (0, 1))])
    # 500 expected, standard deviation 19.
    counts = (np.abs(out[:, None] - four) < 0.05).all(axis=(2, 3, 4)).sum(axis=0)
    assert counts.sum() == 2000 and counts.min() > 400


@AUTHOR
@pytest.mark.parametrize(("height", "width"), [(50, 50), (30, 40)])
def test_author_is_the_affine_transform_of_scipy(kind, height, width):
    images = NOISE[:, :height, :width]
    out = run(images, POSITIONS, (kind,))
    sources = draw((kind,), 3, 1, 112, images.shape[1:])[kind][POSITIONS].astype(np.float64)
    centre = np.array([height - 1, width - 1]) / 2
    for image, before, (xx, xy, x0, yx, yy, y0) in zip(out, images, sources, strict=True):
        matrix = np.array([[yy, yx], [xy, xx]])
        offset = centre + np.array([y0, x0]) - matrix @ centre
        for channel in range(3):
            expected = ndimage.affine_transform(
                before[..., channel].astype(np.float64), matrix, offset, order=1, mode="nearest"
            )
            np.testing.assert_allclose(image[..., channel], expected, atol=0.02)


@AUTHOR
def test_author_draws_transforms_as_keras_does(kind):
    """Of the angle, shift, zoom and flips that are drawn, by the matrices of Keras's `apply_affine_transform`."""
    degrees = {"author-inceptionv3": 40, "author-b6": 180}[kind]
    draws = np.random.default_rng(5).uniform(-1, 1, (40, 7))
    found = KINDS[kind].prepare(draws, (50, 50, 3))
    for row, (angle, x, y, zoom_x, zoom_y, flip_x, flip_y) in zip(found, draws, strict=True):
        angle = np.radians(degrees * angle)
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        shift = np.array([[1, 0, 0.2 * 50 * x], [0, 1, 0.2 * 50 * y], [0, 0, 1]])
        zoom = np.diag([1 + 0.2 * zoom_x, 1 + 0.2 * zoom_y, 1])
        flips = np.diag([np.sign(flip_x), np.sign(flip_y), 1])
        np.testing.assert_allclose((rotation @ shift @ zoom @ flips)[:2].ravel(), row, atol=1e-9)


def test_author_fills_with_the_nearest_pixel(monkeypatch):
    ramp = same_everywhere(np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (120, 1, 3)), 60)
    out = only(monkeypatch, SHIFT=0.2)(ramp, np.arange(60))[:, 60, :, 0]
    assert (np.diff(out, axis=1) >= -1e-3).all()
    flat = np.mean(np.diff(out, axis=1) < 0.5, axis=1)
    assert flat.max() == pytest.approx(0.2, abs=0.02) and out.min() == 0 and out.max() == 238


@pytest.mark.parametrize(("height", "width"), [(60, 60), (40, 80)])
def test_author_shifts_up_to_a_fraction_of_each_side(monkeypatch, height, width):
    mean, _ = moments(only(monkeypatch, SHIFT=0.1)(blobs(height, width, 150), np.arange(150)))
    share = (mean - [(width - 1) / 2, (height - 1) / 2]) / [width, height]
    np.testing.assert_allclose(share.min(axis=0), -0.1, atol=0.01)
    np.testing.assert_allclose(share.max(axis=0), 0.1, atol=0.01)
    assert np.abs(share).max() < 0.1 + 1e-3
    assert abs(np.corrcoef(share.T)[0, 1]) < 0.3


def test_author_rotates_around_the_centre(monkeypatch):
    images = blobs(60, 60, 150, wide=8, high=3)
    mean, covariance = moments(only(monkeypatch, rotation=20.0)(images, np.arange(150)))
    np.testing.assert_allclose(mean, 29.5, atol=0.05)
    angles = np.degrees(0.5 * np.arctan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1]))
    assert -20.1 < angles.min() < -19 and 19 < angles.max() < 20.1


def test_author_zooms_around_the_centre(monkeypatch):
    images = blobs(60, 60, 150, wide=6, high=6)
    mean, covariance = moments(only(monkeypatch, ZOOM=0.1)(images, np.arange(150)))
    np.testing.assert_allclose(mean, 29.5, atol=0.05)
    before = moments(images[:1])[1][0]
    for axis in range(2):
        zoom = np.sqrt(before[axis, axis] / covariance[:, axis, axis])
        assert 0.895 < zoom.min() < 0.91 and 1.09 < zoom.max() < 1.105


# stain


def stains(monkeypatch, scale=0.0, shift=0.0):
    prepare = partial(augmentation._mixes, scale=scale, shift=shift)
    monkeypatch.setitem(KINDS, "stain", KINDS["stain"]._replace(prepare=prepare))


def test_stain_without_ranges_changes_nothing(monkeypatch):
    stains(monkeypatch)
    # Every level of every channel is among them.
    np.testing.assert_allclose(run(NOISE, POSITIONS, ("stain",)), NOISE, atol=0.1)


@pytest.mark.parametrize("level", [0, 128, 240, 255])
def test_stain_keeps_greys_near(level):
    grey = np.full((100, 4, 4, 3), level, np.uint8)
    out = run(grey, np.arange(100), ("stain",))
    assert out.min() >= 0 and out.max() <= 255
    assert np.ptp(out, axis=(1, 2)).max() == 0  # one colour in, one colour out
    change = np.abs(out - level).max()
    assert change < 60 and change > 0


def test_stain_changes_colour_and_keeps_structure():
    before, after = patches(), run(patches(), np.arange(12), ("stain",))
    luminance = [images @ np.array([0.299, 0.587, 0.114]) for images in (before, after)]
    for a, b in zip(*luminance, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95
    moved = after.mean(axis=(1, 2)) - before.mean(axis=(1, 2))
    assert 2 < np.abs(moved).mean() < 30
    # In colour, not in brightness alone.
    assert np.ptp(moved, axis=1).mean() > 1


@pytest.mark.parametrize("stain", [0, 1, 2])
def test_stain_scales_concentrations(monkeypatch, stain):
    stains(monkeypatch, scale=0.1)
    density = 1.2 * augmentation.STAINS[stain]
    pure = same_everywhere(np.broadcast_to(np.round(256 * np.exp(-density) - 1), (2, 2, 3)).astype(np.uint8), 200)
    out = run(pure, np.arange(200), ("stain",))[:, 0, 0]
    concentrations = -np.log((out + 1) / 256) @ np.linalg.inv(augmentation.STAINS) / 1.2
    assert 0.89 < concentrations[:, stain].min() < 0.91 and 1.09 < concentrations[:, stain].max() < 1.11
    # A pure stain stays pure, but for the rounding of its colour to whole levels.
    assert np.abs(np.delete(concentrations, stain, axis=1)).max() < 0.03


def test_stain_shifts_every_concentration_by_its_own_amount(monkeypatch):
    stains(monkeypatch, shift=0.05)
    grey = np.full((200, 1, 1, 3), 127, np.uint8)
    out = run(grey, np.arange(200), ("stain",))[:, 0, 0]
    moved = -np.log((out + 1) / 128) @ np.linalg.inv(augmentation.STAINS)
    np.testing.assert_allclose(moved.min(axis=0), -0.05, atol=0.002)
    np.testing.assert_allclose(moved.max(axis=0), 0.05, atol=0.002)
    assert np.abs(np.corrcoef(moved.T)[np.triu_indices(3, 1)]).max() < 0.3


def test_settings_of_tellez_change_more_or_less(monkeypatch):
    """By the "light" and the "strong" ratio, 0.05 and 0.2, both scales and shifts."""
    draws = np.ones((1, 6))
    for kind, ratio in (("stain-light", 0.05), ("stain-strong", 0.2)):
        mixes = KINDS[kind].prepare(draws, (4, 4, 3))[0]
        np.testing.assert_allclose(mixes[:3], (1 + ratio) * np.eye(3), atol=1e-12)
        np.testing.assert_allclose(mixes[3], ratio * augmentation.STAINS.sum(axis=0))


# colour


def colours(*, brightness=0.0, saturation=0.0, hue=0.0, contrast=0.0, images=NOISE):
    """Return patches that all get these draws of [-1, 1)."""
    draws = np.tile([brightness, saturation, hue, contrast], (len(images), 1)).astype(float)
    return np.asarray(augmentation._colour(images, augmentation._colours(draws, images.shape[1:]).astype(np.float32)))


def test_colour_without_changes_is_the_patch():
    np.testing.assert_allclose(colours(), NOISE, atol=0.01)


def test_colour_brightens_all_channels_alike():
    np.testing.assert_allclose(colours(brightness=0.5) - NOISE, 32, atol=0.01)


def test_colour_saturates_around_the_grey_of_a_pixel_as_pillow_does():
    image = Image.fromarray(NOISE[0])
    grey = np.asarray(image.convert("L"), float)[..., None]
    found = colours(saturation=-1.0)[0]
    np.testing.assert_allclose(found, 0.75 * NOISE[0] + 0.25 * grey, atol=0.5)
    np.testing.assert_allclose(found.clip(0, 255), ImageEnhance.Color(image).enhance(0.75), atol=1.01)


def test_hue_keeps_greys_and_distances_from_them():
    pixels = NOISE.reshape(-1, 3).astype(float)
    found = colours(hue=1.0).reshape(-1, 3)
    grey = pixels.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.mean(axis=1, keepdims=True), grey, atol=0.01)
    distances = [np.linalg.norm(each - grey, axis=1) for each in (pixels, found)]
    np.testing.assert_allclose(*distances, atol=0.01)
    # By 0.04 turns, from red to yellow.
    far = distances[0] > 1
    a, b = ((each - grey)[far] for each in (pixels, found))
    angles = np.degrees(np.arccos((a * b).sum(axis=1) / np.prod(distances, axis=0)[far]))
    np.testing.assert_allclose(angles, 360 * 0.04, atol=0.1)
    assert colours(hue=1.0, images=np.full((1, 2, 2, 3), (200, 50, 50), np.uint8))[0, 0, 0, 1] > 50


def test_contrast_moves_channels_from_their_mean():
    found, mean = colours(contrast=-1.0), NOISE.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found - mean, 0.25 * (NOISE - mean), atol=0.02)


# blur


@pytest.mark.parametrize("share", [-1.0, 0.0, 1.0])
def test_blur_is_the_gaussian_of_scipy(share):
    weights = augmentation._gaussians(np.full((12, 1), share), NOISE.shape[1:]).astype(np.float32)
    deviation = augmentation.BLUR * (1 + share) / 2
    # Its filter has the radius round(truncate x deviation).
    expected = ndimage.gaussian_filter(
        NOISE.astype(float), (0, deviation, deviation, 0), mode="nearest", truncate=4 / max(deviation, 1)
    ) if deviation else NOISE  # fmt: skip
    np.testing.assert_allclose(np.asarray(augmentation._blur(NOISE, weights)), expected, atol=0.3)
