"""Simulated H&E patches, written as the files that PCam and IDC publish, for the demo and for tests.

A patch is two planes, the concentrations of hematoxylin and eosin, turned into colour by the Beer-Lambert law with the
stain vectors of Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Anal Quant
Cytol Histol 23 (2001) 291-299. Stains, light, focus and the shapes of nuclei belong to a slide (PCam) or a patient
(IDC), and none of these is in two splits.

The label follows the rule of the data set. In PCam tumour in the central 32x32 px decides: all outside that square is
drawn without looking at the label, tumour included, and nothing that is drawn for the label leaves the square. In IDC
tumour anywhere decides. Crowds of lymphocytes and nests of regular epithelium are in both classes, so that the colour
of a patch does not give its label away.

Numbers without a source were set by eye and by trial: of 2,000 patches the simplest CNN, B2, learns the label within a
few epochs, and logistic regression on the mean and deviation of colour does not. Simulated patches test a workflow;
they say nothing about how a CNN does on tissue. On their seed see "Seeds" in config/README.md.
"""

import gzip
import io
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, write_text
from histobench.core.formats import FORMATS, IDC_ARCHIVE, IDC_PATIENTS, pcam_file
from histobench.core.prepared import SPLITS

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Tissue(NamedTuple):
    """What a data set shows: patches of `side` x `side` px, `scale` px per um, with `ducts` or without.

    `lymph` is mean and deviation of the threshold above which a smooth standard normal field is a crowd of lymphocytes.
    """

    side: int
    scale: float
    lymph: tuple[float, float]
    ducts: bool


