"""Bootstrap of a test set: what is resampled, how often each patch is drawn, and the interval of what comes of it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_GROUPS = 20
"""With few clusters, 5 to 30, a cluster bootstrap is too narrow (Cameron, Gelbach & Miller 2008, Rev. Econ. Stat.
90:414). Where in that range to stop is a choice.
"""

LEVEL = 0.95

RESAMPLES = 1000


def resampled_units(groups: NDArray[np.str_]) -> tuple[Integers, str, str]:
    """Return what is resampled of a test set.

    Patches of a slide or patient resemble one another, so an interval over patches is too narrow; groups are resampled
    as wholes where there are enough of them (Field & Welsh 2007, J. R. Stat. Soc. B 69:369).

    Parameters
    ----------
    groups : (n,) the slide or patient of each patch, "" where unknown. Groups known for some patches only cannot be
        resampled.

    Returns
    -------
    units : (n,) the number of each patch's unit, see `resampled_weights`.
    unit : "group" or "patch".
    reason : why, in words.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    if "" in names:
        some = "of some test patches" if len(names) > 1 else "of the test patches"
        reason = f"the groups {some} are unknown: patches are resampled, which ignores clustering"
    elif len(names) < MIN_GROUPS:
        reason = f"{len(names)} groups, fewer than {MIN_GROUPS}: patches are resampled, which ignores clustering"
    else:
        return (
            numbers.astype(np.int64),
            "group",
            f"{len(names)} groups, at least {MIN_GROUPS}: whole groups are resampled",
        )
    return np.arange(len(groups)), "patch", reason


def resampled_weights(units: Integers, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield, resample after resample, how often each patch is drawn when whole units are drawn with replacement.

    The draws depend on `seed` (see "Seeds" in config/README.md) and the number of units alone. Units are numbered in
    the order of their names, groups by group and patches by patch id, so replicate r of one run and replicate r of
    another on the same test set hold the same patches: paired contrasts subtract replicates row by row.

    Parameters
    ----------
    units : (patches,) the number of the unit, 0 to units - 1, that each patch belongs to.

    Yields
    ------
    weights : (patches,) whole numbers.
    """
    rng = np.random.default_rng(seed)
    count = int(units.max()) + 1
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, count, size=count), minlength=count)
        yield drawn[units].astype(np.float64)


def percentile_interval(replicates: pd.Series) -> list[float] | None:
    """Return the central interval of level `LEVEL` of bootstrap replicates, or None where there are none."""
    if not len(replicates):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates.to_numpy(dtype=np.float64), [tail, 1 - tail])
    return [float(low), float(high)]
