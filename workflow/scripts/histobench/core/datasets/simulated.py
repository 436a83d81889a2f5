"""Simulated H&E patches, written as the files that PCam and IDC publish, so that a run needs no download.

A patch is composed of two planes, the concentrations of hematoxylin and eosin, and turned into colour by the
Beer-Lambert law with the stain vectors of Ruifrok and Johnston, "Quantification of histochemical staining by color
deconvolution", Anal Quant Cytol Histol 23 (2001) 291-299. Stain vectors, concentrations, light, focus and the single
nuclei belong to a slide (PCam) or a patient (IDC), and none of these is in two splits.

The label follows the rule of the data set. In PCam tumour in the central 32x32 px decides: everything outside that
square is drawn without looking at the label, tumour included, and nothing drawn for the label leaves the square, so the
outer ring carries no information at all. In IDC tumour anywhere decides. Crowds of lymphocytes and nests of regular
epithelium are in both classes, which keeps the colour of a patch from giving its label away.

The amounts below were set by trial: of 2,000 patches the simplest CNN, B2, learns the label within a few epochs, and
logistic regression on the mean and deviation of colour doesn't. Simulated patches test a workflow; they say nothing
about how a network does on tissue.
"""

import gzip
import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, write_text

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

PCAM_SIDE = 96  # px
PCAM_SCALE = 1.0  # px per um: PCam has 0.97 um per px
CENTRE = slice(32, 64)  # rows and columns of the square whose content decides a PCam label
IDC_SIDE = 50  # px
# IDC has about 4 um per px, at which a nucleus is two pixels wide and its shape is gone. Twice as many pixels per um
# leave something to learn in a small set.
IDC_SCALE = 0.5  # px per um
IDC_POSITIVE = (0.2, 0.4)  # share of tumour patches of one patient; upstream 28 % over all
IDC_EDGE = 0.03  # share of patches cut by the edge of the slide, smaller than 50x50
FIRST_PATIENT = 90001  # upstream patients have numbers from 8863 to 16896

# Optical density of pure hematoxylin and eosin in red, green and blue (Ruifrok and Johnston 2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])

# Mean and deviation of the threshold above which a smooth standard normal field is a crowd of lymphocytes or a nest of
# epithelium.
PCAM_LYMPH = (0.2, 0.9)
IDC_LYMPH = (-0.5, 0.9)
NEST = (1.5, 0.8)
RING_TUMOUR = 0.45  # share of PCam patches with tumour outside the central square, whatever the label
CENTRE_COVER = (0.25, 0.7)  # share of the central square that tumour covers in a positive PCam patch
IDC_COVER = (0.32, 0.88)  # share of a positive IDC patch that tumour covers

CHUNK = 256  # patches in memory at a time
STAMPS = 32  # different nuclei of one kind on a slide


@dataclass(frozen=True)
class Kind:
    """How the nuclei of one cell type look.

    Attributes
    ----------
    radius : mean radius, um.
    spread : relative standard deviation of the radius.
    elongation : mean ratio of the axes.
    lumps : amplitude of the outline's irregularity, relative to the radius.
    chromatin : concentration of hematoxylin, relative to the slide's.
    vesicular : how much paler the middle is than the rim, 0 to 1.
    spacing : mean distance to the next nucleus where they are crowded, um.
    """

    radius: float
    spread: float
    elongation: float
    lumps: float
    chromatin: float
    vesicular: float
    spacing: float


KINDS = {
    "lymphocyte": Kind(3.3, 0.10, 1.12, 0.04, 1.10, 0.10, 7.4),
    "fibroblast": Kind(3.0, 0.20, 3.20, 0.05, 0.90, 0.10, 17.0),
    "epithelium": Kind(3.7, 0.10, 1.35, 0.04, 0.95, 0.20, 8.0),
    "tumour": Kind(5.6, 0.22, 1.30, 0.09, 0.88, 0.50, 11.8),
}


