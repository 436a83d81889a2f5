"""What the figures have in common: sizes, colours, saving, and labels beside points.

Figures are drawn with matplotlib's objects alone, without `pyplot`, so nothing depends on a screen or on what was drawn
before.
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
from histobench.results.modes import MODES

Floats = NDArray[np.float64]

# Inches, on a page of two columns.
SINGLE, ONE_AND_A_HALF, DOUBLE = 3.5, 5.2, 7.2

PHONE = 2.8
"""Inches: on 360 CSS pixels the text of such a figure is still as large as small print."""

DPI = 300

SMALL = 6.0
"""Font size in points of names beside points and of notes."""

COLOURS = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "black": "#000000",
    "grey": "#767676",
}
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, BLACK, GREY = COLOURS.values()
"""Colours that the colour-blind tell apart (Okabe & Ito 2008, Color Universal Design,
https://jfly.uni-koeln.de/color/), without their yellow, which is too faint for lines on white; and a grey.
"""

LINE_COLOURS = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK]
LINE_STYLES = ["-", "--", "-.", ":"]

# Origins of a figure's points, and what their legend says.
ORIGINS = {"ours": "this study", "published": "published"}

styled = matplotlib.style.context(
    [
        "default",  # not what the user's matplotlibrc says: equal tables give equal figures
        {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
            "font.size": 7,
            "axes.titlesize": 7.5,
            "axes.labelsize": 7,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.5,
            "xtick.labelsize": 6.5,
            "ytick.labelsize": 6.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.minor.width": 0.4,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.minor.size": 1.5,
            "legend.fontsize": 6.5,
            "legend.frameon": False,
            "lines.linewidth": 1.0,
            "svg.fonttype": "path",  # another machine may lack the font, and its text would not fit
            "svg.hashsalt": "histobench",
            "savefig.facecolor": "white",
        },
    ]
)
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
def save(figure: Figure, stem: Path, notes: Sequence[str]) -> None:
    """Write a figure as `stem`.svg and `stem`.png, atomically; equal figures give equal bytes.

    Parameters
    ----------
    figure : drawn by a function of this package. Notes are added to it, so it is saved once.
    stem : folder and file name without suffix.
    notes : what a reader must know of every figure ("Simulated patches"), printed below it and kept in both files'
        metadata. The figure grows by their height.
    """
    if notes:
        _print_below(figure, notes)
    description = {"Description": " ".join(notes)} if notes else {}
    for suffix, metadata in (("svg", {"Date": None} | description), ("png", description)):
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
            # The resolution of the SVG is that of the images in it.
            figure.savefig(temporary, dpi=DPI, format=suffix, metadata=metadata)


def _print_below(figure: Figure, notes: Sequence[str]) -> None:
    """Print notes below a figure, in room added for them."""
    width, height = figure.get_size_inches()
    margin = 0.08  # inches
    # DejaVu Sans is some 0.6 em wide on average; bold some 0.66.
    columns = int((width - 2 * margin) * 72 / (0.66 * SMALL))
    lines = [line for note in notes for line in textwrap.wrap(note, columns)]
    room = len(lines) * 1.3 * SMALL / 72 + 2 * margin
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, room / (height + room), 1, height / (height + room)))
    figure.text(
        margin / width,
        margin / (height + room),
        "\n".join(lines),
        size=SMALL,
        weight="bold",
        linespacing=1.1,
        va="bottom",
        in_layout=False,
        gid="notes",
    )


def grid(panels: int) -> tuple[int, int]:
    """Return rows and columns of small multiples."""
    panels = max(panels, 1)
    columns = panels if panels <= 4 else 4 if panels <= 8 else 5
    return -(-panels // columns), columns


def panel_title(axes: Axes, label: str, columns: int) -> None:
    """Head one of the small multiples; a long label breaks after its first comma."""
    width = 28 if columns <= 4 else 24
    text = label.replace(", ", ",\n", 1) if len(label) > width else label
    axes.set_title(text, fontsize=7 if columns <= 4 else SMALL)


def log_ticks(axis: Axis, *, dense: bool) -> None:
    """Write the ticks of a logarithmic axis as plain numbers: 1, 10, 100, or where `dense`, 1, 2, 5, 10."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if dense else (1,)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(ticker.NullLocator())


def line(number: int) -> dict[str, Any]:
    """Return colour and style of a curve: both differ from its neighbours', the pair from that of the other 27."""
    return {
        "color": LINE_COLOURS[number % len(LINE_COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
    }


def points(
    axes: Axes, x: ArrayLike, y: ArrayLike, *, filled: bool, label: str, colour: str = BLUE, marker: str = "o"
) -> None:
    """Draw points: filled ones are ours, hollow ones published."""
    axes.scatter(
        x,
        y,
        s=15,
        marker=marker,
        facecolors=colour if filled else "white",
        edgecolors=colour,
        linewidths=0.8,
        zorder=3,
        label=label,
    )


def key(label: str, *, filled: bool, colour: str = BLUE, marker: str = "o") -> Line2D:
    """Return a legend's entry for `points`."""
    face = colour if filled else "white"
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=4, color=colour, markerfacecolor=face, mew=0.8, label=label
    )


def mode_style(mode: str) -> dict[str, str]:
    """Return colour and marker of a mode, the same in every figure."""
    return {"colour": COLOURS[MODES[mode].colour], "marker": MODES[mode].marker}


def origin_keys(frame: pd.DataFrame, *, intervals: bool = False, colour: str = BLUE) -> list[Line2D]:
    """Return the legend's entries for the origins in a frame; `intervals`: ours are drawn with theirs."""
    return [
        key(
            name + (", 95 % interval" if intervals and origin == "ours" else ""), filled=origin == "ours", colour=colour
        )
        for origin, name in ORIGINS.items()
        if (frame["origin"] == origin).any()
    ]


def label_points(
    axes: Axes,
    positions: Floats,
    names: Sequence[str],
    avoid: Floats,
    upright: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Write names beside points, with lines that lead to them, clear of each other. Axes and limits must be final.

    Parameters
    ----------
    positions : (n, 2) in data coordinates.
    names : n of them.
    avoid : (m, 2) further points to keep clear of, in data coordinates.
    upright : x, low and high of vertical lines to keep clear of, in data coordinates.
    """
    if not len(names):
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    # Names are placed in turn, first to the upper right: of two neighbours, the right one goes first.
    order = np.lexsort((positions[:, 1], -positions[:, 0]))
    lines = [([x, x], [low, high]) for x, low, high in upright if low < high]
    marks = np.concatenate([positions, avoid])
    _, _, texts, leaders = textalloc.allocate(
        axes,
        positions[order, 0],
        positions[order, 1],
        [names[place] for place in order],
        x_scatter=marks[:, 0],
        y_scatter=marks[:, 1],
        x_lines=[x for x, _ in lines] or None,
        y_lines=[y for _, y in lines] or None,
        textsize=SMALL,
        linecolor=GREY,
        linewidth=0.4,
    )
    # The layout is final, and names must not move it.
    for artist in (*texts, *leaders):
        artist.set_in_layout(False)
