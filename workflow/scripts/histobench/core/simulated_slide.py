"""A simulated slide of the breast, for the demo, as :mod:`histobench.core.simulation` draws patches of IDC.

It shows what a map looks like, and says nothing about how a CNN does on tissue.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from histobench.core.files import atomic
from histobench.core.scale import MICRONS_PER_PIXEL
from histobench.core.simulation import IDC, NEST, Bytes, Canvas, Floats, Style, draw_style, soft

# Height and width in pixels, and levels of the file, each half as large as the one before.
HEIGHT, WIDTH, LEVELS = 1400, 2000, 3
# Shares of the slide that are tissue, and of the tissue that holds tumour.
TISSUE, TUMOUR = 0.55, 0.25
# Pixels over which what a patch shows changes, and over which it does from patch to patch: standard deviations of the
# filters that smooth noise.
NEAR, FAR = 12, 70
# Tumour covers a patch by so much, or by less, to be called one or the other; what lies between has no label.
POSITIVE, NEGATIVE = 0.3, 0.01


class _Slide(Canvas):
    """A whole slide while it is drawn. Where patches of a data set differ from one another, it changes slowly."""

    def __init__(self, rng: np.random.Generator, style: Style) -> None:
        self._rng = rng
        side = max(HEIGHT, WIDTH)
        # Of the noise a part is cut out.
        pages: dict[str, Any] = {
            name: _tiled(getattr(style, name), length)
            for name, length in (("stroma", side), ("fat", side), ("noise", side + 1))
        }
        self.style = style._replace(tissue=IDC._replace(side=side), **pages)
        self.side = side
        self.margin = max(stamps.shape[1] for stamps in style.nuclei.values())
        self.nuclei = np.zeros((side + 2 * self.margin, side + 2 * self.margin), np.float32)
        mean, deviation = style.tissue.lymph
        self.lymph = soft(self._field(NEAR) - mean - deviation * self._field(FAR), 0)
        field = self._field(NEAR) - NEST[0] - NEST[1] * self._field(FAR)
        self.nest = soft(field, 0)
        fat = soft(self._field(NEAR), 0.4) * soft(self._field(FAR), 0.6) * pages["fat"]
        outline = _highest(self._field(FAR) - 3 * _from_middle(side), TISSUE * HEIGHT * WIDTH / side**2)
        self.outside = 1 - np.clip(gaussian_filter(outline.astype(np.float32), 4), 0, 1)
        self.glass = np.maximum(np.maximum(soft(field, 1.2), fat), self.outside)
        self.stroma = pages["stroma"]
        self.benign = {kind: self.lattice(rng, kind) for kind in ("lymphocyte", "epithelium", "fibroblast")}
        place = self._field(FAR)
        place[~outline] = place.min()
        crowded = _highest(place, TUMOUR * float(outline.mean()))
        self.tumour = soft(self._field(NEAR), -0.3) * np.clip(gaussian_filter(crowded.astype(np.float32), 4), 0, 1)
        self.tumour *= 1 - self.outside
        # As in patches, tumour takes tissue first.
        self.tumour *= 1 - (self.glass > 0.5) * np.float32(0.8)

    def _field(self, smooth: float) -> Floats:
        """Draw a smooth random field, standard normal over all its places."""
        field = gaussian_filter(self._rng.standard_normal((self.side, self.side), dtype=np.float32), smooth)
        return np.asarray((field - field.mean()) / field.std(), np.float32)

    def draw(self) -> Bytes:
        spots = self.lattice(self._rng, "tumour")
        self.stamp("tumour", spots[:, self.tumour[spots[0], spots[1]] > 0.5])
        self.stamp_benign(self.tumour, {})
        return self.develop(self._rng, self.tumour)


def _tiled(page: Floats, side: int) -> Floats:
    """Return a page as large as the slide: pages side by side, every other one mirrored, so that they meet."""
    pair = np.concatenate([page, page[::-1]], axis=0)
    block = np.concatenate([pair, pair[:, ::-1]], axis=1)
    times = -(-side // block.shape[0])
    return np.asarray(np.tile(block, (times, times, *[1] * (page.ndim - 2)))[:side, :side])


def _from_middle(side: int) -> Floats:
    """Return the squared distance of each place from the middle of the slide, 1 at its edges."""
    y, x = np.ogrid[:side, :side]
    return np.asarray((2 * y / HEIGHT - 1) ** 2 + (2 * x / WIDTH - 1) ** 2, np.float32)


def _highest(field: Floats, share: float) -> NDArray[np.bool_]:
    return np.asarray(field >= np.quantile(field, 1 - share))


def simulated(seed: int) -> tuple[Bytes, Floats, Floats]:
    """Return a slide, (HEIGHT, WIDTH, 3), and how much of each pixel is tumour, and glass around it, 0 to 1."""
    rng = np.random.default_rng([seed, 2])
    # Pages of fibres and fat that are larger than those of a patch.
    slide = _Slide(rng, draw_style(rng, IDC._replace(side=4 * IDC.side)))
    part = (slice(HEIGHT), slice(WIDTH))
    return slide.draw()[part], slide.tumour[part], slide.outside[part]


def write(slide: Path, labels: Path, seed: int) -> None:
    """Write a slide and the labels of its patches.

    Parameters
    ----------
    slide : the TIFF file to write, tiled, pyramidal, with its micrometres per pixel.
    labels : the CSV file to write: `slide`, `x`, `y` and `label`, 1 is tumour, of the patches that have one.
    seed : of everything that is drawn. Its patient is none of those of a simulated data set.
    """
    image, tumour, glass = simulated(seed)
    with atomic(slide) as path:
        _write(path, image)
    side = IDC.side
    shape = (HEIGHT // side, side, WIDTH // side, side)
    cover, outside = (each.reshape(shape).mean(axis=(1, 3)) for each in (tumour, glass))
    rows = [
        (slide.stem, column * side, row * side, int(cover[row, column] >= POSITIVE))
        for row, column in np.ndindex(cover.shape)
        if outside[row, column] < 0.5 and not NEGATIVE < cover[row, column] < POSITIVE
    ]
    with atomic(labels) as path, path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("slide", "x", "y", "label"), *rows])


def _write(path: Path, image: Bytes) -> None:
    with tifffile.TiffWriter(path) as file:
        for level in range(LEVELS):
            resolution = 1e4 / MICRONS_PER_PIXEL["idc"] / 2**level
            file.write(
                image, tile=(256, 256), photometric="rgb", compression="deflate", predictor=True,
                subfiletype=1 if level else 0, resolution=(resolution, resolution), resolutionunit="CENTIMETER",
                metadata=None,
            )  # fmt: skip
            image = np.asarray(Image.fromarray(image).reduce(2))
