"""Whole-slide images: how large their pixels are, and any square of them at a model's scale.

They are read by OpenSlide, through openslide-python. Its library comes as a wheel for Linux, macOS and Windows
(openslide-bin), it reads the formats of Aperio, Hamamatsu, Leica, MIRAX, Philips, Sakura, Trestle, Ventana, Zeiss and
plain tiled TIFF, and several threads may read from one slide. tiffslide, which is Python alone, reads no MIRAX and no
Zeiss.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openslide
import tifffile
from PIL import Image

from histobench.core.applied import PLAIN
from histobench.core.datasets import images
from histobench.core.errors import HistobenchError

Pixels = npt.NDArray[np.uint8]

# Bytes of decoded tiles that are kept, so that neighbouring patches decode a tile once: two rows of tiles of a wide
# slide.
CACHE = 128 * 2**20
# A slide whose pixels are larger than the model's by more than this factor is refused: enlarged pixels show nothing
# more.
COARSER = 1.25
USUAL = "at 40x they are about 0.25 µm, at 20x about 0.5"
# Pixels of a plain image: it is read as a whole, four bytes each.
LARGEST_PLAIN = 2**28
# Bytes at the start of a file that describe its samples; those of JPEG 2000 may stand behind a colour profile.
HEADER = 2**16
# Pixels of a level that are read at a time.
LARGEST_READ = 2**24


class Slide:
    """An open slide.

    Attributes
    ----------
    path : its file.
    width, height : of level 0 in pixels.
    microns_per_pixel : of level 0.
    told : whether the user tells them, since the slide does not.
    """

    def __init__(self, path: Path, slide: Any, told: float | None) -> None:
        self.path, self._slide = path, slide
        self.width, self.height = slide.dimensions
        own = self._microns()
        self.told = own is None
        self.microns_per_pixel = self._of_user(told) if own is None else own
        self._plain = isinstance(slide, openslide.ImageSlide)

    def _of_user(self, told: float | None) -> float:
        if told is None:
            raise HistobenchError(
                f"{self.path}: does not say how large its pixels are; say it in the configuration, "
                f"`microns_per_pixel`: {USUAL}"
            )
        return told

    def _microns(self) -> float | None:
        """Return the micrometres per pixel that the slide says, None if it says none."""
        texts = [self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        if None in texts:
            return None
        x, y = map(float, texts)
        if not (math.isfinite(x) and x > 0 and abs(x - y) <= 0.02 * x):
            raise HistobenchError(
                f"{self.path}: expected square pixels of a known size, found {x:g} by {y:g} µm; write its resolution "
                "anew"
            )
        return (x + y) / 2

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this slide from others: size and date of its file, and OpenSlide's digest of its coarsest level.

        Other levels may change without that digest and the size. To read them all takes as long as to score them.
        """
        found = self.path.stat()
        quick = self._slide.properties.get("openslide.quickhash-1", "")
        return {"bytes": found.st_size, "modified": found.st_mtime_ns, "sha256": quick}

    def scale(self, microns_per_pixel: float) -> float:
        """Return how many pixels of level 0 one of this size is wide; refuse a slide that is too coarse."""
        scale = microns_per_pixel / self.microns_per_pixel
        if scale * COARSER < 1:
            said = f"{self.microns_per_pixel:g} µm"
            wrong = "its file says it wrongly: write its resolution anew"
            if self.told:
                said += ", the `microns_per_pixel` of the configuration"
                wrong = f"correct that key: {USUAL}"
            raise HistobenchError(
                f"{self.path}: expected pixels of at most {microns_per_pixel * COARSER:g} µm, for a model of "
                f"{microns_per_pixel:g} µm per pixel, found {said}; scan it finer, or choose a model of patches like "
                f"these. If its pixels are not so large, {wrong}"
            )
        return scale

    def square(self, x: float, y: float, width: int, height: int, scale: float) -> Pixels:
        """Return a part of the slide, (height, width, 3) uint8 RGB, over white where nothing was scanned.

        Parameters
        ----------
        x, y : its upper left corner in pixels of level 0.
        width, height : in pixels of the part.
        scale : pixels of level 0, in width, in one of the part. It is resampled from the nearest level that is finer,
        by
            means over all pixels that a pixel of the part covers (Pillow's bilinear filter); where that level has this
            scale, its pixels are taken as they are, from the nearest one.
        """
        level = self._level(scale)
        of_level = self._slide.level_downsamples[level]
        factor = scale / of_level
        if abs(factor - 1) * max(width, height) < 0.5:
            # From the nearest of its pixels: between them OpenSlide would give means of neighbours.
            left, top = (round(round(start / of_level) * of_level) for start in (x, y))
            return self._read(left, top, level, width, height)
        # With a margin as wide as the window of the filter. Lanczos's takes two and a half times as long.
        margin = math.ceil(factor) + 1
        left, top = math.floor(x / of_level) - margin, math.floor(y / of_level) - margin
        within = (x / of_level - left, y / of_level - top)
        box = (*within, within[0] + width * factor, within[1] + height * factor)
        sides = (math.ceil(box[2]) + margin, math.ceil(box[3]) + margin)
        read = Image.fromarray(self._read(round(left * of_level), round(top * of_level), level, *sides))
        return np.asarray(read.resize((width, height), Image.Resampling.BILINEAR, box))

    def _level(self, scale: float) -> int:
        """Return the coarsest level that is at least as fine as this scale."""
        fine = [level for level, each in enumerate(self._slide.level_downsamples) if each <= scale * 1.005]
        return max(fine, default=0)

    def _read(self, x: int, y: int, level: int, width: int, height: int) -> Pixels:
        try:
            read = self._slide.read_region((x, y), level, (width, height))
        except (openslide.OpenSlideError, OSError) as error:
            raise HistobenchError(
                f"{self.path}: cannot be read at x {x}, y {y} of level {level}, found: {error}; the file is damaged or "
                "was not copied to its end: copy it anew"
            ) from error
        pixels = np.asarray(read)
        if pixels[..., 3].min() == 255:
            return np.ascontiguousarray(pixels[..., :3])
        white = Image.new("RGBA", read.size, "white")
        white.alpha_composite(read)
        return np.asarray(white)[..., :3].copy()

    def overview(self, longest: int) -> Pixels:
        """Return the whole slide, (height, width, 3), its longer side this many pixels at most; read part by part."""
        scale = max(1.0, max(self.width, self.height) / longest)
        columns, rows = (max(1, int(side / scale)) for side in (self.width, self.height))
        whole = np.empty((rows, columns, 3), np.uint8)
        finest = scale / self._slide.level_downsamples[self._level(scale)]
        side = max(1, int(math.sqrt(LARGEST_READ) / max(finest, 1)) - 8)
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                height, width = min(side, rows - top), min(side, columns - left)
                whole[top : top + height, left : left + width] = self.square(
                    left * scale, top * scale, width, height, scale
                )
        return whole


