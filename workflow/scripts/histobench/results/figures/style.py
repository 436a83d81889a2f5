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
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from histobench.files import atomic

Floats = NDArray[np.float64]

# Inches, on a page of two columns.
SINGLE, ONE_AND_A_HALF, DOUBLE = 3.5, 5.2, 7.2

DPI = 300

SMALL = 6.0
"""Font size in points of names beside points and of notes."""

ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
BLACK, GREY = "#000000", "#767676"
"""Colours that the colour-blind tell apart (Okabe & Ito 2008, Color Universal Design,
https://jfly.uni-koeln.de/color/), without their yellow, which is too faint for lines on white; and a grey.
"""

# Colour and marker of a mode are the same in every figure.
MODE_NAMES = {"tl": "TL", "full": "full", "scratch": "scratch", "finetune": "fine-tuned"}
MODE_COLOURS = {"tl": ORANGE, "full": BLUE, "scratch": GREEN, "finetune": PURPLE}
MODE_MARKERS = {"tl": "s", "full": "o", "scratch": "^", "finetune": "D"}

LINE_COLOURS = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK]
LINE_STYLES = ["-", "--", "-.", ":"]

LABEL_DISTANCES = [3.0, 6.0, 10.0, 15.0, 21.0, 28.0, 36.0]
"""How far, in points, a name may stand from its point; from the third on a line leads to it."""

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
        *(margin / width, margin / (height + room), "\n".join(lines)),
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
        *(x, y),
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
    """Return colour and marker of a mode; those of an unknown mode are black crosses."""
    return {"colour": MODE_COLOURS.get(mode, BLACK), "marker": MODE_MARKERS.get(mode, "X")}


def label_points(
    axes: Axes,
    positions: Floats,
    names: Sequence[str],
    avoid: Floats,
    upright: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Write names beside points so that they overlap as little as they can. Axes and limits must be final.

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
    to_points = 72 / figure.dpi

    def placed(data: Floats) -> Floats:
        return np.asarray(axes.transData.transform(data)) * to_points

    texts = [axes.text(0, 0, name, transform=axes.transAxes, fontsize=SMALL) for name in names]
    # Capitals of DejaVu Sans are some 0.75 em high.
    sizes = np.array([[text.get_window_extent().width * to_points, 0.75 * SMALL] for text in texts])
    for text in texts:
        text.remove()

    centres = placed(np.concatenate([positions, avoid]))
    marks = [np.concatenate([centres - 3.5, centres + 3.5], axis=1)]
    if len(upright):
        lines = np.array(upright, dtype=np.float64)
        marks.append(np.concatenate([placed(lines[:, [0, 1]]) - 0.5, placed(lines[:, [0, 2]]) + 0.5], axis=1))
    frame = np.array(axes.get_window_extent().extents) * to_points
    corners, lead = _places(placed(positions), sizes, np.concatenate(marks), frame)
    for name, position, corner, far in zip(names, positions, corners, lead, strict=True):
        axes.annotate(
            name,
            tuple(position),
            xytext=tuple(corner),
            textcoords="offset points",
            fontsize=SMALL,
            va="baseline",
            in_layout=False,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
            if far
            else None,
        )


def _places(anchors: Floats, sizes: Floats, marks: Floats, frame: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where names stand best.

    Each name has places in 16 directions and several distances. Every name takes the best place while the others stand
    still, in turn until none moves: the discrete gradient descent of Christensen, Marks & Shieber 1995 (ACM Trans.
    Graph. 14:203), one name after the other. Equal points give equal places.

    Parameters
    ----------
    anchors, sizes : (n, 2) the points, and width and height of their names.
    marks : (m, 4) boxes to keep clear of.
    frame : (4,) box to stay in. All in points; boxes are left, bottom, right, top.

    Returns
    -------
    corners : (n, 2) the lower left corner of each name, from its point.
    lead : (n,) whether a line is to lead from the name to its point.
    """
    angles = np.arange(16) * np.pi / 8
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shifts = np.concatenate([directions * (distance + 2) for distance in LABEL_DISTANCES])
    far = np.repeat(np.array(LABEL_DISTANCES) >= LABEL_DISTANCES[2], len(angles))
    # The side or corner of the name that faces its point: 0 is left or below, 1 right or above.
    facing = (1 - np.tile(np.round(directions * 1.2).clip(-1, 1), (len(LABEL_DISTANCES), 1))) / 2
    # Near ones are best, and those at the right, left, above and below better than those aslant.
    taste = np.tile(np.array([0, 2, 1.5, 2, 1, 2, 1.5, 2, 0.5, 2, 1.5, 2, 1, 2, 1.5, 2]), len(LABEL_DISTANCES))
    corners = shifts - facing * sizes[:, None]
    lower = anchors[:, None] + corners
    boxes = np.concatenate([lower - 1, lower + sizes[:, None] + 1], axis=2)  # with a margin
    # Three small boxes stand for the line to the name.
    along = anchors[:, None, None] + shifts[:, None] * np.array([0.4, 0.6, 0.8])[:, None]
    leaders = np.concatenate([along - 0.5, along + 0.5], axis=3)

    fixed = np.empty(boxes.shape[:2])
    for number, (own, leader) in enumerate(zip(boxes, leaders, strict=True)):
        outside = (own[:, :2] < frame[:2]).sum(axis=1) + (own[:, 2:] > frame[2:]).sum(axis=1)
        crossed = _overlap(leader, marks).sum(axis=(1, 2)) * far
        fixed[number] = (
            0.4 * np.hypot(*shifts.T) + taste + 4 * _overlap(own, marks).sum(axis=1) + 8 * crossed + 100 * outside
        )

    # Who has most neighbours has least choice and goes first.
    neighbours = (np.abs(anchors[:, None] - anchors).max(axis=2) < 30).sum(axis=1)
    order = np.argsort(-neighbours, kind="stable")
    chosen = np.full(len(anchors), -1)
    for _ in range(10):
        before = chosen.copy()
        for number in order:
            cost = fixed[number].copy()
            for other in order:
                if other == number or chosen[other] < 0:
                    continue
                taken = boxes[other, chosen[other]]
                cost += 8 * _overlap(boxes[number], taken[None])[:, 0]
                cost += 20 * _overlap(leaders[number], taken[None]).sum(axis=(1, 2)) * far
                if far[chosen[other]]:
                    cost += 20 * _overlap(boxes[number], leaders[other, chosen[other]]).sum(axis=1)
            chosen[number] = np.argmin(cost)
        if (chosen == before).all():
            break
    return corners[np.arange(len(anchors)), chosen], far[chosen]


def _overlap(boxes: Floats, others: Floats) -> Floats:
    """Return the overlap of boxes (..., 4) with others (m, 4): (..., m), in their units squared."""
    low = np.maximum(boxes[..., None, :2], others[:, :2])
    high = np.minimum(boxes[..., None, 2:], others[:, 2:])
    area: Floats = np.prod(np.clip(high - low, 0, None), axis=-1)
    return area