PCAM = Tissue(FORMATS["pcam"].patch_size, 1.0, (0.2, 0.9), ducts=False)  # of lymph nodes, 0.97 um per px
# Of the breast, about 4 um per px, at which a nucleus is two pixels wide and its shape is gone. Twice as many pixels
# per um leave something to learn in a small set.
IDC = Tissue(FORMATS["idc"].patch_size, 0.5, (-0.5, 0.9), ducts=True)
# Rows and columns of the square that decides a PCam label.
CENTRE = slice((PCAM.side - FORMATS["pcam"].centre) // 2, (PCAM.side + FORMATS["pcam"].centre) // 2)
IDC_POSITIVE = (0.2, 0.4)  # share of tumour patches of one patient; upstream 28 % over all
IDC_EDGE = 0.03  # share of patches that the edge of the slide cuts
FIRST_PATIENT = 90001  # upstream patients have numbers from 8863 to 16896

# Optical density of pure hematoxylin and eosin in red, green and blue (Ruifrok and Johnston 2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])

NEST = (1.5, 0.8)  # as `lymph` of a tissue, for nests of epithelium
RING_TUMOUR = 0.45  # share of PCam patches with tumour outside the central square, whatever the label
CENTRE_COVER = (0.25, 0.7)  # share of the central square that tumour covers in a positive PCam patch
IDC_COVER = (0.32, 0.88)  # share of a positive IDC patch that tumour covers
STAMPS = 32  # different nuclei of one kind on a slide


class Kind(NamedTuple):
    """How the nuclei of one cell type look.

    `radius`, mean, um, and its relative standard deviation `spread`; `elongation`, mean ratio of the axes; `lumps`,
    amplitude of the outline's irregularity, relative to the radius; `chromatin`, concentration of hematoxylin, relative
    to the slide's; `vesicular`, how much paler the middle is than the rim, 0 to 1; `spacing`, mean distance to the next
    nucleus where they are crowded, um.
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


class Style(NamedTuple):
    """What the patches of one slide or patient have in common.

    Attributes
    ----------
    tissue : PCAM or IDC.
    stains : (2, 3) float32, optical density of one unit of hematoxylin and of eosin in red, green and blue.
    light : (3,) float32, the colour of empty glass, 0 to 255.
    amounts : concentrations of hematoxylin in nuclei and of eosin in stroma.
    nuclei : per kind (STAMPS, side, side) float32, relative hematoxylin of single nuclei.
    extents : per kind (STAMPS,) int64, px that each nucleus reaches from the middle.
    stroma, fat : (page, page) float32, relative eosin of fibres and emptiness (0 to 1) of fat cells.
    noise : (page, page, 3) float32, noise of the camera and of compression, grey levels.
    """

    tissue: Tissue
    stains: Floats
    light: Floats
    amounts: tuple[float, float]
    nuclei: dict[str, Floats]
    extents: dict[str, Integers]
    stroma: Floats
    fat: Floats
    noise: Floats


def draw_style(rng: np.random.Generator, tissue: Tissue) -> Style:
    """Draw the stain, light, focus and texture of one slide or patient."""
    stains = np.clip(STAINS + rng.normal(0, 0.035, (2, 3)), 0.02, None)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    light = 255 * rng.uniform(0.88, 0.97) * rng.uniform(0.97, 1.0, 3)
    amounts = (float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.2, 0.34)))
    focus = rng.uniform(0.4, 0.65)  # px, softness of edges
    size = rng.uniform(0.94, 1.06)  # nuclei of one patient differ from those of another
    page = round(2.5 * tissue.side)
    drawn = {name: _stamps(rng, kind, tissue.scale * size, focus) for name, kind in KINDS.items()}
    noise = gaussian_filter(rng.normal(0, 1, (page, page, 3)), (0.6, 0.6, 0)) * rng.uniform(4, 9)
    noise = noise + gaussian_filter(rng.normal(0, 1, (page, page, 1)), (0.5, 0.5, 0)) * rng.uniform(3, 7)
    return Style(
        tissue,
        stains.astype(np.float32),
        light.astype(np.float32),
        amounts,
        {name: stamps for name, (stamps, _) in drawn.items()},
        {name: extents for name, (_, extents) in drawn.items()},
        _stroma(rng, page, tissue.scale),
        _fat(rng, page, tissue.scale),
        noise.astype(np.float32),
    )


def _stamps(rng: np.random.Generator, kind: Kind, scale: float, focus: float) -> tuple[Floats, Integers]:
    """Draw single nuclei, textured ellipses with an irregular outline: `nuclei` and `extents` of one kind."""
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


def soft(field: Floats, threshold: float, width: float = 0.08) -> Floats:
    """Return where a field exceeds a threshold, 0 to 1 with soft borders."""
    return np.asarray(1 / (1 + np.exp(np.clip((threshold - field) / width, -20, 20))), np.float32)


def _crop(rng: np.random.Generator, page: Floats, side: int) -> Floats:
    """Cut a random square out of a page."""
    top, left = rng.integers(page.shape[0] - side, size=2)
    return page[top : top + side, left : left + side]


class Canvas:
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

    def __init__(self, rng: np.random.Generator, style: Style) -> None:
        self.style, self.side, side = style, style.tissue.side, style.tissue.side
        self.margin = max(stamps.shape[1] for stamps in style.nuclei.values())
        self.nuclei = np.zeros((side + 2 * self.margin, side + 2 * self.margin), np.float32)
        self.lymph = soft(_field(rng, side), rng.normal(*style.tissue.lymph))
        field, threshold = _field(rng, side), rng.normal(*NEST)
        self.nest = soft(field, threshold)
        lumen = soft(field, threshold + 1.2) * np.float32(style.tissue.ducts)  # epithelium lines ducts
        fat = (
            soft(_field(rng, side), rng.uniform(0, 1.2)) * _crop(rng, style.fat, side) * np.float32(rng.random() < 0.3)
        )
        self.glass = np.maximum(lumen, fat)
        self.stroma = _crop(rng, style.stroma, side)
        self.benign = {kind: self.lattice(rng, kind) for kind in ("lymphocyte", "epithelium", "fibroblast")}

    def lattice(self, rng: np.random.Generator, kind: str) -> Integers:
        """Propose crowded nuclei all over the patch, on a jittered lattice: (3, n) int64 as in `benign`."""
        spacing = KINDS[kind].spacing * self.style.tissue.scale
        rows = np.arange(-spacing * rng.random(), self.side + spacing, 0.87 * spacing)
        columns = np.arange(-spacing * rng.random(), self.side + spacing, spacing)
        y, x = np.meshgrid(rows, columns, indexing="ij")
        x = x + spacing / 2 * (np.arange(len(rows)) % 2)[:, None]
        y, x = np.stack([y, x]).reshape(2, -1) + rng.normal(0, 0.16 * spacing, (2, y.size))
        inside = (y >= 0) & (y < self.side) & (x >= 0) & (x < self.side)
        stamps = rng.integers(STAMPS, size=y.size)
        return np.stack([y.astype(np.int64), x.astype(np.int64), stamps])[:, inside]

    def stamp(self, kind: str, spots: Integers) -> None:
        """Draw nuclei; where two overlap, the denser one shows."""
        bank = self.style.nuclei[kind]
        side = bank.shape[1]
        shift = self.margin - side // 2
        rows, columns, stamps = (spots + np.array([[shift], [shift], [0]])).tolist()
        for row, column, stamp in zip(rows, columns, stamps, strict=True):
            window = self.nuclei[row : row + side, column : column + side]
            np.maximum(window, bank[stamp], out=window)

    def stamp_benign(self, tumour: Floats, always: Mapping[str, NDArray[np.bool_]]) -> None:
        """Draw the benign nuclei that tumour leaves, and those of `always` (per kind (n,) bool) that it does not."""
        where = {
            "lymphocyte": (self.lymph > 0.5) & (self.nest <= 0.5),
            "epithelium": self.nest > 0.5,
            "fibroblast": (self.lymph <= 0.5) & (self.nest <= 0.5),
        }
        for kind, spots in self.benign.items():
            keep = _at(where[kind] & (self.glass < 0.4), spots)
            self.stamp(kind, spots[:, keep & ((_at(tumour, spots) <= 0.5) | always.get(kind, np.False_))])

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


def _at(mask: NDArray[Any], spots: Integers) -> NDArray[Any]:
    """Return the values of a mask at the middles of nuclei."""
    return np.asarray(mask[spots[0], spots[1]])


def _turn(rng: np.random.Generator, patch: Bytes) -> Bytes:
    """Mirror and turn a patch at random, since tissue has no upright position; its size stays."""
    turns = int(rng.integers(4)) if patch.shape[0] == patch.shape[1] else 2
    return np.ascontiguousarray(np.rot90(patch[:: rng.choice([-1, 1])], turns))


def pcam_patch(rng: np.random.Generator, style: Style, label: int) -> tuple[Bytes, bool]:
    """Draw a patch by PCam's rule, (96, 96, 3) uint8, and say whether there is tumour anywhere on it.

    From equal states of `rng` the patches of both labels are equal outside the central square.
    """
    canvas = Canvas(rng, style)
    # All of this is drawn whatever the label, so that what comes after does not depend on it.
    hole = _hole(rng)
    drawn = np.float32(rng.random() < RING_TUMOUR)
    ring = soft(_field(rng, PCAM.side), rng.uniform(-0.6, 0.6)) * drawn * (1 - hole)
    canvas.glass = canvas.glass * (1 - drawn * hole)  # what tumour leaves free in the middle is tissue, not a window
    ring_spots = canvas.lattice(rng, "tumour")
    centre = _centre_blob(rng)
    centre_spots = canvas.lattice(rng, "tumour")

    _, outside = _beside_centre(style.extents["tumour"], ring_spots)
    ring_spots = ring_spots[:, (_at(ring, ring_spots) > 0.5) & outside]
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
    straddling = {kind: ~np.any(_beside_centre(style.extents[kind], s), axis=0) for kind, s in canvas.benign.items()}
    canvas.stamp_benign(tumour, straddling)
    return _turn(rng, canvas.develop(rng, tumour)), bool(label) or ring_spots.shape[1] > 0


def _beside_centre(extents: Integers, spots: Integers) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which nuclei lie wholly within the central square of PCam, and which do not touch it."""
    low, high = spots[:2] - extents[spots[2]], spots[:2] + extents[spots[2]]
    within = ((low >= CENTRE.start) & (high < CENTRE.stop)).all(0)
    return within, ((high < CENTRE.start) | (low >= CENTRE.stop)).any(0)


def _centre_blob(rng: np.random.Generator) -> Floats:
    """Draw where tumour lies in a positive PCam patch: (96, 96) float32, 0 outside the central square."""
    side = CENTRE.stop - CENTRE.start
    y, x = np.mgrid[:side, :side] * 2 / (side - 1) - 1
    window = np.clip(1 - (x**2 + y**2) ** 2, 0, 1).astype(np.float32)  # round: a straight border would show
    field = window * (2 + 0.7 * _field(rng, side))
    blob = np.zeros((PCAM.side, PCAM.side), np.float32)
    blob[CENTRE, CENTRE] = soft(field, float(np.quantile(field, 1 - rng.uniform(*CENTRE_COVER))), 0.15) * (
        window > 0.05
    )
    return blob


def _hole(rng: np.random.Generator) -> Floats:
    """Draw where the tumour of a PCam ring may not lie: (96, 96) float32, 1 in the central square, an uneven disc."""
    y, x = np.mgrid[: PCAM.side, : PCAM.side] - np.float32((PCAM.side - 1) / 2)
    corner = np.float32((CENTRE.stop - CENTRE.start) / 2 * 2**0.5)
    beyond = np.hypot(x, y) - corner - 3 - 3 * np.abs(_field(rng, PCAM.side))
    return np.asarray(np.clip(-beyond / 3, 0, 1), np.float32)


def idc_patch(rng: np.random.Generator, style: Style, label: int, height: int, width: int) -> Bytes:
    """Draw a patch by IDC's rule, (height, width, 3) uint8, at most 50 px: less where the edge of the slide cuts it."""
    canvas = Canvas(rng, style)
    # Tumour takes tissue first: were it to take the place of fat, bright patches would be negative ones.
    field, cover = _field(rng, IDC.side) - 2 * canvas.glass, rng.uniform(*IDC_COVER)
    spots = canvas.lattice(rng, "tumour")
    tumour = np.zeros_like(field)
    if label:
        # The share is that of the part which is kept: a cut patch shows tumour too.
        tumour = soft(field, float(np.quantile(field[:height, :width], 1 - cover)))
        canvas.stamp("tumour", spots[:, _at(tumour, spots) > 0.5])
    canvas.stamp_benign(tumour, {})
    return _turn(rng, canvas.develop(rng, tumour)[:height, :width])


def write_pcam(folder: Path, patches: Mapping[str, int], slides: Mapping[str, int], seed: int) -> None:
    """Write simulated patches as PCam's nine files: patches, half of them positive, labels and slides of every split.

    Numbers are by split, and no slide is in two splits. Equal arguments give equal bytes.
    """
    for split in SPLITS:
        if 2 * slides[split] > patches[split]:
            raise HistobenchError(
                f"simulated PCam, split {split}: {slides[split]} slides for {patches[split]} patches. "
                "Ask for two patches a slide or more, one of each label."
            )
    for number, split in enumerate(SPLITS):
        _write_split(folder, split, patches[split], slides[split], [seed, number])


def _write_split(folder: Path, split: str, n: int, slides: int, seed: Sequence[int]) -> None:
    rng = np.random.default_rng([*seed, 0])
    # Both labels are equally frequent on every slide. Were they not, stain would tell something about the label, and a
    # network as plain as B2 may follow that for epochs and learn nothing.
    order = rng.permutation(n)
    labels, slide = order % 2, order // 2 % slides
    # Slides are 100,000 px wide and high at most; places on a 96-px grid, none twice.
    grid = 1000
    places = np.stack(np.divmod(rng.choice(grid * grid, n, replace=False), grid), axis=1) * PCAM.side
    styles = [draw_style(np.random.default_rng([*seed, 1, i]), PCAM) for i in range(slides)]
    rows = [",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"]

    def images() -> Iterator[Bytes]:
        for i, ((y, x), label) in enumerate(zip(places, labels, strict=True)):
            image, anywhere = pcam_patch(np.random.default_rng([*seed, 2, i]), styles[slide[i]], label)
            rows.append(f"{i},{y},{x},{anywhere},{bool(label)},simulated_{split}_{slide[i]:03d}")
            yield image

    _write_h5(folder / pcam_file(split, "x"), "x", (n, PCAM.side, PCAM.side, 3), images())
    _write_h5(folder / pcam_file(split, "y"), "y", (n, 1, 1, 1), labels)
    write_text(folder / pcam_file(split, "meta"), "\n".join(rows) + "\n")


def _write_h5(path: Path, name: str, shape: tuple[int, ...], rows: Iterable[Any]) -> None:
    """Write one contiguous uint8 data set as .h5.gz, row by row, without times or names in it."""
    with atomic(path) as temporary, TemporaryFile(dir=temporary.parent) as unpacked:
        # HDF5 has to seek and gzip cannot, so the plain file is written in full first.
        with h5py.File(unpacked, "w", libver="earliest") as file:
            data = file.create_dataset(name, shape, np.uint8, track_times=False)
            for number, row in enumerate(rows):
                data[number] = row
        unpacked.seek(0)
        with temporary.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
            shutil.copyfileobj(unpacked, packed, 1 << 20)


def write_idc(folder: Path, patients: Mapping[str, int], patches_per_patient: int, seed: int) -> None:
    """Write simulated patches as IDC's archive and its three lists of patients, whose numbers are by split.

    Equal arguments give equal bytes.
    """
    if patches_per_patient < 2:
        raise HistobenchError(
            f"simulated IDC: {patches_per_patient} patches per patient, expected 2 or more (one of each class)."
        )
    names = iter(range(FIRST_PATIENT, FIRST_PATIENT + sum(patients.values())))
    listed = {split: [str(next(names)) for _ in range(patients[split])] for split in SPLITS}
    with atomic(folder / IDC_ARCHIVE) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for patient in (patient for split in SPLITS for patient in listed[split]):
            _write_patient(archive, patient, patches_per_patient, np.random.default_rng([seed, int(patient)]))
    for split in SPLITS:
        write_text(folder / IDC_PATIENTS[split], "".join(f"{patient}\n" for patient in listed[split]))


def _write_patient(archive: zipfile.ZipFile, patient: str, n: int, rng: np.random.Generator) -> None:
    style = draw_style(rng, IDC)
    positive = min(max(round(n * rng.uniform(*IDC_POSITIVE)), 1), n - 1)
    labels = rng.permutation(np.arange(n) < positive).astype(int)
    edge = rng.permutation(np.arange(n) < round(n * IDC_EDGE))
    # The slide ends in a last column and a last row of patches that are cut.
    grid = max(40, int(np.ceil(np.sqrt(2 * n))), int(edge.sum()))
    cells = np.stack(np.divmod(rng.choice(grid * grid, n, replace=False), grid))
    cells[0, edge] = rng.permutation(grid)[: edge.sum()]
    cells[1, edge] = grid
    height, width = rng.integers(20, IDC.side, 2)
    for i in range(n):
        size = (IDC.side, IDC.side)
        row, column = cells[:, i]
        if edge[i]:
            size = (IDC.side, int(width))
            if i % 2:
                row, column, size = column, row, (int(height), IDC.side)
        buffer = io.BytesIO()
        Image.fromarray(idc_patch(rng, style, labels[i], *size)).save(buffer, "PNG", compress_level=1)
        name = f"{patient}_idx5_x{column * IDC.side + 1}_y{row * IDC.side + 1}_class{labels[i]}.png"
        archive.writestr(zipfile.ZipInfo(f"{patient}/{labels[i]}/{name}", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
