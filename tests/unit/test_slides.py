"""Slides: any square of them at any scale, how large their pixels are, and where tissue is."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histobench.core.errors import HistobenchError
from histobench.scoring import slides, tissue
from support.slides import GLASS, write
from support.slides import tissue as stained


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return write(tmp_path_factory.mktemp("slide") / "a.tif", stained(320, 200), microns_per_pixel=0.5)


def test_a_square_at_the_scale_of_a_level_has_its_pixels_as_they_are(slide):
    image = stained(320, 200)
    with slides.opened(slide, None) as found:
        assert (found.width, found.height) == (320, 200)
        assert found.microns_per_pixel == pytest.approx(0.5, rel=1e-6)
        for x, y in ((0, 0), (17, 33), (100, 160)):
            assert (found.square(x, y, 30, 20, 1.0) == image[y : y + 20, x : x + 30]).all()
        half = image.reshape(100, 2, 160, 2, 3).mean(axis=(1, 3)).round()
        assert found.scale(1.0) == pytest.approx(2)
        assert (found.square(40, 20, 30, 20, 2.0) == half[10:30, 20:50]).all()


def test_beyond_the_slide_it_is_white(slide):
    with slides.opened(slide, None) as found:
        corner = found.square(310, 190, 20, 20, 1.0)
    assert (corner[:10, :10] == stained(320, 200)[190:, 310:]).all()
    assert (corner[10:] == 255).all()
    assert (corner[:, 10:] == 255).all()


@pytest.mark.parametrize("scale", [0.9, 1.3, 2.7, 5.0])
def test_other_scales_are_resampled_where_they_lie(tmp_path, scale):
    """A plane of colours keeps its values at the middle of each pixel, whatever the scale."""
    rows, columns = np.mgrid[:240, :320]
    plane = np.stack([columns / 2 + 20, rows / 2 + 30, np.full(rows.shape, 90)], axis=2)
    path = write(tmp_path / "plane.tif", plane.round().astype(np.uint8), levels=2)
    with slides.opened(path, None) as found:
        part = found.square(60, 48, 24, 16, scale).astype(float)
    at_x, at_y = (start + (np.arange(n) + 0.5) * scale - 0.5 for start, n in ((60, 24), (48, 16)))
    np.testing.assert_allclose(part[..., 0], np.broadcast_to(at_x / 2 + 20, (16, 24)), atol=1.1)
    np.testing.assert_allclose(part[..., 1], np.broadcast_to(at_y[:, None] / 2 + 30, (16, 24)), atol=1.1)
    assert (np.abs(part[..., 2] - 90) <= 1).all()


def test_neighbouring_squares_meet_without_a_seam(slide):
    with slides.opened(slide, None) as found:
        whole = found.square(10, 10, 40, 20, 2.6)
        parts = [found.square(10 + 2.6 * 20 * number, 10, 20, 20, 2.6) for number in range(2)]
    assert np.abs(np.concatenate(parts, axis=1).astype(int) - whole).max() <= 1


def test_the_overview_is_the_whole_slide_also_read_part_by_part(slide, monkeypatch):
    with slides.opened(slide, None) as found:
        whole = found.overview(80)
        monkeypatch.setattr(slides, "LARGEST_READ", 40**2)
        parts = found.overview(80)
    assert whole.shape == (50, 80, 3)
    assert np.abs(parts.astype(int) - whole).max() <= 1
    expected = np.asarray(Image.fromarray(stained(320, 200)).resize((80, 50), Image.Resampling.BOX), float)
    assert np.abs(whole - expected).mean() < 4


def test_a_slide_that_does_not_say_its_scale_needs_to_be_told(tmp_path):
    path = write(tmp_path / "a.tif", stained(64, 64), microns_per_pixel=None)
    with (
        pytest.raises(HistobenchError, match=r"a\.tif: does not say how large its pixels are.*microns_per_pixel"),
        slides.opened(path, None),
    ):
        pass
    with slides.opened(path, 0.25) as found:
        assert found.microns_per_pixel == 0.25
    Image.fromarray(stained(64, 48)).save(tmp_path / "b.png")
    with slides.opened(tmp_path / "b.png", 2) as found:
        assert (found.square(3, 4, 20, 10, 1.0) == stained(64, 48)[4:14, 3:23]).all()
    told = write(tmp_path / "c.tif", stained(64, 64), microns_per_pixel=0.5)
    with slides.opened(told, 0.25) as found:  # which is for slides that do not say it
        assert found.microns_per_pixel == pytest.approx(0.5, rel=1e-6)


def test_whose_number_it_is_that_a_slide_is_too_coarse_by_is_said(tmp_path):
    unsaid = write(tmp_path / "a.tif", stained(64, 64), microns_per_pixel=None)
    with (
        slides.opened(unsaid, 500) as found,
        pytest.raises(
            HistobenchError,
            match=r"found 500 µm, the `microns_per_pixel` of the configuration; .* correct that key: at 40x",
        ),
    ):
        found.scale(0.972)
    said = write(tmp_path / "b.tif", stained(64, 64), microns_per_pixel=2)
    with (
        slides.opened(said, 0.5) as found,
        pytest.raises(HistobenchError, match=r"found 2 µm; .* its file says it wrongly: write its resolution anew"),
    ):
        found.scale(0.972)


def test_pixels_of_a_level_are_not_mixed_where_its_downsample_is_no_whole_number(tmp_path):
    """Levels are as many whole pixels as fit, so that 2,403 px by 4 are 600, at a downsample of 4.005."""
    noise = np.random.default_rng(0).integers(0, 256, (800, 2403, 3), np.uint8)
    path = write(tmp_path / "a.tif", noise)
    page = tifffile.imread(path, key=2).astype(int)
    with slides.opened(path, None) as found:
        for x in range(0, 2000, 37):
            part = found.square(x, 0, 30, 30, 4.0).astype(int)
            at = round(x / (2403 / 600 + 800 / 200) * 2)
            # Halfway between its pixels it would be means of neighbours, 10 from either in the mean.
            assert np.abs(part - page[:30, at : at + 30]).mean() < 4, x


def test_a_slide_of_more_than_8_bits_is_refused(tmp_path):
    deep = stained(64, 64).astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "tiles.tif", deep, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(tmp_path / "strips.tif", deep, photometric="rgb")
    Image.fromarray(deep[..., 0]).save(tmp_path / "grey.png")
    for name in ("tiles.tif", "strips.tif", "grey.png"):
        with (
            pytest.raises(
                HistobenchError,
                match=rf"{name}: expected 8 bits in a sample, found 16\b.*convert the (slide|images) to 8 bits",
            ),
            slides.opened(tmp_path / name, 1),
        ):
            pass


def test_a_slide_that_is_too_coarse_for_a_model_is_refused(slide):
    with slides.opened(slide, None) as found:
        assert found.scale(0.45) == pytest.approx(0.9)
        with pytest.raises(
            HistobenchError, match=r"at most 0\.3125 µm, for a model of 0\.25 µm per pixel, found 0\.5 µm"
        ):
            found.scale(0.25)


@pytest.mark.parametrize("name", ["a.tif", "a.svs", "a.png", "a.jpg"])
def test_a_file_that_is_no_slide_or_not_whole_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nothing of that kind" * 100)
    with (
        pytest.raises(HistobenchError, match=rf"{name}: expected a slide that OpenSlide reads.*copy it anew"),
        slides.opened(path, 1),
    ):
        pass
    Image.fromarray(stained(200, 200)).save(path if name.endswith("g") else path.with_suffix(".tif"))
    path = path if name.endswith("g") else path.with_suffix(".tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(HistobenchError, match=r"expected a slide that OpenSlide reads"), slides.opened(path, 1):
        pass


def test_a_slide_whose_tiles_are_cut_off_is_refused_when_they_are_read(tmp_path):
    path = write(tmp_path / "a.tif", stained(640, 640), levels=1)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    wrong = pytest.raises(HistobenchError, match=r"a\.tif: cannot be read at x .* of level 0.*copy it anew")
    with slides.opened(path, None) as found, wrong:
        found.overview(640)


def test_a_plain_image_of_a_slides_size_is_refused(tmp_path, monkeypatch):
    Image.fromarray(stained(64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(slides, "LARGEST_PLAIN", 4000)
    with (
        pytest.raises(HistobenchError, match=r"64 x 64 px are too many for an image without tiles.*tiled TIFF"),
        slides.opened(tmp_path / "a.png", 1),
    ):
        pass


def test_tissue_is_what_is_coloured():
    image = stained(320, 200)
    found = tissue.mask(image)
    assert found[:, :160].mean() > 0.9
    assert not found[:, 160:].any()
    # Full of tissue, a third of it pale: Otsu alone would leave that out.
    pale = np.concatenate([np.full((90, 60, 3), (226, 200, 216)), np.full((90, 120, 3), (120, 40, 130))], axis=1)
    assert tissue.mask(pale.astype(np.uint8)).all()
    for grey in (0, GLASS, 255):
        assert not tissue.mask(np.full((20, 20, 3), grey, np.uint8)).any()
    noise = np.random.default_rng(0).integers(-2, 3, (50, 50, 3)) + GLASS
    assert not tissue.mask(noise.astype(np.uint8)).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 9))
def test_the_share_of_tissue_is_that_of_the_pixels_that_a_square_touches(seed, side):
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 17)) < 0.4
    corners = rng.uniform(0, [16, 11], (8, 2))
    for (x, y), share in zip(corners, tissue.share(mask, corners, side), strict=True):
        touched = mask[int(y) : max(int(np.ceil(y + side)), 1), int(x) : max(int(np.ceil(x + side)), 1)]
        assert share == pytest.approx(touched.mean())
