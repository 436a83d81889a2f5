"""Table 1: the sizes that the paper prints, beside ours under each definition of depth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.results.columns import MODEL, MODEL_NAME, Column, read_csv, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

NOTES = [
    'Published values: Bonnet 2024, Table 1, which uses several definitions of depth; "Published depth is" names the '
    "one of ours that gives the published value.",
    "Published parameters are those of the ImageNet model with its top. Parameters as trained: with the study's "
    "head, at 96 px.",
    "Multiply-adds: millions for one patch, convolutions and dense layers only. Checkpoint: float32 weights in MB.",
]
COLUMNS = [
    MODEL,
    MODEL_NAME,
    Column("published_depth"),
    text("published_depth_is"),
    *map(Column, ("layers", "layers_with_weights", "layers_with_head")),
    # As a string with the one decimal that the paper prints.
    text("published_parameters_millions", "Published parameters, millions"),
    Column("parameters_with_top_millions", "Parameters with top, millions"),
    Column("parameters_as_trained_millions", "Parameters as trained at 96 px, millions"),
    Column("checkpoint_mb", "Checkpoint, MB"),
    Column("multiply_adds_96_px_millions", "Multiply-adds at 96 px, millions"),
    Column("multiply_adds_50_px_millions", "Multiply-adds at 50 px, millions"),
]
FIRST = [
    *("model_name", "published_depth", "layers", "layers_with_weights"),
    *("published_parameters_millions", "parameters_with_top_millions", "parameters_as_trained_millions"),
    "multiply_adds_96_px_millions",
]

DEFINITIONS = {
    "layers": "all layers",
    "layers_with_weights": "layers with weights",
    "layers_with_head": "backbone and head",
}
"""Definitions of depth, in the order in which a published depth is compared with them."""

SLIPS = {"efficientnetv2b2": "slip for 352, all layers", "vgg19": "backbone and head, unlike the other backbones"}
"""Published depths that are slips, or that follow a definition that the paper uses for no other model."""

COUNTED = (
    *DEFINITIONS,
    *("parameters_with_top", "parameters", "checkpoint_mb", "multiply_adds_96", "multiply_adds_50"),
)


def read(path: Path | None, published: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Read ``models.csv``, for the models of the study.

    Without the file, the frame has no counts but `layers`, from ``config/paper/table1.csv``.

    Parameters
    ----------
    path : the file, or None.
    published : the paper's Table 1.
    names : from the key of each model of the study to its printed name.
    """
    if path is not None:
        sizes = read_csv(path, ["model"])
        return sizes[sizes["model"].isin(list(names))]
    layers = published.set_index("model")["all_layers"].reindex(list(names)).astype("Int64")
    # A study of embeddings alone has no name here.
    models = pd.Series(list(names), dtype="str")
    return pd.DataFrame({"model": models, "layers": layers.to_numpy()}, columns=["model", *COUNTED])


def in_short(sizes: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return `model`, `all_layers` and `parameters_millions` (with top, published ones if ours are missing)."""
    printed = published.set_index("model")["parameters_millions"].reindex(sizes["model"]).to_numpy()
    ours = pd.to_numeric(sizes["parameters_with_top"], errors="coerce") / 1e6
    return pd.DataFrame(
        {
            "model": sizes["model"],
            "all_layers": pd.to_numeric(sizes["layers"], errors="coerce").astype("float64"),
            "parameters_millions": ours.astype("float64").fillna(pd.Series(printed, sizes.index)),
        }
    )


def compare(sizes: pd.DataFrame, published: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return Table 1, one row per model of the study.

    Parameters
    ----------
    sizes : see :func:`read`.
    published : `model`, `depth` and `parameters_millions` of the paper's Table 1.
    names : from a model's key to its printed name.
    """
    merged = sizes.merge(published, on="model", how="left")
    return pd.DataFrame(
        {
            "model": merged["model"],
            "model_name": merged["model"].map(dict(names)),
            "published_depth": merged["depth"].astype("Int64"),
            "published_depth_is": [_definition(row) for _, row in merged.iterrows()],
            **{name: merged[name].astype("Int64") for name in DEFINITIONS},
            "published_parameters_millions": merged["parameters_millions"].map("{:.1f}".format, na_action="ignore"),
            "parameters_with_top_millions": _millions(merged["parameters_with_top"]),
            "parameters_as_trained_millions": _millions(merged["parameters"]),
            "checkpoint_mb": merged["checkpoint_mb"],
            "multiply_adds_96_px_millions": _millions(merged["multiply_adds_96"]),
            "multiply_adds_50_px_millions": _millions(merged["multiply_adds_50"]),
        }
    )


def _millions(counts: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.to_numeric(counts, errors="coerce") / 1e6


def _definition(row: "pd.Series[Any]") -> str:
    if pd.isna(row["depth"]):
        return "not in the paper"
    if pd.isna(row["parameters"]):
        return ""  # not counted yet
    if row["model"] in SLIPS:
        return SLIPS[row["model"]]
    return next(
        (text for name, text in DEFINITIONS.items() if pd.notna(row[name]) and row[name] == row["depth"]),
        "none of ours",
    )


def models_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    published = inputs.published.sizes
    names = {model: name for model, name in inputs.study["names"].items() if model not in inputs.encoders}
    ours = read(next(iter(inputs.files["sizes"]), None), published, names)
    return Table("Models", compare(ours, published, names), COLUMNS, footnotes=NOTES, first=FIRST)
