"""Standardisation of features by their mean and deviation over the training part."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from histobench.core.features import Features

# Patches whose features are read at a time. Always as many, since the last bits of a sum depend on its order.
CHUNK = 4096


class Statistics(NamedTuple):
    """What features are standardised by: `mean` is subtracted, then multiplied by `scale`; both (features,) float32.

    `scale` is 1 / standard deviation, and 0 for a feature that is constant over the training part: of it nothing can
    be learned, and it stays 0 for patches where it is not constant.
    """

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]

    def of(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return features, (n, features), standardised: as :class:`histobench.train.models.Standardization` does."""
        return (features - self.mean) * self.scale


@functools.lru_cache(maxsize=1)  # the trials of a search share their training part
def statistics(train: Features) -> Statistics:
    """Return the statistics of the training part, by two passes over its features, summed in float64."""
    first = train.take(np.arange(1))[0].astype(np.float64)
    starts = range(0, len(train), CHUNK)

    def mean(of: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        sums: npt.NDArray[np.float64] = np.zeros_like(first)
        for start in starts:
            sums += of(train.take(np.arange(start, min(start + CHUNK, len(train))))).sum(axis=0)
        return sums / len(train)

    # Differences from the first patch, which are exactly 0 where all are equal.
    shift = mean(lambda features: features - first)
    variance = mean(lambda features: np.square(features - first - shift))
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    return Statistics((first + shift).astype(np.float32), scale.astype(np.float32))
