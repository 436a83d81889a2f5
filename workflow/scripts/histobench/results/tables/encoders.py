"""What is known of the encoders whose features others have computed: by the user's word, and by the files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core.catalogue import NOT_STATED
from histobench.core.files import read_sealed
from histobench.results.columns import ALL_ROWS, MODEL, MODEL_NAME, Column, Format, general, names, plain, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table


def _or_not_stated(print_it: Format) -> Format:
    """Return a format that says of a fact which the configuration leaves out that it is not stated."""
    return lambda value: NOT_STATED if pd.isna(value) or value == "" else print_it(value)


COLUMNS = [
    MODEL,
    MODEL_NAME,
    text("dataset", "Data set", once=ALL_ROWS),
    text("encoder", format=_or_not_stated(plain)),
    Column("patch_size", "Patch size it saw, px", _or_not_stated(plain)),
    Column("microns_per_pixel", "Micrometres per pixel", _or_not_stated(general)),
    text("licence", format=_or_not_stated(plain)),
    text("pretraining_overlap", "Pretrained on slides of the data set", format=_or_not_stated(plain)),
    text("format"),
    Column("features"),
    Column("files"),
    Column("rows_not_used", "Places without a patch"),
    text("said", "The files say"),
]

FIRST = ["model_name", "dataset", "encoder", "licence", "pretraining_overlap", "features"]

NOTES = [
    "Encoder, patch size, micrometres per pixel of the slides, licence and overlap are what the configuration states "
    "(models.<model>.embeddings); nobody has checked them.",
]


def encoders(stated: Mapping[str, Mapping[str, Any]], printed: Mapping[str, str], cells: pd.DataFrame,
             abouts: Iterable[Mapping[str, Any]]) -> pd.DataFrame:  # fmt: skip
    """Return a row for each model that is a table of embeddings, and each data set; subsets share that of the whole.

    Parameters
    ----------
    stated : by model, the fields of :class:`histobench.core.catalogue.Embeddings`.
    printed : from a model's key to its printed name.
    cells : as in `cells.csv`.
    abouts : the `run.json` of the runs on these features; without one nothing is known of what was imported.
    """
    whole = cells["subset_of"].where(cells["subset_of"] != "", cells["dataset"])
    stored = dict(zip(cells["dataset"], whole, strict=True))
    runs = ((about["specification"]["run"], about["features"]["embeddings"]) for about in abouts)
    found = {(stored[run["dataset"]], run["model"]): imported for run, imported in runs}
    asked = cells.assign(dataset=whole)[cells["model"].isin(list(stated)) & ~cells["left_out"].astype(bool)]
    rows = []
    for dataset, model in asked[["dataset", "model"]].drop_duplicates().itertuples(index=False, name=None):
        table, imported = stated[model], found.get((dataset, model), {})
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in imported.get("found", {}).items())
        facts = ("encoder", "patch_size", "microns_per_pixel", "licence", "pretraining_overlap", "format")
        counts = ("features", "files", "rows_not_used")
        rows.append(
            {"model": model, "model_name": printed[model], "dataset": dataset, "said": said}
            | {name: table[name] for name in facts}
            | {name: imported.get(name) for name in counts}
        )
    kinds = dict.fromkeys(("patch_size", "features", "files", "rows_not_used"), "Int64")
    return pd.DataFrame(rows, columns=names(COLUMNS)).astype(kinds | {"microns_per_pixel": "float64"})


def encoders_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    abouts = (read_sealed(Path(path)) for path in inputs.files["imported"])
    table = encoders(inputs.encoders, inputs.study["all_names"], inputs.cells, abouts)
    announced = inputs.announcements(inputs.cells[inputs.cells["model"].isin(list(inputs.encoders))])
    return Table("Features of others", table, COLUMNS, announced, NOTES, first=FIRST)
