"""The page of a study: its tables, figures and facts in one file that needs no other."""

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
"""Figures are drawn for paper; on a screen, at a larger distance, their 7 points would be too small."""

PIXELS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "in": 96.0, "mm": 96 / 25.4, "cm": 96 / 2.54}
"""CSS pixels per unit of length in SVG files."""


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes
    ----------
    name : stem of its files, in `figures/` beside the page.
    title : its heading.
    caption : printed below it, may be "".
    svg : its SVG file, which is copied into the page.
    narrow : another SVG file, which is shown instead in narrow windows, as on a phone.
    """

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    svg: Path
    narrow: Path | None = None


@dataclass(frozen=True)
class Section:
    """Tables and figures under one heading, after one or two sentences of introduction (`text`, may be "")."""

    title: str
    text: str
    items: list[printing.Printed | Figure]


@dataclass(frozen=True)
class Facts:
    """A list of names and values, such as versions or devices. Names may be ""."""

    title: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Image:
    """An image of the page: its data URL, and width and height in CSS pixels."""

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
    """Write the page of a study; equal inputs give equal bytes.

    Parameters
    ----------
    path : the file, beside the folders `tables` and `figures` of the files that it links to.
    title : of the page.
    lead : a sentence on what was compared, may be "".
    announcements : notes above all numbers, see `announcements.announcements`: "keyword: sentence".
    sections : in order; the first one belongs to the first screen and has a smaller heading.
    facts : printed after the sections.
    configuration : of the study, as YAML.

    Raises
    ------
    HistobenchError
        If the file of a figure is missing or not an SVG.
    """
    environment = printing.environment()
    environment.filters["image"] = _image
    texts = {"title": title, "lead": lead, "configuration": configuration}
    lists = {"announcements": list(announcements), "sections": list(sections), "facts": list(facts)}
    page = environment.get_template("report.html.j2").render(**texts, **lists)
    write_text(path, page)


def _image(svg: Path) -> Image:
    """Return a figure's file as an image; as inline SVG, the ids of two figures could clash."""
    try:
        content = svg.read_bytes()
    except FileNotFoundError as error:
        raise HistobenchError(f"report: no {svg}; expected the SVG file of a figure. Draw the figure again.") from error
    try:
        _, root = next(ET.iterparse(io.BytesIO(content), events=["start"]))
        width, height = (_pixels(root.attrib[side]) * ENLARGED for side in ("width", "height"))
    except (ET.ParseError, KeyError, ValueError) as error:
        raise HistobenchError(
            f"report: {svg} is not an SVG file with a width and a height ({error}). Draw the figure again."
        ) from error
    source = f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}"
    return Image(source, round(width), round(height))


def _pixels(length: str) -> float:
    """Return a length such as "518.4pt" in CSS pixels."""
    number = length.rstrip("abcdefghijklmnopqrstuvwxyz%")
    unit = length[len(number) :]
    if unit not in PIXELS:
        raise ValueError(f"unknown unit of length: {length}")
    return float(number) * PIXELS[unit]
