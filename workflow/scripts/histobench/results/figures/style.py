"""Common style of the figures: sizes, colours, panels, labels of points, and saving.

Figures are drawn without `pyplot`, so that they depend neither on a screen nor on what was drawn before.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
import textalloc
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from histobench.core.files import atomic
from histobench.results.bootstrap import Floats
from histobench.results.modes import MODES

# Inches, on a page of two columns.
SINGLE, ONE_AND_A_HALF, DOUBLE = 3.5, 5.2, 7.2

PHONE = 2.8
"""Inches: the text of such a figure is still legible at a width of 360 CSS pixels."""

DPI = 300

SMALL = 6.0
"""Font size, in points, of labels of points and of notes."""

COLOURS = {"orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "blue": "#0072B2", "vermillion": "#D55E00"}
COLOURS |= {"purple": "#CC79A7", "black": "#000000", "grey": "#767676"}
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, BLACK, GREY = COLOURS.values()
"""Colours that colour-blind readers can distinguish (Okabe & Ito 2008, Color Universal Design,
https://jfly.uni-koeln.de/color/), without their yellow, which is too faint for lines on white, and a grey.
"""

REFERENCE: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "linestyle": (0, (1, 2)), "zorder": 1}
"""Look of lines such as that of chance."""

LINE_COLOURS = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK]
LINE_STYLES = ["-", "--", "-.", ":"]

ORIGINS = {"ours": "this study", "published": "published"}
"""Origins of points, and their names in legends."""

_parameters = (
    # The font comes with matplotlib. In SVG files text becomes paths, since another machine may lack the font.
    {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 7, "svg.fonttype": "path"}
    | {"axes.titlesize": 7.5, "axes.labelsize": 7, "axes.linewidth": 0.6, "axes.axisbelow": True}
    | {"axes.spines.top": False, "axes.spines.right": False}
    | {"axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.5}
    | {f"{axis}tick.{name}": value for axis in "xy" for name, value in (("labelsize", 6.5), ("major.width", 0.6))}
    | {f"{axis}tick.major.size": 2.5 for axis in "xy"}
    | {"xtick.minor.width": 0.4, "xtick.minor.size": 1.5}
    | {"legend.fontsize": 6.5, "legend.frameon": False, "lines.linewidth": 1.0}
    | {"svg.hashsalt": "histobench", "savefig.facecolor": "white"}
)
# Starting from the defaults, not from the user's matplotlibrc, so that equal tables give equal figures.
styled = matplotlib.style.context(["default", _parameters])
"""Decorator of every function that draws or saves."""


def new(width: float, height: float, rows: int = 1, columns: int = 1, **subplots: Any) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its (rows, columns) axes.

    Parameters
    ----------
    width, height : inches.
    subplots : further arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    return figure, axes


@styled
def save(figure: Figure, stem: Path, notes: Sequence[str], suffixes: Sequence[str] = ("svg", "png")) -> None:
    """Write a figure as `stem`.svg and `stem`.png, atomically; equal figures give equal bytes.

    Parameters
    ----------
    figure : drawn by a function of this package. It can be saved only once, since the notes are added to it.
    stem : folder and file name without suffix.
    notes : printed below the figure, which grows by their height, and stored in the metadata of the files.
    suffixes : of the files to write.
    """
    if notes:
        _print_below(figure, notes)
    description = {"Description": " ".join(notes)} if notes else {}
    for suffix in suffixes:
        metadata = description | ({"Date": None} if suffix == "svg" else {})
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
            # In an SVG file, the resolution is that of the images in it.
            figure.savefig(temporary, dpi=DPI, format=suffix, metadata=metadata)


def _print_below(figure: Figure, notes: Sequence[str]) -> None:
    """Print notes below a figure, which is enlarged for them."""
    width, height = figure.get_size_inches()
    margin = 0.08  # inches
    # Characters of DejaVu Sans Bold are about 0.66 em wide on average.
    columns = int((width - 2 * margin) * 72 / (0.66 * SMALL))
    lines = [line for note in notes for line in textwrap.wrap(note, columns)]
    room = len(lines) * 1.3 * SMALL / 72 + 2 * margin
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, room / (height + room), 1, height / (height + room)))
    look: dict[str, Any] = {"size": SMALL, "weight": "bold", "linespacing": 1.1, "va": "bottom", "in_layout": False}
    figure.text(margin / width, margin / (height + room), "\n".join(lines), gid="notes", **look)


def multiples(
    count: int, width: float, height: float, rows: int, columns: int, x: str = "", y: str = "", **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure as :func:`new` does, and the axes of its first `count` panels; the others are removed.

    `x` is written below the lowest panel of each column, `y` beside the first panel of each row.
    """
    figure, panels = new(width, height, rows, columns, **subplots)
    for axes in panels.flat[count:]:
        axes.remove()
    for axes in panels.flat[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(x)
    for axes in panels[:, 0]:
        axes.set_ylabel(y)
    return figure, list(panels.flat[:count])


def bands(axes: Axes, rows: Sequence[str], title: str) -> None:
    """Label the rows of a panel, the first one on top, and shade every other one; row i lies at len(rows) - 1 - i."""
    axes.set(title=title, ylim=(-0.6, max(len(rows), 1) - 0.4))
    axes.set_yticks(range(len(rows) - 1, -1, -1), rows)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for height in range(0, len(rows), 2):
        axes.axhspan(height - 0.5, height + 0.5, color="#F5F5F5", zorder=0, linewidth=0)


@styled
def nothing(why: str) -> Figure:
    """Return a figure of a sentence, which says why there is nothing to draw."""
    lines = textwrap.wrap(why, 95)  # of these, the figure's width has room for some 105
    figure, panels = new(ONE_AND_A_HALF, 0.35 + 0.15 * len(lines))
    panels[0, 0].set_axis_off()
    panels[0, 0].text(0, 0.5, "\n".join(lines), ha="left", va="center", transform=panels[0, 0].transAxes)
    return figure


def blank(axes: Axes) -> None:
    """Prepare a square panel for an image."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_box_aspect(1)


def remark(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], va: str) -> None:
    """Write a remark on a reference line beside a point of it; `offset` is in points."""
    look: dict[str, Any] = {"color": GREY, "fontsize": SMALL, "va": va}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **look)


def panel_title(axes: Axes, label: str, columns: int) -> None:
    """Set the title of one of the small multiples; a long label is broken after its first comma."""
    width = 28 if columns <= 4 else 24
    text = label.replace(", ", ",\n", 1) if len(label) > width else label
    axes.set_title(text, fontsize=7 if columns <= 4 else SMALL)


def log_ticks(axis: Axis, low: float, high: float, *, dense: float, whole: bool = False) -> None:
    """Write the ticks of a logarithmic axis as plain numbers: 1, 10, 100.

    Parameters
    ----------
    low, high : the range of the values.
    dense : where it spans a factor below this one, ticks are 1, 2, 5, 10; below five they are evenly spaced, as on a
        linear axis.
    whole : whether the values are counts, so that in such a narrow range ticks are whole numbers.
    """
    if high / low < 5:
        locator: ticker.Locator = ticker.MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1)
    else:
        locator = ticker.LogLocator(subs=(1, 2, 5) if high / low < dense else (1,))
    axis.set_major_locator(locator)
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(ticker.NullLocator())


def line(number: int) -> dict[str, Any]:
    """Return colour and style of a curve; there are 28 different pairs, and neighbours differ in both."""
    return {"color": LINE_COLOURS[number % len(LINE_COLOURS)], "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}


def points(
    axes: Axes, x: ArrayLike, y: ArrayLike, *, filled: bool, label: str, colour: str = BLUE, marker: str = "o"
) -> None:
    """Draw points, filled for our values and hollow for published ones."""
    look: dict[str, Any] = {"facecolors": colour if filled else "white", "edgecolors": colour, "linewidths": 0.8}
    axes.scatter(x, y, s=15, marker=marker, zorder=3, label=label, **look)


def key(label: str, *, filled: bool, colour: str = BLUE, marker: str = "o") -> Line2D:
    """Return the legend entry of :func:`points`."""
    face = colour if filled else "white"
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=4, color=colour, markerfacecolor=face, mew=0.8, label=label
    )


def mode_style(mode: str) -> dict[str, str]:
    """Return colour and marker of a mode, the same in every figure."""
    return {"colour": COLOURS[MODES[mode].colour], "marker": MODES[mode].marker}


def origin_keys(frame: pd.DataFrame, *, intervals: bool = False, colour: str = BLUE) -> list[Line2D]:
    """Return the legend entries of the origins in a frame; `intervals`: whether ours are drawn with intervals."""
    names = ORIGINS | ({"ours": f"{ORIGINS['ours']}, 95 % interval"} if intervals else {})
    there = [origin for origin in names if (frame["origin"] == origin).any()]
    return [key(names[origin], filled=origin == "ours", colour=colour) for origin in there]


def label_points(
    axes: Axes,
    positions: Floats,
    names: Sequence[str],
    avoid: Floats,
    upright: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Write names beside points, with leader lines and without overlaps. Axes and limits must be final.

    Parameters
    ----------
    positions : (n, 2) in data coordinates.
    names : n of them.
    avoid : (m, 2) further points to avoid, in data coordinates.
    upright : x, low and high of vertical lines to avoid, in data coordinates.
    """
    if not len(names):
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    # Names are placed one after the other, preferably to the upper right, so the rightmost point goes first.
    order = np.lexsort((positions[:, 1], -positions[:, 0]))
    lines = [([x, x], [low, high]) for x, low, high in upright if low < high]
    marks = np.concatenate([positions, avoid])
    avoided: dict[str, Any] = {"x_scatter": marks[:, 0], "y_scatter": marks[:, 1]}
    avoided |= {"x_lines": [x for x, _ in lines] or None, "y_lines": [y for _, y in lines] or None}
    look = {"textsize": SMALL, "linecolor": GREY, "linewidth": 0.4}
    labels = [names[place] for place in order]
    _, _, texts, leaders = textalloc.allocate(axes, *positions[order].T, labels, **avoided, **look)
    # The names must not change the final layout. Where there was no room a name lies on its point, without a line.
    for artist in filter(None, (*texts, *leaders)):
        artist.set_in_layout(False)