@contextmanager
def opened(path: Path, microns_per_pixel: float | None) -> Iterator[Slide]:
    """Open a slide.

    Parameters
    ----------
    path : of a file that OpenSlide reads, or of a plain image.
    microns_per_pixel : of slides that do not say it.

    Raises
    ------
    HistobenchError
        if it cannot be opened, is too large for a plain image, or nobody says how large its pixels are.
    """
    try:
        slide: Any = _plain(path) if path.suffix.lower() in PLAIN else openslide.OpenSlide(os.fspath(path))
    except openslide.OpenSlideUnsupportedFormatError:  # TIFF without tiles, for instance
        slide = _plain(path)
    except openslide.OpenSlideError as error:
        raise _unreadable(path, error) from error
    with slide:
        if isinstance(slide, openslide.OpenSlide):
            _refuse_deep(path)
            slide.set_cache(openslide.OpenSlideCache(CACHE))
        yield Slide(path, slide, microns_per_pixel)


def _plain(path: Path) -> openslide.ImageSlide:
    """Return an image that is read as a whole."""
    try:
        image = Image.open(path, formats=images.FORMATS)
        if math.prod(image.size) > LARGEST_PLAIN:
            raise HistobenchError(
                f"{path}: {'{:,} x {:,}'.format(*image.size)} px are too many for an image without tiles, which is "
                "read as a whole; convert it to a tiled TIFF, as `vips tiffsave --tile --pyramid` does"
            )
        with path.open("rb") as file:
            images.refuse_what_is_no_8_bit_image(image, file.read(HEADER))
        image.load()
    except images.RefusedError as error:
        raise HistobenchError(f"{path}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error
    return openslide.ImageSlide(image)


def _refuse_deep(path: Path) -> None:
    """Refuse a TIFF file of more than 8 bits, which OpenSlide reads as if samples of 12 filled their 16."""
    if path.suffix.lower() not in (".tif", ".tiff"):  # of scanners, in formats that OpenSlide reads with 8 bits alone
        return
    try:
        with tifffile.TiffFile(path) as slide:
            bits = int(np.max(slide.pages.first.bitspersample))
    except (tifffile.TiffFileError, IndexError) as error:
        raise _unreadable(path, error) from error
    if bits > 8:
        raise HistobenchError(
            f"{path}: expected 8 bits in a sample, found {bits}. Which of their values are black and white is not "
            "known here: convert the slide to 8 bits by a rule of your own"
        )


def _unreadable(path: Path, error: Exception) -> HistobenchError:
    found = str(error) or type(error).__name__
    return HistobenchError(
        f"{path}: expected a slide that OpenSlide reads, or a PNG or JPEG image, found: {found}; copy it anew"
    )
