"""The audit of a data set: what its records hold twice, and on both sides of its split."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histobench.core import prepared
from histobench.core.files import read_sealed, write_sealed
from histobench.core.paths import AUDIT_FILES
from histobench.core.prepared import Records
from histobench.results import duplicates
from histobench.results.columns import read_csv, write_csv
from histobench.results.duplicates import Bytes, Found, Integers

log = logging.getLogger(__name__)

ABOUT, DUPLICATES, NEAR = AUDIT_FILES

COLUMNS = ["position", "patch_id", "group", "label", "x", "y", "green_std", "pixel_sha256"]
"""Of the index, what the audit needs."""

KNOWN = ["split", "patch_id", "group", "label", "x", "y"]

TURNED = (
    *("", "mirrored", "mirrored, turned by 180°", "turned by 180°"),
    *("mirrored, turned by 270°", "turned by 90°", "turned by 270°", "mirrored, turned by 90°"),
)
"""The turns of `duplicates.turned` in words: first mirrored, up and down, then turned counterclockwise."""


class Parts:
    """The patches of all parts of a data set, or of what its folds are tested on, numbered through.

    Attributes
    ----------
    rows : of the index, `KNOWN` and what else `COLUMNS` names, by part and position.
    of_part : the numbers of the patches of each part.
    """

    def __init__(self, folder: Path, folds: Sequence[Path] = ()) -> None:
        places = {name: (folder, name) for name in prepared.parts(folder)}
        if folds:
            places = {fold.name.rpartition(".")[2]: (fold, "test") for fold in folds}
        names = list(places)
        frames = [prepared.index(place[0], COLUMNS, place[1]).assign(split=name) for name, place in places.items()]
        self.rows = pd.concat(frames, ignore_index=True)
        ends = np.cumsum([len(frame) for frame in frames])
        self.of_part = {
            name: np.arange(end - len(frame), end) for name, frame, end in zip(names, frames, ends, strict=True)
        }
        self._ends = ends
        self._records = [Records(*place) for place in places.values()]

    def take(self, numbers: Integers) -> Bytes:
        """Return the patches with these numbers, (n, side, side, 3)."""
        images = np.empty((len(numbers), *self._records[0].shape), np.uint8)
        parts = np.searchsorted(self._ends, numbers, side="right")
        for part in np.unique(parts):
            here = parts == part
            images[here] = self._records[part].take(numbers[here] - (self._ends[part] - len(self._records[part])))
        return images


def write(folder: Path, downsample: float, folds: Sequence[Path] = ()) -> None:
    """Audit a data set.

    Parameters
    ----------
    folder : of the prepared data set. It gets counts, see :func:`_counts`; a row for each patch that another one equals
        or shows in part, see :func:`_duplicates`; and a row for each pair of such patches, see :func:`_pairs`.
    downsample : pixels of the slide, in which places are given, in a pixel of a patch.
    folds : of a cross-validation, the folders of its folds; what each is tested on is a part.
    """
    parts = Parts(folder, folds)
    rows = parts.rows
    group = pd.factorize(rows["group"])[0]
    group[(rows["group"] == "").to_numpy()] = -1
    found = duplicates.find(
        parts.take,
        pd.factorize(rows["pixel_sha256"])[0],
        (rows["green_std"] < duplicates.UNIFORM).to_numpy(),
        group,
        rows[["x", "y"]].to_numpy(np.int64),
        downsample,
    )
    relations = {
        (part, other): _relation(rows, found, parts.of_part[part], parts.of_part[other])
        for number, part in enumerate(parts.of_part)
        for other in list(parts.of_part)[: number + 1]
    }
    write_csv(folder / DUPLICATES, _duplicates(rows, found, parts.of_part))
    write_csv(folder / NEAR, _pairs(rows, found))
    counts = [
        {"part": part, "beside": other} | _counts(rows, found, parts.of_part[part], relation, part == other)
        for (part, other), relation in relations.items()
    ]
    shared = {
        f"{part} {other}": sorted(rows["group"].iloc[parts.of_part[part][relation["groups"]]].unique())
        for (part, other), relation in relations.items()
        if part != other
    }
    write_sealed(
        folder / ABOUT,
        {
            "patches_sha256": prepared.manifest(folder)["patches_sha256"],
            "counts": counts,
            "shared_groups": shared,
            "unlike": found.unlike,
            "skipped": found.skipped,
        },
    )
    for row in counts:
        if told := in_words(row):
            log.warning("%s", told)
    for what, number in found.skipped.items():
        log.warning("not compared, since there are too many: %d %s", number, what)


def in_words(row: Mapping[str, Any]) -> str:
    """Return what in a row of `counts` makes scores too good or labels doubtful, "" for nothing."""
    where = f"of {row['part']}" + (f" beside {row['beside']}" if row["part"] != row["beside"] else "")
    kinds = {"conflicts": "equal one of the other label"}
    if row["part"] != row["beside"]:
        kinds |= {
            "group_patches": "are of a slide or patient of both",
            "copies": "equal one there",
            "near": "show in part the same as one there",
        }
    told = [f"{row[name]:,} {words}" for name, words in kinds.items() if row[name]]
    return f"of {row['patches']:,} patches {where}: {', '.join(told)}" if told else ""


def read(files: Sequence[Path]) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Read the files `AUDIT_FILES`: counts, patches that others equal or show in part, and pairs of such."""
    about, patches, pairs = files
    texts = [*("split", "patch_id", "group"), *("turned", "copies_in", "near_in", "found_by")]
    ends = [f"{end}_{name}" for end in ("first", "second") for name in ("split", "patch_id", "group")]
    return read_sealed(about), read_csv(patches, texts), read_csv(pairs, [*texts, *ends])


