"""Random splits, for data that come without one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histobench.core.errors import HistobenchError
from histobench.core.prepared import SPLITS, WHOLE

# Which classes the patches of a unit have: a number for each unit, where there may be millions.
NORMAL, TUMOUR = 1, 2


def draw(split: Mapping[str, Any], ids: Sequence[str], groups: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return "train", "valid" or "test" for each patch, such that each part has patches of both classes.

    For a cross-validation it is "all": its folds are drawn later, see :mod:`histobench.core.selections`.

    Parameters
    ----------
    split : `by` ("patch" or "group"), the fractions `train`, `valid` and `test`, and `seed`: see "Seeds" in
        config/README.md.
    ids : n patch ids, unique.
    groups : n slides or patients.
    labels : n labels, 1 is tumour.

    Raises
    ------
    HistobenchError
        if a group is unknown, or no split has patches of both classes in each part.

    Notes
    -----
    The units, patches or groups, are sorted by name and then permuted by the seed: neither the order of the files nor
    that of an archive matters. Parts are rounded to whole units, the rest is the test part. Where a part would lack a
    class, each part first gets the first units of the permutation that hold both classes, see `_mend`; the others
    follow in their order.
    """
    if "folds" in split:
        return [WHOLE] * len(ids)
    if split["by"] == "group" and (unknown := [name for name, group in zip(ids, groups, strict=True) if not group]):
        raise HistobenchError(
            f"cannot split by group: {len(unknown)} of {len(ids)} patches have no slide or patient, for instance "
            f"{unknown[0]}. Say which they are, see 'Patches of your own' in config/README.md, or split by patch"
        )
    units = ids if split["by"] == "patch" else groups
    names = sorted(set(units))
    ends = np.rint(np.cumsum([split["train"], split["valid"]]) * len(names)).astype(int)
    if not 0 < ends[0] < ends[1] < len(names):
        raise HistobenchError(
            f"cannot split {len(names)} units (by {split['by']}) into {split['train']:g}, {split['valid']:g} and "
            f"{split['test']:g} with none of the three parts empty"
        )
    sizes = np.diff([0, *ends, len(names)]).tolist()
    classes = dict.fromkeys(names, 0)
    for unit, label in zip(units, labels, strict=True):
        classes[unit] |= TUMOUR if label else NORMAL
    order = [names[number] for number in np.random.default_rng(split["seed"]).permutation(len(names))]
    parts = _cut(order, sizes)
    if any({classes[unit] for unit in part} in ({NORMAL}, {TUMOUR}) for part in parts):
        parts = _mend(order, sizes, classes, split["by"])
    split_of = {unit: name for name, part in zip(SPLITS, parts, strict=True) for unit in part}
    return [split_of[unit] for unit in units]


def _cut(order: Sequence[str], sizes: Sequence[int]) -> list[list[str]]:
    ends = np.cumsum(sizes).tolist()
    return [list(order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _mend(order: Sequence[str], sizes: Sequence[int], classes: Mapping[str, int], by: str) -> list[list[str]]:
    """Return parts of these sizes with both classes in each; refuse where there are none.

    This finds parts whenever there are any: a part has both classes by a unit of both or by one of each class, and one
    of a single unit by a unit of both alone. So units of both go to the smallest parts first, and the others need one
    of each class.
    """
    waiting = {kind: [unit for unit in order if classes[unit] == kind] for kind in (NORMAL | TUMOUR, NORMAL, TUMOUR)}
    both, normal, tumour = map(len, waiting.values())
    first: dict[int, list[str]] = {}
    for part in sorted(range(len(sizes)), key=lambda part: sizes[part]):
        kinds = [NORMAL | TUMOUR] if waiting[NORMAL | TUMOUR] else [NORMAL, TUMOUR]
        if len(kinds) > sizes[part] or not all(waiting[kind] for kind in kinds):
            unit = "patches" if by == "patch" else "slides or patients"
            raise HistobenchError(
                f"cannot split {len(order)} {unit} into parts of {', '.join(map(str, sizes))} with both classes in "
                f"each: {tumour} of them hold tumour alone, {normal} none, and {both} both. Ask for other fractions"
                + (" or split by patch" if by == "group" else "")
            )
        first[part] = [waiting[kind].pop(0) for kind in kinds]
    placed = {unit for some in first.values() for unit in some}
    others = [unit for unit in order if unit not in placed]
    rest = _cut(others, [size - len(first[part]) for part, size in enumerate(sizes)])
    return [first[part] + rest[part] for part in range(len(sizes))]
