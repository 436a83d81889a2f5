"""What a data set holds twice, and on both sides of its split."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from histobench.core.formats import FORMATS
from histobench.results import audit, duplicates
from histobench.results.columns import Column, hidden, names, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

PUBLISHED = "Published: distinct patches of the whole PCam; those of train are as many as Kaggle's copy of it has."

COLUMNS = [
    text("part"),
    text("beside", "Looked for in"),
    Column("patches"),
    Column("groups", "Slides or patients"),
    Column("shared_groups", "Shared slides or patients"),
    Column("group_patches", "Patches of these"),
    Column("copies", "Equal ones there"),
    Column("conflicts", "Equal ones of the other label"),
    Column("near", "Shown there in part"),
    Column("distinct", "Distinct pixel for pixel"),
    Column("published_distinct", "Published, distinct pixel for pixel", footnote=PUBLISHED),
    Column("distinct_turned", "Distinct, turned ones counted once"),
    Column("uniform", "Nearly uniform"),
    hidden("shared_names"),  # of the shared slides or patients, separated by semicolons
]

NOTES = [
    "Patches of a part that have a counterpart in a part, another one or their own. Equal: pixel for pixel, as stored, "
    "turned by quarters, or mirrored.",
    "Shown in part: another patch shows a part of it, shifted, turned or mirrored; the details of what both show "
    f"correlate by {duplicates.ALIKE:g} or more. Candidates are patches of one slide whose places overlap by "
    f"{duplicates.OVERLAP:.0%} of a patch or more, where places are known, and patches with a window that has nearly "
    "the same difference hash.",
    f"Nearly uniform: the deviation of green is below {duplicates.UNIFORM:g} of 256 levels. Such patches are compared "
    "for equality, and by their places, alone.",
    "duplicates.csv and near_duplicates.csv, beside the records, name the patches; the CSV file names shared slides or "
    "patients.",
]


def counted(about: Mapping[str, Any], manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Return the counts of an audit with the columns `COLUMNS`, a row for each part and for each two.

    Parameters
    ----------
    about : content of `audit.json`, see :func:`histobench.results.audit.write`.
    manifest : of the data set. Published counts stand beside those of the whole published data alone.
    """
    table = pd.DataFrame(about["counts"]).reindex(columns=names(COLUMNS))
    pairs = zip(table["part"], table["beside"], strict=True)
    table["shared_names"] = ["; ".join(about["shared_groups"].get(" ".join(pair), [])) for pair in pairs]
    whole = manifest["patches_are"] == "published" and isinstance(manifest["split"], str)
    published = FORMATS[manifest["format"]].distinct if whole else {}
    table["published_distinct"] = table["part"].where(table["part"] == table["beside"]).map(published)
    return table.astype({column.name: "Int64" for column in COLUMNS if not column.is_text})


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the table in two parts."""
    itself = table["part"] == table["beside"]
    parts = {"Within a part": table[itself].drop(columns="beside"), "Between parts": table[~itself]}
    return {title: part for title, part in parts.items() if len(part)}


def audit_table(inputs: Inputs) -> Table:
    """Return the table of the data set."""
    about, _, _ = audit.read(inputs.files["audit"])
    table = counted(about, inputs.manifest)
    notes = list(NOTES)
    if about["unlike"]:
        notes.append(
            f"{about['unlike']:,} pairs of patches overlap by their places, but do not show the same: these places are "
            "in other pixels than expected, or of another slide. They count for nothing here."
        )
    notes += [f"Not compared, since there are too many: {n:,} {what}." for what, n in about["skipped"].items()]
    return Table(
        f"What {inputs.dataset} holds twice", table, COLUMNS, inputs.announcements(), notes, grids=in_print(table)
    )