def _relation(rows: pd.DataFrame, found: Found, part: Integers, other: Integers) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which patches of a part have a counterpart in another part, or in their own.

    Returns
    -------
    relation : of the patches `part`, those that have a `copies`, `near` or `conflicts` (a copy of the other label) in
        `other`, and those whose `groups` stand there as well.
    """
    itself = part[0] == other[0]
    labels = rows["label"].to_numpy(np.int64)
    classes = int(found.copies.max()) + 1
    there = np.bincount(found.copies[other], minlength=classes)
    first, second = (found.copies[found.near[end]] for end in ("first", "second"))
    near = np.zeros(classes, bool)
    near[first[there[second] > 0]] = True
    near[second[there[first] > 0]] = True
    of_label = np.bincount(2 * found.copies[other] + labels[other], minlength=2 * classes)
    groups = rows["group"]
    known = groups.iloc[part].to_numpy() != ""
    return {
        "copies": there[found.copies[part]] > int(itself),
        "near": near[found.copies[part]],
        "conflicts": of_label[2 * found.copies[part] + 1 - labels[part]] > 0,
        "groups": known & groups.iloc[part].isin(groups.iloc[other].unique()).to_numpy(),
    }


def _counts(
    rows: pd.DataFrame, found: Found, part: Integers, relation: Mapping[str, npt.NDArray[np.bool_]], itself: bool
) -> dict[str, Any]:
    """Return the numbers of patches that have a counterpart, see :func:`_relation`; of groups where any is known."""
    groups = rows["group"].iloc[part]
    known = bool((groups != "").any())
    counts: dict[str, Any] = {"patches": len(part)}
    counts["groups" if itself else "shared_groups"] = int(groups[relation["groups"]].nunique()) if known else None
    if not itself:
        counts["group_patches"] = int(relation["groups"].sum()) if known else None
    counts |= {name: int(relation[name].sum()) for name in ("copies", "near", "conflicts")}
    if itself:
        counts["distinct"] = len(np.unique(found.equal[part]))
        counts["distinct_turned"] = len(np.unique(found.copies[part]))
        counts["uniform"] = int(found.uniform[part].sum())
    return counts


def _duplicates(rows: pd.DataFrame, found: Found, parts: Mapping[str, Integers]) -> pd.DataFrame:
    """Return a row for each patch that another one equals or shows in part.

    Returns
    -------
    table : `KNOWN`; `same`, the number that equal ones share, of the first of them; `turned`, by which it becomes that;
        `copies_in`, `near_in`: parts, separated by spaces, in which another one equals it or shows a part of it.
    """
    table = rows[KNOWN].assign(same=found.copies)
    table["turned"] = np.array(TURNED, object)[found.turns]
    for name in ("copies", "near"):
        words = np.full(len(rows), "", object)
        for numbers in parts.values():
            for other, others in parts.items():
                there = numbers[_relation(rows, found, numbers, others)[name]]
                words[there] = [f"{before} {other}".strip() for before in words[there]]
        table[f"{name}_in"] = words
    return table[(table["copies_in"] != "") | (table["near_in"] != "")].sort_values("same", kind="stable")


def _pairs(rows: pd.DataFrame, found: Found) -> pd.DataFrame:
    """Return a row for each pair of patches that show the same in part, the first ones of those that are equal.

    Returns
    -------
    table : `KNOWN` of both, as `first_split` and so on; `overlap`, the share of a patch that both show; `correlation`;
        `turned`, by which the first becomes, shifted, the second; `found_by`, "place" or "pixels".
    """
    near = found.near
    sides = [rows[KNOWN].iloc[near[end]].reset_index(drop=True).add_prefix(f"{end}_") for end in ("first", "second")]
    turns = [duplicates.between(*pair) for pair in zip(near["first_turn"], near["second_turn"], strict=True)]
    return pd.concat(sides, axis=1).assign(
        overlap=near["overlap"].round(4),
        correlation=near["correlation"].round(4),
        turned=[TURNED[turn] for turn in turns],
        found_by=np.where(near["by_place"], "place", "pixels"),
    )
