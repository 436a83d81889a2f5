"""Example patches: Figures 1 and 2 of Bonnet 2024 (arXiv:2108.13661)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histobench.core.formats import FORMATS
from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.inputs import Inputs

PER_ROW = 6


@style.styled
def examples(images: npt.NDArray[np.uint8], labels: npt.NDArray[Any], centre: int = 0) -> Figure:
    """Draw patches of both classes, positive ones above negative ones.

    Parameters
    ----------
    images : (n, side, side, 3) uint8; of each class the first six are drawn.
    labels : (n,) 0 or 1.
    centre : side in pixels of the central square that determines the label, which is outlined; 0 if the whole patch
        does. See :class:`histobench.core.formats.Format`.
    """
    rows = {"positive": images[labels == 1][:PER_ROW], "negative": images[labels == 0][:PER_ROW]}
    columns = max(1, *(len(chosen) for chosen in rows.values()))
    side = (style.DOUBLE - 0.25) / PER_ROW
    figure, panels = style.new(0.25 + side * columns, side * 2, 2, columns)
    for row, (name, chosen) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for column, axes in enumerate(row):
            style.blank(axes)
            if column >= len(chosen):
                continue
            image = chosen[column]
            axes.imshow(image, interpolation="nearest")
            if centre:
                # The centres of pixels are at whole numbers.
                corner = (image.shape[0] - centre) / 2 - 0.5
                for colour, width in (("white", 1.6), ("black", 0.7)):
                    axes.add_patch(
                        Rectangle((corner, corner), centre, centre, fill=False, edgecolor=colour, linewidth=width)
                    )
    return figure


def examples_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    test = inputs.test_patches
    chosen = figure_data.example_positions(test.labels, PER_ROW)
    centre = FORMATS[inputs.manifest["format"]].centre
    return examples(test.take(chosen), test.labels[chosen], centre), []