@dataclass(frozen=True)
class Style:
    """What the patches of one slide or patient have in common.

    Attributes
    ----------
    scale : px per um.
    stains : (2, 3) float32, optical density of one unit of hematoxylin and of eosin in red, green and blue.
    light : (3,) float32, the colour of empty glass, 0 to 255.
    amounts : concentrations of hematoxylin in nuclei and of eosin in stroma.
    nuclei : per kind (STAMPS, side, side) float32, hematoxylin of single nuclei.
    extents : per kind (STAMPS,) int64, px from the middle of a stamp beyond which it is zero.
    stroma, fat : (page, page) float32, relative eosin of fibres and emptiness (0 to 1) of fat cells.
    noise : (page, page, 3) float32, noise of the camera and of compression, grey levels.
    """

    scale: float
    stains: Floats
    light: Floats
    amounts: tuple[float, float]
    nuclei: dict[str, Floats]
    extents: dict[str, NDArray[np.int64]]
    stroma: Floats
    fat: Floats
    noise: Floats


def draw_style(rng: np.random.Generator, scale: float) -> Style:
    """Draw the stain, light, focus and texture of one slide or patient.

    The spread of stains and light was chosen by eye, after PCam's slides.

    Parameters
    ----------
    scale : px per um, PCAM_SCALE or IDC_SCALE.
    """
    stains = np.clip(STAINS + rng.normal(0, 0.035, (2, 3)), 0.02, None)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    light = 255 * rng.uniform(0.88, 0.97) * rng.uniform(0.97, 1.0, 3)
    amounts = (float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.2, 0.34)))
    focus = rng.uniform(0.4, 0.65)  # px, softness of edges
    size = rng.uniform(0.94, 1.06)  # nuclei of one patient differ from those of another
    page = round(2.5 * (PCAM_SIDE if scale == PCAM_SCALE else IDC_SIDE))
    nuclei, extents = {}, {}
    for name, kind in KINDS.items():
        nuclei[name], extents[name] = _stamps(rng, kind, scale * size, focus)
    noise = gaussian_filter(rng.normal(0, 1, (page, page, 3)), (0.6, 0.6, 0)) * rng.uniform(4, 9)
    noise = noise + gaussian_filter(rng.normal(0, 1, (page, page, 1)), (0.5, 0.5, 0)) * rng.uniform(3, 7)
    return Style(
        scale,
        stains.astype(np.float32),
        light.astype(np.float32),
        amounts,
        nuclei,
        extents,
        _stroma(rng, page, scale),
        _fat(rng, page, scale),
        noise.astype(np.float32),
    )


def _stamps(rng: np.random.Generator, kind: Kind, scale: float, focus: float) -> tuple[Floats, NDArray[np.int64]]:
    """Draw single nuclei, textured ellipses with an irregular outline.

    Returns
    -------
    (STAMPS, side, side) float32, relative hematoxylin, and (STAMPS,) int64, px that each reaches from the middle.
    """
    n = STAMPS
    radius = kind.radius * scale * np.clip(rng.normal(1, kind.spread, n), 0.6, 1.7)
    ratio = np.sqrt(kind.elongation * np.exp(rng.normal(0, 0.08, n)))
    half = int(np.ceil((radius * ratio * (1 + 2 * kind.lumps)).max() + 3 * focus))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    turn = rng.uniform(0, np.pi, (n, 1, 1))
    if kind.elongation > 2:  # spindle cells lie along the fibres, which run along the rows of the stroma page
        turn = rng.normal(0, 0.35, (n, 1, 1))
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    along, across = along / ratio[:, None, None], across * ratio[:, None, None]
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for k in (2, 3, 4, 5):
        outline += kind.lumps * rng.normal(0, 0.7, (n, 1, 1)) * np.cos(k * angle + rng.uniform(0, 2 * np.pi, (n, 1, 1)))
    distance = np.hypot(along, across) / (radius[:, None, None] * np.clip(outline, 0.5, 1.5))
    edge = 1 / (1 + np.exp(np.clip((distance - 1) * radius[:, None, None] / (0.5 * focus), -30, 30)))
    chromatin = kind.chromatin * np.exp(rng.normal(0, 1.2 * kind.spread, (n, 1, 1)))
    paler = kind.vesicular * rng.uniform(0.3, 1.3, (n, 1, 1)) * np.exp(-((distance / 0.7) ** 2))
    clumps = gaussian_filter(rng.normal(0, 1, edge.shape), (0, 0.8 * scale, 0.8 * scale)) * scale * 0.4
    stamps = np.clip(chromatin * (1 - paler + clumps), 0.15, None)
    if kind.vesicular > 0.4:  # one prominent nucleolus
        where = rng.normal(0, 0.3, (2, n, 1, 1)) * radius[:, None, None]
        spot = np.exp(-((along - where[0]) ** 2 + (across - where[1]) ** 2) / (1.1 * scale) ** 2)
        stamps = stamps + 0.5 * spot
    stamps = stamps * edge
    stamps[stamps < 0.02] = 0  # the soft edge has to end somewhere
    reach = np.maximum(np.abs(x), np.abs(y))
    extents = np.where(stamps > 0, reach, 0).max((1, 2)).astype(np.int64)
    return stamps.astype(np.float32), extents


