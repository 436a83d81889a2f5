"""k nearest neighbours among the features of the training patches.

Which neighbours are the nearest does not depend on blocks, threads, processors or libraries: features are rounded so
that all sums of their products are exact in float64, in whatever order they are added.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
import numpy.typing as npt

from histobench.core import recipes
from histobench.core.decision import THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.core.features import Features
from histobench.train.keras_backend import BACKEND, ops
from histobench.train.standardization import Statistics, statistics

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

# Vectors of length 1 are rounded to multiples of 1 / GRID, as fine as float32. Products of two are multiples of
# 1 / GRID^2 = 2^-50, and no sum of them exceeds the product of the lengths, about 1, so that 53 bits hold it.
GRID = 2.0**25
# Patches to be scored, and training patches, whose distances are computed at a time: 128 MiB of distances.
BLOCK = (4096, 4096)
# Seconds between two lines of progress.
PROGRESS_EVERY = 20.0


class Nearest(NamedTuple):
    """The nearest training patches of n patches, from the nearest on; of equally near ones the first.

    Attributes
    ----------
    keys : (n, k) float64, smaller for nearer ones.
    positions : (n, k) int64, in the training part.
    """

    keys: Floats
    positions: npt.NDArray[np.int64]

    def and_of(self, keys: Floats, start: int) -> "Nearest":
        """Return the nearest of these and of other training patches, with `keys`, (n, m), at positions from `start`."""
        n, k = self.keys.shape
        wanted = keys < self.keys[:, -1:]  # a later one that is as near as the last comes after it
        crowded = np.flatnonzero(wanted.sum(axis=1) > k)
        if len(crowded):
            some = keys[crowded]
            last = np.partition(some, k - 1, axis=1)[:, k - 1 : k]
            nearer, equal = some < last, some == last
            room = k - nearer.sum(axis=1, keepdims=True)
            wanted[crowded] = nearer | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
        rows, columns = np.nonzero(wanted)
        rows = np.concatenate([np.repeat(np.arange(n), k), rows])
        all_keys = np.concatenate([self.keys.ravel(), keys[wanted]])
        positions = np.concatenate([self.positions.ravel(), start + columns])
        order = np.lexsort((positions, all_keys, rows))
        starts = np.searchsorted(rows[order], np.arange(n))
        chosen = order[starts[:, None] + np.arange(k)]
        return Nearest(all_keys[chosen], positions[chosen])


class Neighbours:
    """Classifies patches by their nearest training patches.

    Parameters
    ----------
    train : features of the training part.
    knn : of a recipe: `n_neighbors`, and `metric`, "cosine" or "euclidean".
    scaling : by which features are standardised first; None if they are not.

    Attributes
    ----------
    scaling : as given.

    Raises
    ------
    HistobenchError
        if there are fewer training patches than neighbours.
    """

    def __init__(self, train: Features, knn: Mapping[str, Any], scaling: Statistics | None = None) -> None:
        self._train, self._k, self._cosine = train, int(knn["n_neighbors"]), knn["metric"] == "cosine"
        self.scaling = scaling
        if self._k > len(train):
            raise HistobenchError(
                f"knn.n_neighbors: expected no more neighbours than training patches, found {self._k} and "
                f"{len(train)}; set a lower number in the recipe"
            )
        # A power of two, which divides exactly, and that no training patch is longer than.
        self._unit = 1.0 if self._cosine else self._longest()

    def scores(self, part: Features, block: tuple[int, int] = BLOCK) -> npt.NDArray[np.float32]:
        """Return the share of tumour among the nearest training patches of each patch of a part, (n,) float32.

        They do not depend on the `block`: numbers of patches, and of training patches, to be compared at a time.
        """
        labels, scores, told = self._train.labels, np.empty(len(part), np.float32), time.monotonic()
        for start in range(0, len(part), block[0]):
            chosen = np.arange(start, min(start + block[0], len(part)))
            scores[chosen] = labels[self.nearest(part, chosen, block[1]).positions].mean(axis=1)
            if time.monotonic() - told >= PROGRESS_EVERY:
                told = time.monotonic()
                log.info("neighbours of %d of %d %s patches", chosen[-1] + 1, len(part), part.split)
        return scores

    def nearest(self, part: Features, chosen: npt.NDArray[np.int64], block: int = BLOCK[1]) -> Nearest:
        """Return the nearest training patches of the patches at some positions of a part."""
        vectors = self._vectors(part, chosen)
        # |t - v|^2 / 2 is |t|^2 / 2 - t v, but for what all t share, and the cosine distance is -t v. A vector that is
        # longer than the unit is divided by a further power of two, so that keys are sums of two exact numbers.
        lengths = np.ones((len(vectors), 1))
        if not self._cosine:
            lengths = np.maximum(_power_of_two(_lengths(vectors) / self._unit), 1.0)[:, None]
        vectors = np.rint(vectors * (GRID / self._unit / lengths))
        found = Nearest(
            np.full((len(chosen), self._k), np.inf), np.full((len(chosen), self._k), len(self._train), np.int64)
        )
        for start in range(0, len(self._train), block):
            others = self._vectors(self._train, np.arange(start, min(start + block, len(self._train))))
            others = np.rint(others * (GRID / self._unit))
            keys = _products(vectors, others) * -lengths
            if not self._cosine:
                keys += np.square(others).sum(axis=1) / 2
            found = found.and_of(keys, start)
        return found

    def _vectors(self, part: Features, positions: npt.NDArray[np.int64]) -> Floats:
        """Return features, (n, features), standardised if they are to be, and for cosines of length 1, or 0."""
        features = part.take(positions)
        if self.scaling is not None:
            features = self.scaling.of(features)
        if wrong := int((~np.isfinite(features).all(axis=1)).sum()):
            raise HistobenchError(
                f"features: expected numbers, but of {wrong} of {len(positions)} {part.split} patches from position "
                f"{positions[0]} some are none: their backbone's weights do not suit these patches"
            )
        vectors = features.astype(np.float64)
        if self._cosine:
            lengths = _lengths(vectors)
            vectors /= np.where(lengths > 0, lengths, 1.0)[:, None]
        return vectors

    def _longest(self) -> float:
        starts = range(0, len(self._train), BLOCK[1])
        blocks = (np.arange(start, min(start + BLOCK[1], len(self._train))) for start in starts)
        return float(_power_of_two(max(_lengths(self._vectors(self._train, block)).max() for block in blocks)))


def _products(vectors: Floats, others: Floats) -> Floats:
    """Return the products of all pairs of vectors, (n, m): exact ones, on a card as elsewhere."""
    if BACKEND != "tensorflow":  # JAX would round to float32
        return vectors @ others.T
    return np.asarray(ops.matmul(vectors, others.T))


def _lengths(vectors: Floats) -> Floats:
    """Return the Euclidean length of each vector."""
    lengths: Floats = np.sqrt(np.square(vectors).sum(axis=1))
    return lengths


def _power_of_two(values: Any) -> Any:
    """Return the next power of two above each value, which is not negative; of 0 it is 1."""
    return np.ldexp(1.0, np.frexp(values)[1])


def fit(
    train: Features, valid: Features, recipe: Mapping[str, Any]
) -> tuple[Neighbours, dict[str, Any], dict[str, Any]]:
    """Prepare the classifier of a recipe, and score the validation part by it, as after an epoch of training.

    Returns
    -------
    neighbours, row, timing : the classifier; the one row of `history.csv`, which has no values for training: each
        training patch is its own nearest neighbour; and that of `timing.csv`.
    """
    started = time.perf_counter()
    scaling = statistics(train) if recipes.standardize(recipe) else None
    neighbours = Neighbours(train, recipe["knn"], scaling)
    fitted = time.perf_counter()
    scores = neighbours.scores(valid)
    ended = time.perf_counter()
    measures = {
        "accuracy": keras.metrics.BinaryAccuracy(threshold=THRESHOLD),
        "auc": keras.metrics.AUC(),
        "loss": keras.metrics.BinaryCrossentropy(),
    }
    row: dict[str, Any] = {"epoch": 1, **dict.fromkeys(measures)}
    for name, measure in measures.items():
        measure.update_state(valid.labels[:, None], scores[:, None])
        row[f"val_{name}"] = float(measure.result())
    log.info("val_accuracy %.4f, val_auc %.4f; %.1f s", row["val_accuracy"], row["val_auc"], ended - started)
    timing = {
        "epoch": 1,
        "training_seconds": fitted - started,
        "validation_seconds": ended - fitted,
        "energy_joules": None,
    }
    return neighbours, row, timing


def save(neighbours: Neighbours, path: Path) -> None:
    """Write, as HDF5, what the classifier has of itself beside the training features: `mean` and `scale`, if any."""
    with h5py.File(path, "w") as file:
        for name, values in neighbours.scaling._asdict().items() if neighbours.scaling is not None else ():
            file[name] = values


def load(train: Features, recipe: Mapping[str, Any], path: Path) -> Neighbours:
    """Return the classifier that :func:`save` has written.

    Raises
    ------
    HistobenchError
        if the file is not of a run by this recipe.
    """
    scaling = None
    if recipes.standardize(recipe):
        try:
            with h5py.File(path) as file:
                scaling = Statistics(*(file[name][:] for name in Statistics._fields))
        except (OSError, KeyError) as error:
            raise HistobenchError(
                f"{path}: expected mean and scale of {train.shape[0]} features, found: {error}. Delete it and start "
                "again: `train` writes it anew"
            ) from error
    return Neighbours(train, recipe["knn"], scaling)
