"""The page and the table of what an exported model has scored: all slides of a block of `apply`, or its patches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from histobench.core import labels as labels_file
from histobench.core.files import write_text
from histobench.results import labelled_scores, printing, slide_scores
from histobench.results.columns import Column, text, write_csv
from histobench.results.labelled_scores import Labelled
from histobench.results.printing import Table

SUMMARY = [
    text("name", "Slide"),
    Column("microns_per_pixel", "µm per pixel"),
    Column("scored", "Patches with tissue"),
    Column("left_out", "Patches without"),
    Column("above", "Share above the threshold"),
    Column("highest", "Mean of the highest 1 %"),
    Column("mean_score", "Mean score"),
]
OF_PATCHES = [text("name", "Patches of"), Column("scored", "Scored"), Column("left_out"), *SUMMARY[4:]]
WORTH = [
    text("what", "Labelled"),
    Column("n", "Number"),
    Column("positives", "Of these tumour"),
    Column("auc", "AUC", interval=" (95\N{NO-BREAK SPACE}% interval)"),
    Column("sensitivity"),
    Column("specificity"),
    Column("balanced_accuracy"),
    Column("accuracy"),
    text("unit", "Resampled unit"),
]
WITHOUT_LABELS = "Nobody has said whether these scores are right."
WITH_LABELS = "Of what has no label nobody has said whether its score is right."
OF_SLIDES_NOTE = "The AUC of slides is that of the mean of their highest 1 %, for which the model has no threshold."


def write(page: Path, table: Path, *, title: str, folders: Mapping[str, Path], labels: Path | None) -> None:
    """Write the page and the table of scored slides, or patches.

    Parameters
    ----------
    page : HTML file; it shows the maps that lie below its folder.
    table : CSV file with a row per slide, see :func:`histobench.results.slide_scores.summary`.
    title : of the page.
    folders : with the scores of each slide, by name, or of the patches.
    labels : see :func:`histobench.results.labelled_scores.labelled`; None where nobody has labelled anything.

    Raises
    ------
    HistobenchError
        if the labels cannot be read or do not go with the scores.
    """
    found = {name: slide_scores.read(folder) for name, folder in folders.items()}
    abouts = [about for _, about in found.values()]
    rows = [slide_scores.summary(name, scores, about) for name, (scores, about) in found.items()]
    frame = pd.DataFrame(rows)
    of_slides = "slide" in abouts[0]
    tables = [_printed("scored", "Slides" if of_slides else "Patches", frame, SUMMARY if of_slides else OF_PATCHES)]
    told, missing = WITHOUT_LABELS, list[str]()
    if labels:
        known = labelled_scores.labelled(labels, {name: scores for name, (scores, _) in found.items()}, frame)
        threshold = slide_scores.threshold(abouts[0]) if known.what == "patches" else None
        worth = labelled_scores.worth(known, threshold)
        # Labels of slides say nothing of a patch.
        told = WITH_LABELS if threshold is None or len(known.found) < frame["scored"].sum() else ""
        missing = _unscored(known, of_slides)
        columns = [column for column in WORTH if column.name in worth]
        heading = "Against the labels" + ("" if threshold is None else f", decisions at {threshold:.4g}")
        footnotes = _footnotes(known, worth["unit"])
        tables.append(_printed("labelled", heading, pd.DataFrame([worth]), columns, footnotes))
    notes = [f"{slide_scores.NOT_FOR_DIAGNOSIS} {told}".strip(), *slide_scores.notes(abouts[0])[1:], *missing]
    html = (
        printing.environment()
        .get_template("scored.html.j2")
        .render(
            title=title,
            notes=notes,
            facts=_facts(abouts),
            tables=tables,
            maps=[_map(page.parent, name, folder) for name, folder in folders.items()] if of_slides else [],
        )
    )
    write_csv(table, frame)
    write_text(page, html)


def _footnotes(known: Labelled, unit: str) -> list[str]:
    if known.what == "slides":
        return [OF_SLIDES_NOTE]
    return ["Patches of one slide are alike, which an interval over patches ignores."] if unit == "patch" else []


def _unscored(known: Labelled, of_slides: bool) -> list[str]:
    """Return what readers must know of what was labelled and has no score."""
    if not len(known.unscored):
        return []
    if known.what == "slides":
        why = "No slide of such a name was scored."
    elif of_slides:
        why = "No patch was scored at such a place: it is none of the grid, or shows too little tissue."
    else:
        why = "No patch of such a name was scored."
    number = len(known.unscored)
    first = labels_file.in_words(known.unscored.iloc[0].to_dict(), known.unscored.columns[:-1])
    return [
        f"Without a score: {number:,} of {number + len(known.found):,} labelled {known.what}, "
        f"{int(known.unscored['label'].sum()):,} of them tumour. {why} The first is {first}."
    ]


def _printed(
    name: str, title: str, frame: pd.DataFrame, columns: Sequence[Column], footnotes: Sequence[str] = ()
) -> printing.Printed:
    bounds = [each for column in columns for each in column.names]
    return printing.printed(Table(title, frame.reindex(columns=bounds), columns, footnotes=footnotes), name)


def _map(folder: Path, name: str, of_slide: Path) -> dict[str, str]:
    below = of_slide.relative_to(folder)
    return {"name": name, "map": quote(str(below / "map.png")), "tiles": quote(str(below / "scores.geojson"))}


def _facts(abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what is told of the model and of the patches, by name."""
    model = abouts[0]["model"]
    scale = model["microns_per_pixel"]
    size = f"{model['patch_size']} x {model['patch_size']} px" + (f" of {scale:g} µm" if scale else "")
    if "slide" in abouts[0]:
        # In pixels of the model these are the same of all slides.
        stride = abouts[0]["stride_in_level_0"] / abouts[0]["patch_width_in_level_0"] * model["patch_size"]
        size += f", one every {stride:.4g} px"
    chosen = f"chosen on validation patches of {model['dataset']}"
    if model["threshold"] is None:
        chosen = "since the model has none of its own"
    facts = [
        ("Model", f"{model['model_name']}, run {model['run']} of the study {model['study']}"),
        ("Patches", size),
        ("Threshold", f"{slide_scores.threshold(abouts[0]):.4g}, {chosen}"),
        ("model.keras", f"sha256 {model['sha256']}"),
    ]
    if abouts[0]["d4"]:
        facts.insert(3, ("Score", "the mean over the eight flips and turns of a patch"))
    if left_out := {reason: number for about in abouts for reason, number in about.get("left_out", {}).items()}:
        facts.append(("Left out", "; ".join(f"{number:,} {reason}" for reason, number in left_out.items())))
    return facts