def _stroma(rng: np.random.Generator, page: int, scale: float) -> Floats:
    """Draw wavy fibres: (page, page) float32, mean 1."""
    fine = gaussian_filter(rng.normal(0, 1, (page, page)), (1.1 * scale, 9 * scale), mode="wrap")
    coarse = gaussian_filter(rng.normal(0, 1, (page, page)), (3.5 * scale, 25 * scale), mode="wrap")
    fibres = fine / fine.std() + coarse / coarse.std()
    waves = gaussian_filter(rng.normal(0, 1, (page, page)), 14 * scale, mode="wrap")
    y, x = np.mgrid[:page, :page].astype(float)
    fibres = map_coordinates(fibres, [y + 7 * scale * waves / waves.std(), x], order=1, mode="wrap")
    return np.asarray(np.clip(1 + 0.22 * fibres, 0.1, 2.2), np.float32)


def _fat(rng: np.random.Generator, page: int, scale: float) -> Floats:
    """Draw fat cells as a Voronoi tessellation with thin walls: (page, page) float32, 1 in a vacuole, 0 in a wall."""
    spacing = rng.uniform(24, 36) * scale
    margin = 2 * spacing
    cells = rng.uniform(-margin, page + margin, (round((page + 2 * margin) ** 2 / spacing**2), 2))
    y, x = np.mgrid[:page, :page]
    distance, _ = cKDTree(cells).query(np.stack([y, x], -1), k=2)
    wall = distance[..., 1] - distance[..., 0]
    return np.asarray(1 / (1 + np.exp(-(wall - 2.2) / 0.4)), np.float32)


@cache
def _interpolation(length: int, knots: int) -> Floats:
    """Return the (length, knots) weights that turn independent normal values at the knots into a smooth unit field."""
    place = np.linspace(0, knots - 1, length)[:, None] - np.arange(knots)
    weights = np.exp(-(place**2) / (2 * 0.7**2))
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), np.float32)


def _field(rng: np.random.Generator, side: int) -> Floats:
    """Draw a smooth random field, (side, side) float32, standard normal at every pixel."""
    values = rng.standard_normal((4, 4), dtype=np.float32)
    return np.asarray(_interpolation(side, 4) @ values @ _interpolation(side, 4).T)


def _soft(field: Floats, threshold: float, width: float = 0.08) -> Floats:
    """Return where a field exceeds a threshold, 0 to 1 with soft borders."""
    return np.asarray(1 / (1 + np.exp(np.clip((threshold - field) / width, -20, 20))), np.float32)


def _crop(rng: np.random.Generator, page: Floats, side: int) -> Floats:
    """Cut a random square out of a page."""
    top, left = rng.integers(page.shape[0] - side, size=2)
    return page[top : top + side, left : left + side]


