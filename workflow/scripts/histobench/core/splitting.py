"""Random splits, for data that come without one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histobench.core.errors import HistobenchError


def draw(split: Mapping[str, Any], ids: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return "train", "valid" or "test" for each patch.

    Parameters
    ----------
    split : `by` ("patch" or "group"), the fractions `train`, `valid` and `test`, and `seed`: see "Seeds" in
        config/README.md.
    ids : n patch ids, unique.
    groups : n slides or patients.

    Notes
    -----
    The units, patches or groups, are sorted by name and then permuted by the seed: neither the order of the files nor
    that of an archive matters. Parts are rounded to whole units, the rest is the test part.
    """
    units = ids if split["by"] == "patch" else groups
    names = sorted(set(units))
    ends = np.rint(np.cumsum([split["train"], split["valid"]]) * len(names)).astype(int)
    if not 0 < ends[0] < ends[1] < len(names):
        raise HistobenchError(
            f"cannot split {len(names)} units (by {split['by']}) into {split['train']:g}, {split['valid']:g} and "
            f"{split['test']:g} with none of the three parts empty"
        )
    part = np.repeat(["train", "valid", "test"], np.diff([0, *ends, len(names)]))
    order = np.random.default_rng(split["seed"]).permutation(len(names))
    split_of = {names[unit]: str(name) for unit, name in zip(order, part, strict=True)}
    return [split_of[unit] for unit in units]
