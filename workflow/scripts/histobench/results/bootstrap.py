"""Bootstrap of a test set: the units that are resampled, the weights of the patches, and percentile intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_GROUPS = 10
"""Intervals of a cluster bootstrap are too narrow with few clusters, 5 to 30 (Cameron, Gelbach & Miller 2008, Rev.
Econ. Stat. 90:414), and those that ignore clustering are narrower still. The limit within that range is a choice.
"""

LEVEL = 0.95

RESAMPLES = 1000


def resampled_units(groups: "NDArray[np.str_] | pd.Series[str]") -> tuple[Integers, str, str]:
    """Return the units in which a test set is resampled.

    Patches of a slide or patient resemble one another, so an interval over patches is too narrow; whole groups are
    resampled if there are enough of them (Field & Welsh 2007, J. R. Stat. Soc. B 69:369).

    Parameters
    ----------
    groups : (n,) the slide or patient of each patch, "" if unknown. Groups must be known for all patches to be
        resampled.

    Returns
    -------
    units : (n,) the number of each patch's unit, see `resampled_weights`.
    unit : "group" or "patch".
    reason : why, as a sentence.
    """
    numbers, names = pd.factorize(groups, sort=True)
    if "" in names:
        some = "of some test patches" if len(names) > 1 else "of the test patches"
        reason = f"the groups {some} are unknown: patches are resampled, which ignores clustering"
    elif len(names) < MIN_GROUPS:
        reason = f"{len(names)} groups, fewer than {MIN_GROUPS}: patches are resampled, which ignores clustering"
    else:
        reason = f"{len(names)} groups, at least {MIN_GROUPS}: whole groups are resampled"
        return numbers.astype(np.int64), "group", reason
    return np.arange(len(groups)), "patch", reason


def draws(units: int, resamples: int, seed: int) -> Iterator[Integers]:
    """Yield, for each resample, how often each unit is drawn when as many as there are are drawn with replacement.

    The draws depend only on `seed` (see "Seeds" in config/README.md) and the number of units. Units are numbered in the
    order of their names, by group or by patch id, so replicate r holds the same patches in all runs on a test set, and
    paired contrasts may subtract replicates row by row.
    """
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, units, size=units), minlength=units)


def resampled_weights(units: Integers, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield, for each resample, how often each patch is drawn, see `draws`.

    Parameters
    ----------
    units : (patches,) the number of the unit, 0 to units - 1, that each patch belongs to.

    Yields
    ------
    weights : (patches,) whole numbers.
    """
    for drawn in draws(int(units.max()) + 1, resamples, seed):
        yield drawn[units].astype(np.float64)


def percentile_interval(replicates: pd.Series) -> list[float] | None:
    """Return the central interval of level `LEVEL` of bootstrap replicates, or None if there are none."""
    if not len(replicates):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates.to_numpy(dtype=np.float64), [tail, 1 - tail])
    return [float(low), float(high)]
