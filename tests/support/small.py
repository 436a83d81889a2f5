"""Small patches that have something to learn."""

import numpy as np

from histobench.datasets import Patches

SHAPE = (40, 40, 3)
COUNTS = {"train": 70, "valid": 24, "test": 30}


def patches(split: str, n: int, seed: int, shape=SHAPE) -> Patches:
    """Patches whose label shows in the green channel, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.uint8)
    images = rng.integers(0, 200, (n, *shape), dtype=np.uint8)
    images[..., 1] += (labels * 50)[:, None, None]
    ids = [f"{split}-{i}" for i in range(n)]
    return Patches(split, images, labels, ids, [f"{split}{i % 5}" for i in range(n)], np.full((n, 2), -1, np.int32))
