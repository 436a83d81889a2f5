"""Published values of the paper, and the reasons why a run is not comparable with them.

The values are in ``config/paper/*.csv``; the README there says where in the paper each is printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core import modes, recipes
from histobench.core.errors import HistobenchError

# The recipe of Bonnet 2024 (arXiv:2108.13661) and of the author's code. TF32 is not part of it: as in the paper's
# TensorFlow 2.4, it is used on cards that have it.
PROTOCOL: dict[str, Any] = {
    "epochs": 15,
    "batch_size": 32,
    "optimizer": {"name": "adam", "learning_rate": 0.001},
    "input_scaling": "paper",
    "best_epoch": "val_accuracy",
    "precision": "float32",
    "jit_compile": False,
}
# Keys of a recipe that are not part of the protocol, since they are for one mode only.
NO_PROTOCOL = {*(mode.key for mode in modes.MODES.values()), "search"}
COMPARED_MODES = ("full", "tl")
# The simplest model, with which the cost of the others is compared.
SIMPLEST = "b2"
DATASETS = {"pcam": "PCam", "idc": "IDC"}
PERFORMANCE = {"pcam": "table3.csv", "idc": "table4.csv"}


@dataclass(frozen=True)
class Published:
    """The published values.

    Attributes
    ----------
    sizes : Table 1: `model`, `depth` and `parameters_millions` as printed, and `all_layers`, ours.
    speed : Table 2: `device`, `year`, `cuda_cores`, `gflops`, `model`, `mode`, `seconds_per_epoch`.
    performance : Tables 3 and 4: `format` ("pcam", "idc"), `model`, `mode`, `loss`, `accuracy`, `auc`.
    tuned : `format`, `model`, `mode`, `auc` of the tuned models.
    welch : `format`, `t`, `df`, `p` of Welch's test as printed.
    code : keys of the models in the author's public code.
    """

    sizes: pd.DataFrame
    speed: pd.DataFrame
    performance: pd.DataFrame
    tuned: pd.DataFrame
    welch: pd.DataFrame
    code: list[str]


FILES = ("table1.csv", "table2.csv", "table3.csv", "table4.csv", "tuned.csv", "welch.csv", "code.csv")


def read(folder: Path) -> Published:
    """Read the published values of a folder such as ``config/paper``.

    Raises
    ------
    HistobenchError
        If a file is missing.
    """
    if missing := [name for name in FILES if not (folder / name).exists()]:
        raise HistobenchError(
            f"{folder}: no {', '.join(missing)}; expected {', '.join(FILES)}. They are part of the repository: "
            f"git checkout -- {folder}"
        )
    performance = [
        pd.read_csv(folder / name).assign(format=kind)[["format", "model", "mode", "loss", "accuracy", "auc"]]
        for kind, name in PERFORMANCE.items()
    ]
    return Published(
        sizes=pd.read_csv(folder / "table1.csv"),
        speed=pd.read_csv(folder / "table2.csv"),
        performance=pd.concat(performance, ignore_index=True),
        tuned=pd.read_csv(folder / "tuned.csv"),
        # As strings, since the digits are compared.
        welch=pd.read_csv(folder / "welch.csv", dtype=str),
        code=pd.read_csv(folder / "code.csv")["model"].tolist(),
    )


def data_differ(manifest: Mapping[str, Any]) -> str:
    """Return why a prepared data set is not the paper's, "" if it is: all its patches in the same split."""
    kind = manifest["format"]
    if kind not in DATASETS:
        return "patches of one's own"
    if manifest["patches_are"] != "published":
        return {"simulated": "simulated patches", "subset": "a subset of the patches"}[manifest["patches_are"]]
    if manifest.get("selection"):
        return "cross-validated" if manifest["selection"]["folds"] else "a part of the training patches"
    # The paper seems to have drawn its own split: its 220,177 patches are 80 % of 275,222.
    return {"idc": "the paper's split of IDC is not published"}.get(kind, "")


def recipe_differs(recipe: Mapping[str, Any]) -> str:
    """Return how a recipe, as in a run's specification, differs from the paper's protocol; "" if it does not.

    How a head is trained is not part of the protocol, see :func:`transfer_differs`.
    """
    if "knn" in recipe:
        return "nearest neighbours instead of a head"
    if "epochs" not in recipe:  # of an ensemble
        return f"the mean score of {_words(recipe['average_scores'])}"
    whole = dict(recipe) | {"precision": recipes.precision(recipe), "jit_compile": recipes.jit_compile(recipe)}
    given = {key: value for key, value in whole.items() if key not in NO_PROTOCOL and value not in (None, [])}
    differences = []
    for key in (*PROTOCOL, *(key for key in given if key not in PROTOCOL)):
        ours, papers = given.get(key), PROTOCOL.get(key)
        if ours != papers:
            differences.append(f"{key} {_words(ours)}" + (f" instead of {_words(papers)}" if key in PROTOCOL else ""))
    return ", ".join(differences)


def steps_differ(recipe: Mapping[str, Any]) -> str:
    """Return how the training steps differ from the paper's protocol, whatever their number, see `recipe_differs`."""
    steps = {key: value for key, value in recipe.items() if key not in ("steps_per_epoch", "validation_steps")}
    return recipe_differs(steps | {key: PROTOCOL[key] for key in ("epochs", "best_epoch")})


def transfer_differs(application: str | None, mode: str, recipe: Mapping[str, Any]) -> str:
    """Return why a head was not trained as the paper's, "" if the result is the same to the bit.

    Only EfficientNetV2 has layers (drop-connect) that stay active in a frozen backbone, so its cached features differ
    from those that the paper's heads were trained on.
    """
    if mode == "tl" and recipe.get("transfer") == "cached" and (application or "").startswith("EfficientNetV2"):
        return "cached features, without the drop-connect of the paper's runs"
    return ""


def weights_differ(origin: str, application: str | None) -> str:
    """Return why the initial weights of a run are not the paper's, "" if they are."""
    if application is None or origin == "ImageNet":
        return ""
    return {"random": "random weights", "scratch": "no ImageNet start"}.get(origin, f"weights: {origin}")


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        # An optimizer: its name, its rate, and by their names its other arguments.
        texts = {key: f"{each:g}" if isinstance(each, float) else _words(each) for key, each in value.items()}
        return " ".join(text if key in PROTOCOL["optimizer"] else f"{key} {text}" for key, text in texts.items())
    if isinstance(value, list):
        return " and ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()  # as in YAML
    return "none" if value is None else str(value)
