"""What an exported model's scores say of a slide, or of a folder of patches: a row, a map, tiles for QuPath.

The files are those of :mod:`histobench.scoring.score`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from histobench.core.decision import THRESHOLD
from histobench.core.files import atomic
from histobench.results.figures import style

# Share of the patches whose mean score stands for a slide.
HIGHEST = 0.01
# Without its palest fifth, which is hard to tell from glass and from what has no score.
COLOURS = LinearSegmentedColormap.from_list("scores", colormaps["YlOrRd"](np.linspace(0.2, 1, 256)))
# The names under which QuPath shows them.
MEASUREMENT, CLASS = "Tumour probability", {"name": "Tumor", "color": [200, 0, 0]}


def threshold(about: Mapping[str, Any]) -> float:
    """Return the threshold of the model's decisions: that of its validation patches, if it has one."""
    found = about["model"]["threshold"]
    return THRESHOLD if found is None else float(found)


def summary(name: str, scores: pd.DataFrame, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a slide, or of a folder of patches.

    Parameters
    ----------
    scores : a row per patch, with `score`.
    about : what was scored by what.

    Returns
    -------
    row : `name`; of a slide the `microns_per_pixel` of its level 0; `scored` patches, and how many were `left_out`;
        `above`, the share of scores above the threshold; `mean_score`; `highest`, the mean of the highest one per cent,
        of one score at least.
    """
    values = np.sort(scores["score"].to_numpy(np.float64))[::-1]
    left_out = about["without_tissue"] if "without_tissue" in about else sum(about["left_out"].values())
    scale = {"microns_per_pixel": about["slide_microns_per_pixel"]} if "slide" in about else {}
    return {
        "name": name,
        **scale,
        "scored": len(values),
        "left_out": left_out,
        "above": float((values > threshold(about)).mean()),
        "mean_score": float(values.mean()),
        "highest": float(values[: math.ceil(HIGHEST * len(values))].mean()),
    }


def grid(scores: pd.DataFrame, about: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the scores of a slide at their places, (rows, columns), NaN where there is none."""
    values = np.full((about["rows"], about["columns"]), np.nan)
    values[scores["row"], scores["column"]] = scores["score"]
    return values


def corners(scores: pd.DataFrame, about: Mapping[str, Any]) -> tuple[npt.NDArray[np.float64], float]:
    """Return where tiles lie that do not overlap, and their width: of overlapping patches the middle ones.

    Returns
    -------
    corners : (n, 2), x and y of their upper left corners in pixels of level 0.
    width : of a tile in the same pixels.
    """
    width = min(about["patch_width_in_level_0"], about["stride_in_level_0"])
    return scores[["x", "y"]].to_numpy(np.float64) + (about["patch_width_in_level_0"] - width) / 2, width


def write_geojson(path: Path, scores: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write the tiles of a slide as a GeoJSON feature collection that QuPath imports.

    As QuPath 0.4 and later write it: each feature is a "tile" with a measurement, its polygon in pixels of the slide at
    full resolution. Tiles above the threshold have QuPath's class "Tumor".
    """
    above, (places, width) = threshold(about), corners(scores, about)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, ((x, y), score) in enumerate(zip(places.tolist(), scores["score"].tolist(), strict=True)):
            right, bottom = x + width, y + width
            ring = [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]
            properties: dict[str, Any] = {"objectType": "tile", "measurements": {MEASUREMENT: score}}
            if score > above:
                properties["classification"] = CLASS
            feature = {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[round(a, 2), round(b, 2)] for a, b in ring]]},
                "properties": properties,
            }
            file.write((",\n" if number else "\n") + json.dumps(feature))
        file.write("\n]}\n")


@style.styled
def draw(name: str, scores: pd.DataFrame, about: Mapping[str, Any], overview: npt.NDArray[np.uint8]) -> Figure:
    """Return the map of a slide: as it was scanned, and with its scores.

    Parameters
    ----------
    overview : the slide, (height, width, 3) RGB.
    """
    width, height = about["width"], about["height"]
    beside = width < 1.6 * height
    rows, columns = (1, 2) if beside else (2, 1)
    side = (style.DOUBLE - 0.45) / columns  # the scale takes the rest
    figure, panels = style.new(style.DOUBLE, rows * (side * height / width + 0.27), rows, columns)
    left, right = panels.ravel()
    extent = (0.0, float(width), float(height), 0.0)
    left.imshow(overview, extent=extent, interpolation="lanczos")
    # Grey, and paler, so that colour is score alone.
    grey = 255 - (255 - overview @ np.array([0.299, 0.587, 0.114])) * 0.6
    right.imshow(grey, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
    # Each score in the middle of its patch.
    first = (about["patch_width_in_level_0"] - about["stride_in_level_0"]) / 2
    reach = (
        first,
        first + about["columns"] * about["stride_in_level_0"],
        first + about["rows"] * about["stride_in_level_0"],
        first,
    )
    drawn = right.imshow(
        np.ma.masked_invalid(grid(scores, about)),
        extent=reach, cmap=COLOURS, norm=Normalize(0, 1), alpha=0.75, interpolation="nearest",
    )  # fmt: skip
    for axes, title in ((left, name), (right, f"Probability of tumour, {about['model']['model_name']}")):
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], title=title)
        axes.title.set_parse_math(False)  # of a name with dollar signs
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set(visible=True, color="#CCCCCC")
    _scale_bar(left, width, height, about["slide_microns_per_pixel"])
    bar = figure.colorbar(drawn, ax=right, shrink=0.7, pad=0.02)
    bar.solids.set_alpha(1)  # type: ignore[union-attr]
    bar.ax.axhline(threshold(about), color=style.BLACK, linewidth=1)
    return figure


def _scale_bar(axes: Axes, width: float, height: float, microns: float) -> None:
    """Draw a bar of a round length, about a fifth of the slide."""
    wished = width * microns / 5
    unit = 10 ** math.floor(math.log10(wished))
    length = max(factor * unit for factor in (1, 2, 5) if factor * unit <= wished)
    start, below = 0.03 * width, 0.965 * height
    # To be seen on dark tissue, too.
    halo = [withStroke(linewidth=4, foreground="white", alpha=0.8)]
    axes.plot(
        [start, start + length / microns], [below, below],
        color=style.BLACK, linewidth=2, solid_capstyle="butt", path_effects=halo,
    )  # fmt: skip
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(start, below - 0.015 * height, text, size=style.SMALL, va="bottom", path_effects=halo)


NOT_FOR_DIAGNOSIS = "Not for diagnosis."


def notes(about: Mapping[str, Any]) -> list[str]:
    """Return what readers must know before they look at scores."""
    simulated = about["model"]["patches_are"] == "simulated"
    return [
        NOT_FOR_DIAGNOSIS,
        *(["The model learned from simulated patches, which are no tissue."] if simulated else []),
    ]


def write_map(folder: Path, name: str, target: Path) -> None:
    """Write the map of a slide as `target`, a PNG file, and its tiles beside it."""
    scores, about = read(folder)
    overview = matplotlib.image.imread(folder / "overview.jpg")
    figure = draw(name, scores, about, np.asarray(overview))
    style.save(figure, target.with_suffix(""), notes(about), ["png"])
    write_geojson(target.with_name("scores.geojson"), scores, about)


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the scores in a folder, and what was scored by what."""
    about: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return pd.read_parquet(folder / "scores.parquet"), about
