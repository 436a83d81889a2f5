"""Image files to patches: what is read, what is converted, by which rule, and what is refused.

The rules are in config/README.md, "Patches of your own". Whatever is converted is counted in the manifest.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from histobench.core.datasets import Tally
from histobench.core.errors import HistobenchError

# Of the formats of Pillow those of still images of which `_bits` knows how many bits a sample has. Others, such as EPS,
# start other programs, or are not images at all, such as HDF5.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}

# Pillow refuses large images, so that nobody is made to decode them. Here the size is looked at before.
Image.MAX_IMAGE_PIXELS = None

# Pixels of an image of which a patch is cut: more are a slide.
LARGEST = 2**26

_SAMPLE_FORMAT, _SAMPLES, _BITS = 339, 277, 258  # tags of TIFF


class AnotherSizeError(Exception):
    """An image that is no patch by its height and width, which are the message."""


class RefusedError(Exception):
    """An image that is whole, but could become a patch by guessing alone."""


@contextmanager
def reading(where: str, expected: str = "an image that is whole", advice: str = "") -> Iterator[None]:
    """Turn whatever the reading of an image raises into an error that names it."""
    try:
        yield
    except (AnotherSizeError, HistobenchError):
        raise
    except RefusedError as error:
        raise HistobenchError(f"{where}: {error}") from None
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        if isinstance(error, UnidentifiedImageError):  # it names an object in memory
            found = f"nothing that Pillow reads as one of {', '.join(FORMATS)}"
        raise HistobenchError(f"{where}: expected {expected}, found: {found}. {advice}".rstrip()) from error


def size(file: IO[bytes]) -> tuple[int, int]:
    """Return (width, height) in pixels of an image, or of its largest page, by its header."""
    with Image.open(file, formats=FORMATS) as image:
        return max(_pages(image), key=math.prod)


def fits(found: tuple[int, int], side: int, *, crop: bool = False) -> bool:
    """Return whether an image of this (width, height) in pixels becomes a patch; for the others see :func:`decode`."""
    return found == (side, side) or (crop and min(found) >= side and math.prod(found) <= LARGEST)


def decode(data: bytes, side: int, name: str, tally: Tally, *, crop: bool = False) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image file.

    Parameters
    ----------
    data : its bytes.
    side : height and width of a patch in pixels.
    name : for the examples of the tally.
    tally : gets notes of what was converted.
    crop : whether a larger image is cut to its central square, and that resized bilinearly.

    Returns
    -------
    pixels : (side, side, 3) uint8, RGB.

    Raises
    ------
    AnotherSizeError
        if it has another height or width; nothing was decoded then.
    RefusedError
        if there is no one way to make a patch of it. Whatever Pillow raises comes, too: see `reading`.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        pages = _pages(image)
        largest = max(pages, key=math.prod)
        if not fits(largest, side, crop=crop):
            raise AnotherSizeError("{}x{} px".format(*largest))
        if len(pages) > 1:
            if pages.count(largest) > 1:
                raise RefusedError(
                    f"expected one patch, found {pages.count(largest)} pages of {'{}x{}'.format(*largest)} px; save "
                    "each in a file of its own"
                )
            image.seek(pages.index(largest))
            tally.count(tally.notes, "images of several pages, the largest taken", name)
        refuse_what_is_no_8_bit_image(image, data)
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            tally.count(tally.notes, "images turned or mirrored as their EXIF orientation says", name)
            ImageOps.exif_transpose(image, in_place=True)
        whole = _rgb(image, name, tally)
        if whole.size != (side, side):
            tally.count(
                tally.notes, f"larger images, cut to their central square and resized to {side}x{side} px", name
            )
            # Cut first: `ImageOps.fit` lets pixels beyond the square into those at its edge.
            shorter = min(whole.size)
            left, top = ((length - shorter) // 2 for length in whole.size)
            square = whole.crop((left, top, left + shorter, top + shorter))
            whole = square.resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(whole)


def _pages(image: Any) -> list[tuple[int, int]]:
    """Return (width, height) of each page or frame; those of an animation all have the same."""
    number = getattr(image, "n_frames", 1)
    if number == 1 or image.format != "TIFF":
        return [image.size] * number
    pages = []
    for page in range(number):
        image.seek(page)
        pages.append(image.size)
    return pages


def refuse_what_is_no_8_bit_image(image: Any, data: bytes) -> None:
    """Raise `RefusedError` where samples are no unsigned 8 bits of a colour; `data` is the start of the file."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if (bits := _bits(image, data, tags)) > 8:
        raise RefusedError(
            f"expected 8 bits in a sample, found {bits} (mode {image.mode}). Which of their values are black "
            "and white is not known here: convert the images to 8 bits by a rule of your own"
        )
    if set(tags.get(_SAMPLE_FORMAT, ())) - {1, 4}:  # unsigned, undefined
        raise RefusedError(
            f"expected samples that are unsigned whole numbers, found others (TIFF SampleFormat "
            f"{tags[_SAMPLE_FORMAT]}); convert the images to unsigned 8 bits by a rule of your own"
        )
    if tags.get(_SAMPLES, 1) > len(image.getbands()):
        raise RefusedError(
            f"expected grey, RGB or CMYK, with or without alpha, found {tags[_SAMPLES]} channels; convert the "
            "images to RGB by a rule of your own"
        )


def _bits(image: Any, data: bytes, tags: Any) -> int:
    """Return how many bits a sample of the file has. Pillow opens RGB of 16 bits as if they were 8."""
    if image.format == "PNG":
        return data[24]  # of its first chunk, IHDR
    if image.format == "JPEG2000":
        # Of the marker segment SIZ: the number of components, then three bytes for each.
        start = data.index(b"\xff\x4f\xff\x51") + 42
        components = int.from_bytes(data[start - 2 : start])
        return max(1 + (byte & 127) for byte in data[start : start + 3 * components : 3])
    return int(max(tags.get(_BITS, (8,))))


def _rgb(image: Image.Image, name: str, tally: Tally) -> Image.Image:
    """Return an image as RGB, laid over white where it is transparent, else by Pillow's conversion."""
    if image.mode != "RGB":
        tally.count(tally.notes, f"images of mode {image.mode}, converted to RGB", name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            tally.count(tally.notes, "images with transparent pixels, laid over white", name)
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
