"""Duplicates planted into patches, of which a test knows where they are."""

from collections.abc import Iterable

import numpy as np

from histobench.core.datasets import Patches, chunk
from histobench.results.duplicates import TURNS, UNIFORM, turned

EQUAL, NEAR, CONFLICTS = 50, 10, 5
SHIFT = 4
PARTS = ("train", "valid", "test")


def turn(image: np.ndarray, way: int) -> np.ndarray:
    """Turn or mirror one patch, (side, side, 3)."""
    return np.moveaxis(turned(np.moveaxis(image, 2, 0), way), 0, 2)


def shifted(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Shift a patch; what comes in at the edge is the edge's last row or column."""
    side = len(image)
    padded = np.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    return padded[SHIFT - dy :, SHIFT - dx :][:side, :side]


def parts_of(n: int) -> np.ndarray:
    """Return the part of each of n patches: the first 40 % for training, the last 20 % for the test."""
    first = 2 * n // 5
    return np.repeat(PARTS, [first, first, n - 2 * first])


def as_prepared(images: np.ndarray, labels: np.ndarray, ids: list[str], parts: np.ndarray) -> list[Patches]:
    """Return chunks of patches, as `prepare` gets them. No group is in two parts: pixels alone tell what is planted."""
    found = []
    for part in PARTS:
        at = np.flatnonzero(parts == part)
        for start in range(0, len(at), step := chunk(images.shape[1])):
            some = at[start : start + step]
            names, groups = [ids[place] for place in some], [f"{part}-{place % 5}" for place in some]
            places = np.full((len(some), 2), -1, np.int32)
            found.append(Patches(part, images[some], labels[some].astype(np.uint8), names, groups, places))
    return found


class Planted:
    """Patches of three parts, and planted ones at the end of the test part; none of those with the ids to `avoid`.

    Attributes
    ----------
    before, chunks : of all patches but the planted ones, and of all, as `prepare` gets them.
    equal, near : pairs of ids that are equal when turned, and that show the same but for a shift of up to `SHIFT`
        pixels in either direction; the first is for training or validation.
    conflicts : ids of the planted ones among `equal` that have the other label.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, avoid: Iterable[str] = (), seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        parts = parts_of(len(images))
        ids = [f"{part}-{number}" for number, part in enumerate(parts)]
        tissue = images[..., 1].astype(np.float32).std((1, 2)) > 2 * UNIFORM
        chosen = rng.choice(
            np.flatnonzero(tissue & (parts != "test") & ~np.isin(ids, list(avoid))), EQUAL + NEAR, replace=False
        )
        planted, planted_labels = [], labels[chosen].copy()
        planted_labels[:CONFLICTS] ^= 1
        for number, image in enumerate(images[chosen]):
            dy, dx = 0, 0
            while number >= EQUAL and not (dy or dx):
                dy, dx = rng.integers(-SHIFT, SHIFT + 1, 2)
            planted.append(turn(shifted(image, dy, dx), int(rng.integers(TURNS))))
        names = [f"planted-{number}" for number in range(EQUAL + NEAR)]
        pairs = [(ids[place], name) for place, name in zip(chosen, names, strict=True)]
        self.equal, self.near, self.conflicts = pairs[:EQUAL], pairs[EQUAL:], names[:CONFLICTS]
        self.before = as_prepared(images, labels, ids, parts)
        self.chunks = as_prepared(
            np.concatenate([images, np.stack(planted)]),
            np.concatenate([labels, planted_labels]),
            [*ids, *names],
            np.concatenate([parts, np.full(len(names), "test")]),
        )
