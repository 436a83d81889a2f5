"""The page of a study: its tables, figures and facts in one file that needs no other."""

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from histobench.core.errors import HistobenchError
from histobench.core.files import write_text
from histobench.results import printing

# On a screen, at a larger distance than paper, 7 points would be too small, so figures are enlarged by a third.
PIXELS = 96 / 72 * 4 / 3
"""CSS pixels per point of a figure."""


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


def write(
    path: Path,
    *,
    title: str,
    lead: str,
    announcements: Sequence[str],
    sections: Sequence[Section],
    facts: Mapping[str, Sequence[tuple[str, str]]],
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
    facts : lists of names and values, such as versions or devices, by title; printed after the sections. Names may be
        "".
    configuration : of the study, as YAML.

    Raises
    ------
    HistobenchError
        If the file of a figure is missing or not an SVG.
    """
    environment = printing.environment()
    environment.filters["image"] = _image
    texts = {"title": title, "lead": lead, "configuration": configuration}
    lists = {"announcements": announcements, "sections": sections, "facts": facts}
    page = environment.get_template("report.html.j2").render(**texts, **lists)
    write_text(path, page)


def _image(svg: Path) -> dict[str, Any]:
    """Return the data URL of a figure's file, and its width and height in CSS pixels.

    As inline SVG, the ids of two figures could clash.
    """
    try:
        content = svg.read_bytes()
    except FileNotFoundError as error:
        raise HistobenchError(f"report: no {svg}; expected the SVG file of a figure. Draw the figure again.") from error
    try:
        _, root = next(ET.iterparse(io.BytesIO(content), events=["start"]))
        # As matplotlib writes them: "518.4pt".
        size = {side: round(float(root.attrib[side].removesuffix("pt")) * PIXELS) for side in ("width", "height")}
    except (ET.ParseError, KeyError, ValueError) as error:
        raise HistobenchError(
            f"report: {svg} is not an SVG file with a width and a height ({error}). Draw the figure again."
        ) from error
    return size | {"source": f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}"}
