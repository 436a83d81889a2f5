"""Data sets that choose from the prepared patches of another: folds of a cross-validation, parts of the training part.

A selection has an index and a manifest of its own, like any prepared data set, but no records: its index says where
each patch lies among those of the data set that it chooses from. So folds and subsets share records and features.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, digest, write_sealed
from histobench.core.prepared import INDEX, SPLITS, index, manifest

if TYPE_CHECKING:
    import pandas as pd

# As the schema of the configuration has it: one to test on, one to choose the epoch by, one to train on.
FEWEST_FOLDS = 3


@dataclass(frozen=True)
class Selection:
    """Which patches of a prepared data set are training, validation and test patches.

    Attributes
    ----------
    of : the data set whose records are used.
    folds, fold, split_seed : of a cross-validation by group: how many folds, the one that is tested on, from 1 on, and
        the seed by which groups come into folds. 0 without.
    train_fraction, train_groups : how many of the training patches, or of the groups among them, count; None for all.
    subset_seed : by which these are drawn; None where each seed of a run draws its own.
    """

    of: str
    folds: int = 0
    fold: int = 0
    split_seed: int = 0
    train_fraction: float | None = None
    train_groups: int | None = None
    subset_seed: int | None = None

    def counts(self, of_all: Mapping[str, int]) -> dict[str, int]:
        """Return about how many patches each part has, by how many the parts of the other data set have."""
        counts = dict(of_all)
        if self.folds:
            each = sum(of_all.values()) // self.folds
            counts = {"train": each * (self.folds - 2), "valid": each, "test": each}
        if self.train_fraction is not None and "train" in counts:
            counts["train"] = round(self.train_fraction * counts["train"])
        return counts

    def in_words(self) -> str:
        """Return what of the training patches counts, "" if all do."""
        drawn = "drawn anew by each seed" if self.subset_seed is None else f"seed {self.subset_seed}"
        if self.train_groups is not None:
            return f"{self.train_groups} groups of the training patches, {drawn}"
        if self.train_fraction is not None:
            return f"{self.train_fraction:.3g} of the training patches, {drawn}"
        return ""


def write(folder: Path, dataset: str, selection: Selection, definition: Mapping[str, Any]) -> None:
    """Write the index and the manifest of a selection.

    Parameters
    ----------
    folder : of the selection, beside that of the data set that it chooses from.
    dataset : name of the selection.
    definition : what the patches depend on, see :meth:`histobench.core.formats.Dataset.definition`.

    Raises
    ------
    HistobenchError
        if the patches cannot be chosen, see :func:`choose`.
    """
    import pandas as pd

    source = folder.parent / selection.of
    about, whole = manifest(source), index(source)
    try:
        chosen = choose(whole, selection)
    except HistobenchError as error:
        raise HistobenchError(f"{dataset}: {error}") from None
    path = folder / "index.parquet"
    with atomic(path) as unfinished:
        chosen.to_parquet(unfinished, index=False, row_group_size=2**15)
    identity = hashlib.sha256(about["patches_sha256"].encode())
    identity.update(pd.util.hash_pandas_object(chosen[["split", "part", "record"]], index=False).to_numpy().tobytes())
    parts = {split: chosen[chosen["split"] == split] for split in SPLITS}
    named = [set(part["group"]) - {""} for part in parts.values()]
    write_sealed(
        folder / "manifest.json",
        about
        | {
            "dataset": dataset,
            "definition": definition,
            "split": definition["split"],
            "selection": asdict(selection),
            "patches": {
                split: {
                    "n": len(part),
                    "tumour": int(part["label"].sum()),
                    "tumour_fraction": round(float(part["label"].mean()), 6),
                    "groups": len(groups),
                }
                for (split, part), groups in zip(parts.items(), named, strict=True)
            },
            "groups_on_both_sides": len(set().union(*named)) < sum(map(len, named)),
            "patches_sha256": identity.hexdigest(),
            "index_sha256": digest(path),
        },
    )


def choose(whole: "pd.DataFrame", selection: Selection) -> "pd.DataFrame":
    """Return the index of a selection, by the index of the data set that it chooses from.

    Parameters
    ----------
    whole : one row per patch, see :data:`histobench.core.prepared.INDEX`.

    Returns
    -------
    chosen : the same columns for the patches that count, and `part` and `record`: where the patch lies there.

    Raises
    ------
    HistobenchError
        if a group is unknown, there are too few groups, or a part would have patches of one class alone.
    """
    chosen = whole.astype({"split": str, "position": "int32"})
    chosen = chosen.assign(part=chosen["split"], record=chosen["position"])
    if selection.folds:
        fold = folds(chosen, selection.folds, selection.split_seed)
        # The fold after that which is tested on chooses the epoch; after the last comes the first.
        after = selection.fold % selection.folds + 1
        chosen["split"] = ["test" if each == selection.fold else "valid" if each == after else "train" for each in fold]
    chosen = _subset(chosen, selection)
    for split in SPLITS:
        part = chosen[chosen["split"] == split]
        if set(part["label"]) != {0, 1}:
            remedies = ", ".join(_remedies(selection, split))
            raise HistobenchError(
                f"expected patches of both classes in the {split} part, found {len(part)} patches, "
                f"{int(part['label'].sum())} of them tumour. Take {remedies}, or another seed"
            )
    chosen = chosen.sort_values("split", key=lambda names: names.map(SPLITS.index), kind="stable")
    chosen["position"] = chosen.groupby("split").cumcount().astype("int32")
    return chosen[[*INDEX, "part", "record"]].reset_index(drop=True)


def _remedies(selection: Selection, split: str) -> list[str]:
    """Return by what a part of a selection would get patches of both classes."""
    remedies = ["more patches or groups"]
    if selection.folds > FEWEST_FOLDS:
        remedies.insert(0, "fewer folds")
    if split == "train" and selection.train_groups is not None:
        remedies.insert(0, f"more `train_groups` than {selection.train_groups}")
    if split == "train" and selection.train_fraction is not None:
        remedies.insert(0, f"a larger `train_fraction` than {selection.train_fraction:g}")
    return remedies


def folds(patches: "pd.DataFrame", number: int, seed: int) -> Any:
    """Return the fold of each patch, from 1 on, (n,) int: by group, and with about the same share of tumour in each.

    By scikit-learn's `StratifiedGroupKFold`, on groups and patches in the order of their names: neither the order of
    the files nor that of an archive matters.
    """
    import pandas as pd
    from sklearn.model_selection import StratifiedGroupKFold

    if unknown := patches.loc[patches["group"] == "", "patch_id"].tolist():
        raise HistobenchError(
            f"cannot split by group: {len(unknown)} of {len(patches)} patches have no slide or patient, for instance "
            f"{unknown[0]}. Say which they are, see 'Patches of your own' in config/README.md"
        )
    groups = patches["group"].nunique()
    if groups < number:
        remedy = (
            f"at most {groups} `folds`" if groups >= FEWEST_FOLDS else "patches of more of them, or another `split`"
        )
        raise HistobenchError(
            f"expected at least {number} slides or patients for {number} folds, found {groups}. Take {remedy}"
        )
    ordered = patches.sort_values(["group", "patch_id"])
    result = pd.Series(0, patches.index)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    for fold, (_, tested) in enumerate(splitter.split(ordered, ordered["label"], ordered["group"]), start=1):
        result[ordered.index[tested]] = fold
    return result.to_numpy()


def _subset(patches: "pd.DataFrame", selection: Selection) -> "pd.DataFrame":
    """Return the patches without those of the training part that do not count.

    Of one seed a smaller subset lies within every larger one: they are the first of one permutation.
    """
    import numpy as np

    if selection.train_fraction is None and selection.train_groups is None:
        return patches
    training = patches[patches["split"] == "train"]
    units = training["patch_id"] if selection.train_fraction is not None else training["group"]
    names = np.array(sorted(set(units) - {""}))
    if selection.train_groups is not None:
        number = selection.train_groups
        if number > len(names):
            raise HistobenchError(
                f"expected at least {number} slides or patients to train on, found {len(names)}. Take `train_groups` "
                f"below {len(names)}: with {len(names)} all training patches count, as without `subset_of`"
                if names.size
                else "expected known slides or patients, of which `train_groups` are trained on, found none. Take "
                "`train_fraction`, or say which they are, see 'Patches of your own' in config/README.md"
            )
    else:
        assert selection.train_fraction is not None
        number = max(1, round(selection.train_fraction * len(names)))
    drawn = set(np.random.default_rng(selection.subset_seed).permutation(names)[:number].tolist())
    return patches[(patches["split"] != "train") | patches.index.isin(training.index[units.isin(drawn)])]
