"""The page of a study: its tables and figures, and what they come from, in one file that loads nothing else."""

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from histobench.core.errors import HistobenchError
from histobench.core.files import write_text
from histobench.results import printing

ENLARGED = 4 / 3
"""Figures are drawn for paper; on a screen, which is read from farther away, their 7 points are too small."""

PIXELS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "in": 96.0, "mm": 96 / 25.4, "cm": 96 / 2.54}
"""CSS pixels of the units in which an SVG may say its size."""


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes
    ----------
    name : stem of its files, in `figures/` beside the page.
    title : its heading.
    caption : what stands below it, may be "".
    svg : its SVG file; the page holds a copy.
    narrow : another SVG file, which the page shows instead where the window is narrow, as on a phone.
    """

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    svg: Path
    narrow: Path | None = None


@dataclass(frozen=True)
class Section:
    """Tables and figures under one heading, after a sentence or two of introduction (`text`, may be "")."""

    title: str
    text: str
    items: list[printing.Printed | Figure]


@dataclass(frozen=True)
class Facts:
    """A list of what is called how: versions, devices, what was left out. A row may have no name ("")."""

    title: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Image:
    """A picture as the page embeds it: address with the whole file inside, width and height in CSS pixels."""

    source: str
    width: int
    height: int


def write(
    path: Path,
    *,
    title: str,
    lead: str,
    announcements: Sequence[str],
    sections: Sequence[Section],
    facts: Sequence[Facts],
    configuration: str,
) -> None:
    """Write the page; equal inputs give equal bytes.

    Parameters
    ----------
    path : the file, beside the folders `tables` and `figures`, to which it links.
    title : of the page.
    lead : what was compared, on what: a sentence, may be "".
    announcements : what must stand above every number, as from `announcements.announcements`: "what: the rest".
    sections : in their order; the first one belongs to the first screen, and has a smaller heading. A table's CSV file
        lies in `tables`, a figure's files in `figures`.
    facts : what stands below the sections.
    configuration : of the study, as YAML.

    Raises
    ------
    HistobenchError
        if the file of a figure is missing or is no SVG.
    """
    environment = printing.environment()
    environment.filters["image"] = _image
    page = environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        announcements=list(announcements),
        sections=list(sections),
        facts=list(facts),
        configuration=configuration,
    )
    write_text(path, page)


def _image(svg: Path) -> Image:
    """Return a figure's file as an image: within one, the ids of two figures can't clash."""
    try:
        content = svg.read_bytes()
    except FileNotFoundError as error:
        raise HistobenchError(f"report: no {svg}; expected the SVG file of a figure. Draw the figure again.") from error
    try:
        _, root = next(ET.iterparse(io.BytesIO(content), events=["start"]))
        width, height = (_pixels(root.attrib[side]) * ENLARGED for side in ("width", "height"))
    except (ET.ParseError, KeyError, ValueError) as error:
        raise HistobenchError(
            f"report: {svg} is no SVG file that says its width and height ({error}). Draw the figure again."
        ) from error
    return Image(
        source=f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}",
        width=round(width),
        height=round(height),
    )


def _pixels(length: str) -> float:
    """Return a length such as "518.4pt" in CSS pixels."""
    number = length.rstrip("abcdefghijklmnopqrstuvwxyz%")
    unit = length[len(number) :]
    if unit not in PIXELS:
        raise ValueError(f"a length of {length}")
    return float(number) * PIXELS[unit]