class _Canvas:
    """A patch while it is being drawn: benign tissue first, then tumour, then colour.

    Attributes
    ----------
    lymph, nest, glass : (side, side) float32, 0 to 1, where lymphocytes crowd, where regular epithelium does, and where
        there is no tissue.
    stroma : (side, side) float32, relative eosin of fibres.
    benign : per kind (3, n) int64, rows and columns (px) and numbers of the stamps of nuclei, were all tissue of that
        kind.
    nuclei : (side + 2 margin, side + 2 margin) float32, relative hematoxylin of nuclei; the margin takes what hangs
        over the edge.
    """

    def __init__(self, rng: np.random.Generator, style: Style, side: int) -> None:
        self.style, self.side = style, side
        self.margin = max(stamps.shape[1] for stamps in style.nuclei.values())
        self.nuclei = np.zeros((side + 2 * self.margin, side + 2 * self.margin), np.float32)
        self.lymph = _soft(_field(rng, side), rng.normal(*(PCAM_LYMPH if side == PCAM_SIDE else IDC_LYMPH)))
        field, threshold = _field(rng, side), rng.normal(*NEST)
        self.nest = _soft(field, threshold)
        # Epithelium lines the ducts of the breast; in a lymph node there are none.
        lumen = _soft(field, threshold + 1.2) * np.float32(style.scale == IDC_SCALE)
        fat = (
            _soft(_field(rng, side), rng.uniform(0, 1.2)) * _crop(rng, style.fat, side) * np.float32(rng.random() < 0.3)
        )
        self.glass = np.maximum(lumen, fat)
        self.stroma = _crop(rng, style.stroma, side)
        self.benign = {kind: self.lattice(rng, kind) for kind in ("lymphocyte", "epithelium", "fibroblast")}

    def lattice(self, rng: np.random.Generator, kind: str) -> NDArray[np.int64]:
        """Propose crowded nuclei all over the patch, on a jittered lattice: (3, n) int64 as in `benign`."""
        spacing = KINDS[kind].spacing * self.style.scale
        rows = np.arange(-spacing * rng.random(), self.side + spacing, 0.87 * spacing)
        columns = np.arange(-spacing * rng.random(), self.side + spacing, spacing)
        y, x = np.meshgrid(rows, columns, indexing="ij")
        x = x + spacing / 2 * (np.arange(len(rows)) % 2)[:, None]
        y, x = np.stack([y, x]).reshape(2, -1) + rng.normal(0, 0.16 * spacing, (2, y.size))
        inside = (y >= 0) & (y < self.side) & (x >= 0) & (x < self.side)
        stamps = rng.integers(STAMPS, size=y.size)
        return np.stack([y.astype(np.int64), x.astype(np.int64), stamps])[:, inside]

    def within(self, kind: str, spots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which nuclei lie wholly in the central square of PCam."""
        low, high = self._bounds(kind, spots)
        return np.asarray(((low >= CENTRE.start) & (high < CENTRE.stop)).all(0))

    def clear(self, kind: str, spots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which nuclei don't touch the central square of PCam."""
        low, high = self._bounds(kind, spots)
        return np.asarray(((high < CENTRE.start) | (low >= CENTRE.stop)).any(0))

    def _bounds(self, kind: str, spots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        reach = self.style.extents[kind][spots[2]]
        return spots[:2] - reach, spots[:2] + reach

    def stamp(self, kind: str, spots: NDArray[np.int64]) -> None:
        """Draw nuclei; where two overlap, the denser one shows."""
        bank = self.style.nuclei[kind]
        side = bank.shape[1]
        shift = self.margin - side // 2
        rows, columns, stamps = (spots + np.array([[shift], [shift], [0]])).tolist()
        for row, column, stamp in zip(rows, columns, stamps, strict=True):
            window = self.nuclei[row : row + side, column : column + side]
            np.maximum(window, bank[stamp], out=window)

    def stamp_benign(self, tumour: Floats, always: Mapping[str, NDArray[np.bool_]]) -> None:
        """Draw the benign nuclei that tumour leaves, and those of `always` (per kind (n,) bool) that it doesn't."""
        where = {
            "lymphocyte": (self.lymph > 0.5) & (self.nest <= 0.5),
            "epithelium": self.nest > 0.5,
            "fibroblast": (self.lymph <= 0.5) & (self.nest <= 0.5),
        }
        for kind, spots in self.benign.items():
            keep = _at(where[kind] & (self.glass < 0.4), spots)
            self.stamp(kind, spots[:, keep & ((_at(tumour, spots) <= 0.5) | always[kind])])

    def develop(self, rng: np.random.Generator, tumour: Floats) -> Bytes:
        """Turn the planes into colour: (side, side, 3) uint8."""
        cells = np.maximum(tumour, self.nest)  # the cytoplasm of either takes up both stains
        eosin = self.stroma * (1 - 0.45 * self.lymph)
        eosin = eosin * (1 - cells) + cells * (0.85 + 0.3 * (self.stroma - 1))
        haze = 0.08 + 0.10 * np.maximum(cells, self.lymph) + 0.05 * tumour
        tissue = 1 - self.glass * (1 - tumour)
        inner = slice(self.margin, -self.margin)
        nuclei = self.nuclei[inner, inner]
        hematoxylin = np.maximum(nuclei, haze * tissue) * np.float32(self.style.amounts[0])
        eosin = eosin * tissue * (1 - 0.6 * np.minimum(nuclei, 1)) * np.float32(self.style.amounts[1])
        density = hematoxylin[..., None] * self.style.stains[0] + eosin[..., None] * self.style.stains[1]
        colour = self.style.light * np.exp(np.float32(-np.log(10)) * density)
        colour = np.clip(colour + _crop(rng, self.style.noise, self.side), 0, 255)
        return np.asarray(colour.astype(np.uint8))


def _at(mask: NDArray[Any], spots: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values of a mask at the middles of nuclei."""
    return np.asarray(mask[spots[0], spots[1]])


def _turn(rng: np.random.Generator, patch: Bytes) -> Bytes:
    """Mirror and turn a patch at random, since tissue has no upright position; its size stays."""
    turns = int(rng.integers(4)) if patch.shape[0] == patch.shape[1] else 2
    return np.ascontiguousarray(np.rot90(patch[:: rng.choice([-1, 1])], turns))


def pcam_patch(rng: np.random.Generator, style: Style, label: int) -> Bytes:
    """Draw a patch by PCam's rule: tumour in the central 32x32 px decides.

    From equal states of `rng` the patches of both labels are equal outside that square.

    Returns
    -------
    (96, 96, 3) uint8
    """
    return _pcam_patch(rng, style, label)[0]


def _pcam_patch(rng: np.random.Generator, style: Style, label: int) -> tuple[Bytes, bool]:
    """Draw a patch and say whether there is tumour anywhere on it."""
    canvas = _Canvas(rng, style, PCAM_SIDE)
    # All of this is drawn whatever the label, so that what comes after doesn't depend on it.
    hole = _hole(rng)
    drawn = np.float32(rng.random() < RING_TUMOUR)
    ring = _soft(_field(rng, PCAM_SIDE), rng.uniform(-0.6, 0.6)) * drawn * (1 - hole)
    canvas.glass = canvas.glass * (1 - drawn * hole)  # what tumour leaves free in the middle is tissue, not a window
    ring_spots = canvas.lattice(rng, "tumour")
    centre = _centre_blob(rng)
    centre_spots = canvas.lattice(rng, "tumour")

    ring_spots = ring_spots[:, (_at(ring, ring_spots) > 0.5) & canvas.clear("tumour", ring_spots)]
    canvas.stamp("tumour", ring_spots)
    tumour = ring
    if label:
        tumour = np.maximum(ring, centre)
        # One nucleus stands in the thick of it, so that no positive patch is without; all are moved into the square.
        thick = np.array([*np.unravel_index(centre.argmax(), centre.shape), 0])[:, None]
        centre_spots = np.concatenate([thick, centre_spots[:, _at(centre, centre_spots) > 0.5]], axis=1)
        reach = style.extents["tumour"][centre_spots[2]]
        centre_spots[:2] = np.clip(centre_spots[:2], CENTRE.start + reach, CENTRE.stop - 1 - reach)
        canvas.stamp("tumour", centre_spots)
    # A benign nucleus that straddles the border of the square stays whatever the label.
    straddling = {kind: ~canvas.within(kind, s) & ~canvas.clear(kind, s) for kind, s in canvas.benign.items()}
    canvas.stamp_benign(tumour, straddling)
    return _turn(rng, canvas.develop(rng, tumour)), bool(label) or ring_spots.shape[1] > 0


def _centre_blob(rng: np.random.Generator) -> Floats:
    """Draw where tumour lies in a positive PCam patch: (96, 96) float32, 0 outside the central square."""
    side = CENTRE.stop - CENTRE.start
    y, x = np.mgrid[:side, :side] * 2 / (side - 1) - 1
    window = np.clip(1 - (x**2 + y**2) ** 2, 0, 1).astype(np.float32)  # round: a straight border would show
    field = window * (2 + 0.7 * _field(rng, side))
    blob = np.zeros((PCAM_SIDE, PCAM_SIDE), np.float32)
    blob[CENTRE, CENTRE] = _soft(field, float(np.quantile(field, 1 - rng.uniform(*CENTRE_COVER))), 0.15) * (
        window > 0.05
    )
    return blob


def _hole(rng: np.random.Generator) -> Floats:
    """Draw where the tumour of a PCam ring may not lie: (96, 96) float32, 1 in the central square, an uneven disc."""
    y, x = np.mgrid[:PCAM_SIDE, :PCAM_SIDE] - np.float32((PCAM_SIDE - 1) / 2)
    corner = np.float32((CENTRE.stop - CENTRE.start) / 2 * 2**0.5)
    beyond = np.hypot(x, y) - corner - 3 - 3 * np.abs(_field(rng, PCAM_SIDE))
    return np.asarray(np.clip(-beyond / 3, 0, 1), np.float32)


def idc_patch(
    rng: np.random.Generator, style: Style, label: int, height: int = IDC_SIDE, width: int = IDC_SIDE
) -> Bytes:
    """Draw a patch by IDC's rule: tumour anywhere on it decides.

    Parameters
    ----------
    height, width : px, at most 50; less for a patch that the edge of the slide cuts.

    Returns
    -------
    (height, width, 3) uint8
    """
    canvas = _Canvas(rng, style, IDC_SIDE)
    # Tumour takes tissue first: were it to take the place of fat, bright patches would be negative ones.
    field, cover = _field(rng, IDC_SIDE) - 2 * canvas.glass, rng.uniform(*IDC_COVER)
    spots = canvas.lattice(rng, "tumour")
    tumour = np.zeros_like(field)
    if label:
        # The share is that of the part which is kept: a cut patch shows tumour too.
        tumour = _soft(field, float(np.quantile(field[:height, :width], 1 - cover)))
        canvas.stamp("tumour", spots[:, _at(tumour, spots) > 0.5])
    canvas.stamp_benign(tumour, {kind: np.zeros(s.shape[1], bool) for kind, s in canvas.benign.items()})
    return _turn(rng, canvas.develop(rng, tumour)[:height, :width])


def write_pcam(folder: Path, patches: Mapping[str, int], slides: Mapping[str, int], seed: int) -> None:
    """Write simulated patches as PCam's nine files: patches, labels and slides of every split.

    Equal arguments give equal bytes. Half of the patches of a split are positive.

    Parameters
    ----------
    patches, slides : number of patches and of slides of the splits "train", "valid" and "test". No slide is in two
        splits.
    """
    splits = ("train", "valid", "test")
    _check("patches", patches, splits, 2)
    _check("slides", slides, splits, 1)
    for split in splits:
        if 2 * slides[split] > patches[split]:
            raise HistobenchError(
                f"simulated PCam, split {split}: {slides[split]} slides for {patches[split]} patches. "
                "Ask for two patches a slide or more, one of each label."
            )
    for number, split in enumerate(splits):
        _write_pcam_split(folder, split, patches[split], slides[split], [seed, number])


def _write_pcam_split(folder: Path, split: str, n: int, slides: int, seed: Sequence[int]) -> None:
    rng = np.random.default_rng([*seed, 0])
    # Both labels are equally frequent on every slide. Were they not, stain would tell something about the label, and a
    # network as plain as B2 may follow that for epochs and learn nothing.
    order = rng.permutation(n)
    labels, slide = (order % 2).astype(np.uint8), order // 2 % slides
    # Slides are 100,000 px wide and high at most; places on a 96-px grid, none twice.
    grid = 1000
    coordinates = np.stack(np.divmod(rng.choice(grid * grid, n, replace=False), grid)) * PCAM_SIDE
    styles = [draw_style(np.random.default_rng([*seed, 1, i]), PCAM_SCALE) for i in range(slides)]
    anywhere: list[bool] = []

    def images() -> Iterator[Bytes]:
        for start in range(0, n, CHUNK):
            chunk = []
            for i in range(start, min(start + CHUNK, n)):
                image, tumour = _pcam_patch(np.random.default_rng([*seed, 2, i]), styles[slide[i]], labels[i])
                chunk.append(image)
                anywhere.append(tumour)
            yield np.stack(chunk)

    stem = f"camelyonpatch_level_2_split_{split}"
    _write_h5(folder / f"{stem}_x.h5.gz", "x", (n, PCAM_SIDE, PCAM_SIDE, 3), images())
    _write_h5(folder / f"{stem}_y.h5.gz", "y", (n, 1, 1, 1), iter([labels.reshape(-1, 1, 1, 1)]))
    lines = [",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"]
    for i in range(n):
        y, x = coordinates[:, i]
        lines.append(f"{i},{y},{x},{anywhere[i]},{bool(labels[i])},simulated_{split}_{slide[i]:03d}")
    write_text(folder / f"{stem}_meta.csv", "\n".join(lines) + "\n")


def _write_h5(path: Path, name: str, shape: tuple[int, ...], chunks: Iterator[Bytes]) -> None:
    """Write one contiguous uint8 data set as .h5.gz, chunk by chunk, without times or names in it."""
    with atomic(path) as temporary, TemporaryFile(dir=temporary.parent) as unpacked:
        # HDF5 has to seek and gzip can't, so the plain file is written in full first.
        with h5py.File(unpacked, "w", libver="earliest") as file:
            data = file.create_dataset(name, shape, np.uint8, track_times=False)
            start = 0
            for chunk in chunks:
                data[start : start + len(chunk)] = chunk
                start += len(chunk)
        unpacked.seek(0)
        with temporary.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
            shutil.copyfileobj(unpacked, packed, 1 << 20)


def write_idc(folder: Path, patients: Mapping[str, int], patches_per_patient: int, seed: int) -> None:
    """Write simulated patches as IDC's archive and its three lists of patients.

    Equal arguments give equal bytes.

    Parameters
    ----------
    patients : number of patients of the splits "train", "val" and "test".
    patches_per_patient : number of patches of each; both classes are among them.
    """
    splits = ("train", "val", "test")
    _check("patients", patients, splits, 1)
    if patches_per_patient < 2:
        raise HistobenchError(
            f"simulated IDC: {patches_per_patient} patches per patient, expected 2 or more (one of each class)."
        )
    names = iter(range(FIRST_PATIENT, FIRST_PATIENT + sum(patients.values())))
    cases = {split: [str(next(names)) for _ in range(patients[split])] for split in splits}
    with atomic(folder / "IDC_regular_ps50_idx5.zip") as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for split in splits:
            for patient in cases[split]:
                _write_patient(archive, patient, patches_per_patient, np.random.default_rng([seed, int(patient)]))
    for split in splits:
        write_text(folder / f"cases_{split}.txt", "".join(f"{patient}\n" for patient in cases[split]))


def _write_patient(archive: zipfile.ZipFile, patient: str, n: int, rng: np.random.Generator) -> None:
    style = draw_style(rng, IDC_SCALE)
    positive = min(max(round(n * rng.uniform(*IDC_POSITIVE)), 1), n - 1)
    labels = rng.permutation(np.arange(n) < positive).astype(int)
    edge = rng.permutation(np.arange(n) < round(n * IDC_EDGE))
    # The slide ends in a last column and a last row of patches that are cut.
    grid = max(40, int(np.ceil(np.sqrt(2 * n))), int(edge.sum()))
    cells = np.stack(np.divmod(rng.choice(grid * grid, n, replace=False), grid))
    cells[0, edge] = rng.permutation(grid)[: edge.sum()]
    cells[1, edge] = grid
    height, width = rng.integers(20, IDC_SIDE, 2)
    for i in range(n):
        size = (IDC_SIDE, IDC_SIDE)
        row, column = cells[:, i]
        if edge[i]:
            size = (IDC_SIDE, int(width))
            if i % 2:
                row, column, size = column, row, (int(height), IDC_SIDE)
        buffer = io.BytesIO()
        Image.fromarray(idc_patch(rng, style, labels[i], *size)).save(buffer, "PNG", compress_level=1)
        folder = f"{patient}/{labels[i]}"
        name = f"{patient}_idx5_x{column * IDC_SIDE + 1}_y{row * IDC_SIDE + 1}_class{labels[i]}.png"
        archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def _check(what: str, given: Mapping[str, int], splits: Sequence[str], least: int) -> None:
    """Refuse numbers of patches, slides or patients that can't be written."""
    if set(given) != set(splits) or min(given.values()) < least:
        raise HistobenchError(
            f"simulated {what}: expected {least} or more for each of {', '.join(splits)}, found {dict(given)}."
        )
