"""Table 1: the sizes that the paper prints beside ours, under each way of counting."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

NOTES = [
    "Published values: Bonnet 2024, Table 1, which counts depth in different ways; `Published depth is` says which of "
    "ours it is.",
    "Published parameters are those of the ImageNet model with its top. Parameters as trained: with the study's "
    "head, at 96 px.",
    "Multiply-adds: millions for one patch, convolutions and dense layers only. Checkpoint: float32 weights in MB.",
]
# In the order in which a published depth is looked for among them.
DEFINITIONS = {
    "layers": "all layers",
    "layers_with_weights": "layers with weights",
    "layers_with_head": "backbone and head",
}
# Figures of the paper that are slips, or counted like no other of its figures.
SLIPS = {
    "efficientnetv2b2": "slip for 352, all layers",
    "vgg19": "backbone and head, unlike the other backbones",
}


def compare(sizes: pd.DataFrame, published: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return Table 1, one row per model of the study.

    Parameters
    ----------
    sizes : a row per model, as :func:`histobench.train.anatomy.describe` gives it, with its key in `model`.
    published : `model`, `depth` and `parameters_millions` of the paper's Table 1; other models have no published value.
    names : from a model's key to its name in print.
    """
    merged = sizes.merge(published, on="model", how="left")
    return pd.DataFrame(
        {
            "model": merged["model"].map(dict(names)),
            "published_depth": merged["depth"].astype("Int64"),
            "published_depth_is": [_definition(row) for _, row in merged.iterrows()],
            **{name: merged[name].astype("Int64") for name in DEFINITIONS},
            # As text: the paper prints one decimal, and more would claim more.
            "published_parameters_millions": merged["parameters_millions"].map("{:.1f}".format, na_action="ignore"),
            "parameters_with_top_millions": merged["parameters_with_top"] / 1e6,
            "parameters_as_trained_millions": merged["parameters"] / 1e6,
            "checkpoint_mb": merged["checkpoint_mb"],
            "multiply_adds_96_px_millions": merged["multiply_adds_96"] / 1e6,
            "multiply_adds_50_px_millions": merged["multiply_adds_50"] / 1e6,
        }
    )


def _definition(row: "pd.Series[Any]") -> str:
    if pd.isna(row["depth"]):
        return "not in the paper"
    if row["model"] in SLIPS:
        return SLIPS[row["model"]]
    return next((text for name, text in DEFINITIONS.items() if row[name] == row["depth"]), "none of ours")
