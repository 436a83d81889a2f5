"""Kinds of image files among one's own patches: each is read as it is meant, converted by a stated rule, or refused."""

import io
import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histobench.core.datasets import Tally, read
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset, Source
from histobench.core.own_patches import Own

SIDE = 32
PIXELS = np.random.default_rng(0).integers(40, 200, (SIDE, SIDE, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]
FEW = PIXELS // 64 * 64  # 27 colours: a palette holds them
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
OPAQUE = np.full((SIDE, SIDE, 1), 255, np.uint8)
SPLIT = {"by": "patch", "train": 0.34, "valid": 0.33, "test": 0.33, "seed": 1}


def saved(pixels, kind: str, mode: str | None = None, **how) -> bytes:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if mode:
        image = image.convert(mode, palette=Image.Palette.ADAPTIVE)
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def source(path: Path) -> Dataset:
    """Six good patches, and what else a test has put beside them."""
    for label in "01":
        (path / label).mkdir(exist_ok=True)
        for number in range(3):
            (path / label / f"s{number}__good{label}.png").write_bytes(saved(PIXELS, "PNG"))
    return Dataset("mine", Source("mine", "folder", str(path), {}, {}, {}, SIDE, "own", own=Own()), SPLIT)


def taken(path: Path) -> tuple[dict[str, np.ndarray], Tally]:
    """Return the pixels of the patches by the names of their files, without the good ones."""
    dataset, tally, found = source(path), Tally(), {}
    for some in read(dataset, tally):
        found |= dict(zip(some.ids, some.images, strict=True))
    return {name.split("/")[-1]: pixels for name, pixels in found.items() if "good" not in name}, tally


def only(path: Path, data: bytes, name="odd.png") -> tuple[np.ndarray, Counter[str]]:
    """Return the pixels that one file gives, and the notes."""
    (path / "1").mkdir()
    (path / "1" / f"s__{name}").write_bytes(data)
    found, tally = taken(path)
    return found[f"s__{name}"], tally.notes


def refused(path: Path, data: bytes, name: str, message: str) -> None:
    (path / "1").mkdir()
    (path / "1" / name).write_bytes(data)
    with pytest.raises(HistobenchError, match=f"1/{re.escape(name)}: {message}"):
        taken(path)


def tiff(pixels: np.ndarray, *, sample_format=1, photometric=2) -> bytes:
    """A TIFF of any samples, as instruments write them and Pillow does not."""
    height, width, samples = pixels.shape
    data, bits = pixels.tobytes(), 8 * pixels.itemsize
    start = 8 + len(data)
    many = start + 2 + 12 * 10 + 4  # after the directory: what does not fit into it
    at_bits, at_formats = (many, many + 2 * samples) if samples > 1 else (bits, sample_format)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, at_bits), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, len(data)),
        (339, 3, samples, at_formats),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    arrays = struct.pack(f"<{2 * samples}H", *[bits] * samples, *[sample_format] * samples)
    return struct.pack("<2sHI", b"II", 42, start) + data + struct.pack("<H", 10) + directory + bytes(4) + arrays


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jp2_of_12_bits() -> bytes:
    data = bytearray(saved(PIXELS, "JPEG2000"))
    sizes = data.index(b"\xff\x51")
    data[sizes + 40] = 12 - 1
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.PNG", saved(PIXELS, "PNG"), PIXELS),
        *((f"{how}.tif", saved(PIXELS, "TIFF", compression=how), PIXELS) for how in ("tiff_lzw", "packbits", "zstd")),
        ("by_hand.tiff", tiff(PIXELS), PIXELS),
        ("a.bmp", saved(PIXELS, "BMP"), PIXELS),
        ("a.webp", saved(PIXELS, "WEBP", lossless=True), PIXELS),
        ("webp.png", saved(PIXELS, "WEBP", lossless=True), PIXELS),
        ("a.jp2", saved(PIXELS, "JPEG2000"), PIXELS),
        ("a.gif", saved(FEW, "GIF"), FEW),
        ("palette.png", saved(FEW, "PNG", "P"), FEW),
        ("grey.png", saved(GREY, "PNG"), np.dstack([GREY] * 3)),
        ("grey.tif", tiff(GREY[..., None], photometric=1), np.dstack([GREY] * 3)),
        ("white_is_zero.tif", tiff(255 - GREY[..., None], photometric=0), np.dstack([GREY] * 3)),
        ("one_bit.png", saved(GREY > 100, "PNG"), np.dstack([(GREY > 100) * np.uint8(255)] * 3)),
        ("opaque.png", saved(np.dstack([PIXELS, OPAQUE]), "PNG"), PIXELS),
        ("opaque.webp", saved(np.dstack([PIXELS, OPAQUE]), "WEBP", lossless=True), PIXELS),
        ("grey_opaque.tif", saved(np.dstack([GREY, OPAQUE]), "TIFF"), np.dstack([GREY] * 3)),
        ("cmyk.tif", saved(PIXELS, "TIFF", "CMYK"), PIXELS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_one_meaning_is_taken_as_it_is_meant(tmp_path, name, data, expected):
    pixels, notes = only(tmp_path, data, name)
    np.testing.assert_array_equal(pixels, expected)
    mode = Image.open(io.BytesIO(data)).mode
    assert notes == ({} if mode == "RGB" else {f"images of mode {mode}, converted to RGB": 1})


@pytest.mark.parametrize("name", ["a.jpg", "a.jpe", "a.jfif", "cmyk.jpeg"])
def test_jpeg_by_all_its_suffixes(tmp_path, name):
    smooth = np.dstack([np.uint8(RAMP * 200)] * 3)
    pixels, _ = only(tmp_path, saved(smooth, "JPEG", "CMYK" if "cmyk" in name else None, quality=95), name)
    assert np.abs(pixels.astype(int) - smooth).max() < 12


def lower_half_transparent(stored: int, alpha: int) -> np.ndarray:
    pixels = np.dstack([PIXELS, OPAQUE])
    pixels[SIDE // 2 :, :, :3] = stored
    pixels[SIDE // 2 :, :, 3] = alpha
    return pixels


def colour_key() -> bytes:
    pixels = PIXELS.copy()
    pixels[SIDE // 2 :] = 7
    return saved(pixels, "PNG", transparency=(7, 7, 7))


def palette_with_transparency(kind: str) -> bytes:
    pixels = np.ones((SIDE, SIDE), np.uint8)
    pixels[SIDE // 2 :] = 0
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.putpalette([0, 0, 0, 90, 100, 110])
    image.save(buffer, kind, transparency=0)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "below"),
    [
        ("a.png", saved(lower_half_transparent(0, 0), "PNG"), 255),
        ("a.webp", saved(lower_half_transparent(0, 0), "WEBP", lossless=True, exact=True), 255),
        ("a.tif", saved(lower_half_transparent(200, 0), "TIFF"), 255),
        ("half.png", saved(lower_half_transparent(55, 51), "PNG"), 215),  # a fifth of 55 and four fifths of white
        ("grey.png", saved(lower_half_transparent(0, 0)[..., [0, 3]], "PNG"), 255),
        ("key.png", colour_key(), 255),
        ("palette.png", palette_with_transparency("PNG"), 255),
        ("palette.gif", palette_with_transparency("GIF"), 255),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_transparent_lies_over_white(tmp_path, name, data, below):
    pixels, notes = only(tmp_path, data, name)
    assert (pixels[SIDE // 2 :] == below).all()
    assert (pixels[: SIDE // 2] < 255).all()
    assert notes["images with transparent pixels, laid over white"] == 1


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        *(
            (f"{values}.{kind}", saved(np.uint16(RAMP * values), kind.upper()), "expected 8 bits in a sample, found 16")
            for values in (65535, 4095, 255)
            for kind in ("png", "tiff")
        ),
        ("grey.jp2", saved(np.uint16(RAMP * 65535), "JPEG2000"), "expected 8 bits in a sample, found 16"),
        ("rgb.png", png_of_16_bits(PIXELS), r"expected 8 bits in a sample, found 16 \(mode RGB\)"),
        ("rgb.tif", tiff(np.uint16(PIXELS) * 257), r"expected 8 bits in a sample, found 16 \(mode RGB\)"),
        ("rgb.jp2", jp2_of_12_bits(), r"expected 8 bits in a sample, found 12 \(mode RGB\)"),
        ("int.tif", saved(np.int32(RAMP * 65535), "TIFF"), "expected 8 bits in a sample, found 32"),
        ("float.tif", saved(np.float32(RAMP), "TIFF"), "expected 8 bits in a sample, found 32"),
        ("float255.tif", saved(np.float32(RAMP * 255), "TIFF"), "expected 8 bits in a sample, found 32"),
        ("signed.tif", tiff(GREY[..., None], sample_format=2, photometric=1), "expected samples that are unsigned"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples_of_an_unknown_range_are_refused(tmp_path, name, data, message):
    refused(tmp_path, data, name, message)


@pytest.mark.parametrize("samples", [4, 5, 7])
def test_more_channels_than_colours_are_refused(tmp_path, samples):
    pixels = np.dstack([PIXELS, *[GREY] * (samples - 3)])
    data = bytearray(tiff(pixels))
    if (
        samples == 4
    ):  # Pillow takes a fourth sample of which nothing is said for alpha; here the file says that it is none
        where = data.index(struct.pack("<HHII", 278, 4, 1, SIDE))
        data[where : where + 12] = struct.pack("<HHII", 338, 3, 1, 0)
    refused(tmp_path, bytes(data), "channels.tif", "expected .*found")


def pages(kind: str, *sides: int, **how) -> bytes:
    first, *others = (Image.fromarray(PIXELS).resize((side, side)) for side in sides)
    for number, other in enumerate(others):
        other.putpixel((0, 0), (200 * number, 0, 0))  # animations leave out frames that are the same
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("sides", [(SIDE, 16, 8), (16, SIDE), (8, SIDE, 16)])
def test_of_a_pyramid_the_largest_page_is_taken(tmp_path, sides):
    pixels, notes = only(tmp_path, pages("TIFF", *sides), "pyramid.tif")
    np.testing.assert_array_equal(pixels[1:], PIXELS[1:])
    assert notes == {"images of several pages, the largest taken": 1}


@pytest.mark.parametrize(("kind", "number"), [("TIFF", 2), ("TIFF", 5), ("GIF", 3), ("PNG", 2), ("WEBP", 2)], ids=str)
def test_of_several_pages_of_one_size_none_is_taken(tmp_path, kind, number):
    refused(tmp_path, pages(kind, *[SIDE] * number), "stack.png", f"expected one patch, found {number} pages")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "turned"), [(1, lambda p: p), (6, lambda p: np.rot90(p, -1)), (2, np.fliplr)])
def test_images_are_turned_as_their_orientation_says(tmp_path, kind, orientation, turned):
    smooth = np.dstack([np.uint8(RAMP * 200)] * 3)
    exif = Image.Exif()
    exif[274] = orientation
    pixels, notes = only(tmp_path, saved(smooth, kind, exif=exif), "turned.png")
    assert np.abs(pixels.astype(int) - turned(smooth)).max() < 12
    assert sum(notes.values()) == (orientation != 1)


@pytest.mark.parametrize("shape", [(SIDE, SIDE + 1), (2 * SIDE, SIDE), (20_000, 20_000)])
def test_an_image_of_another_size_is_left_out_without_decoding_it(tmp_path, shape):
    (tmp_path / "1").mkdir()
    data = io.BytesIO()
    Image.new("1", shape).save(data, "PNG")
    (tmp_path / "1" / "whole.png").write_bytes(data.getvalue()[:60])  # what follows the header is missing
    found, tally = taken(tmp_path)
    assert not found
    assert tally.in_words(tally.excluded) == [
        "1 not 32x32 px, for instance 1/whole.png, {}x{} px".format(*shape),
    ]


def test_a_whole_slide_is_not_read_into_memory(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "slide.tif").write_bytes(pages("TIFF", 500, SIDE))
    read_bytes = Path.read_bytes

    def small(path: Path) -> bytes:
        assert path.name != "slide.tif"
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", small)
    found, tally = taken(tmp_path)
    assert not found
    assert tally.excluded == {"not 32x32 px": 1}


GOOD = {
    "png": saved(PIXELS, "PNG"),
    "jpg": saved(PIXELS, "JPEG"),
    "tif": saved(PIXELS, "TIFF", compression="tiff_lzw"),
    "tiff": pages("TIFF", SIDE, 16),
    "bmp": saved(PIXELS, "BMP"),
    "gif": saved(FEW, "GIF"),
    "webp": saved(PIXELS, "WEBP"),
    "jp2": saved(PIXELS, "JPEG2000"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_damaged_image_is_an_error_that_names_it_or_gives_a_patch(tmp_path, kind):
    rng, path = np.random.default_rng(1), tmp_path / f"0/s__{kind}.{kind}"
    (tmp_path / "0").mkdir()
    named = 0
    for _ in range(60):
        data = bytearray(GOOD[kind])
        header = min(len(data), 120)
        for where in rng.integers(0, header if rng.random() < 0.6 else len(data), 1 + rng.integers(3)):
            data[where] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)
        try:
            found, tally = taken(tmp_path)
        except HistobenchError as error:
            named += str(path) in str(error) and "0x" not in str(error)
            assert str(path) in str(error)
        else:
            assert len(found) + tally.excluded.total() == 1
            for pixels in found.values():
                assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert named


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>login</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n"],
    ids=["", "html", "eps"],
)
def test_what_is_no_image_is_named(tmp_path, data):
    refused(
        tmp_path,
        data,
        "odd.png",
        "expected an image that is whole, found: nothing that Pillow reads as one of PNG, JPEG",
    )


def test_files_that_are_not_read_are_told_with_their_kinds(tmp_path, caplog):
    (tmp_path / "1").mkdir()
    for name in ("a.npy", "b.npy", "c.svs", "noname"):
        (tmp_path / "1" / name).write_bytes(b"x")
    _, tally = taken(tmp_path)
    assert tally.ignored == {"not an image": 4}
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "ignored 4 files that are no images by their suffix: 2 .npy, 1 .svs, 1 without a suffix" in told
