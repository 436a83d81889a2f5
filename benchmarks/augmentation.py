"""What augmentation costs on a CPU: patches/s of the layer by XLA and operation by operation, in one run.

    .venv/bin/python benchmarks/augmentation.py

The layer alone, on batches of 32 patches of noise of PCam's size, as training puts it in front of a network.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import common

SIDE, BATCH = 96, 32
SETS = (("d4",), ("d4", "stain"), ("author-b6",), ("d4", "stain-strong", "colour", "blur"))


def rates(threads: int, seconds: float) -> list[tuple[str, float, float]]:
    """Return, by kinds, the patches per second with XLA and without, in this process."""
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads))
    import numpy as np
    import tensorflow as tf

    from histobench.train import augmentation

    images = np.random.default_rng(1).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    shape, found, with_xla = images.shape[1:], [], augmentation.compiled
    for kinds in SETS:
        inputs = [tf.constant(each) for each in (images, *augmentation.draw(kinds, 1, 0, BATCH, shape).values())]
        both = []
        for compiled in (with_xla, lambda function: function):
            augmentation.compiled = compiled
            layer = augmentation.Augmentation(kinds, shape)
            both.append(rate(tf.function(layer), inputs, seconds))
        augmentation.compiled = with_xla
        found.append(("+".join(kinds), *both))
    return found


def rate(layer: Callable[..., Any], inputs: list[Any], seconds: float) -> float:
    """Return the patches per second of a layer, after a first call, which compiles."""
    layer(inputs)
    batches, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        layer(inputs)
        batches += 1
    return batches * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    for kinds, fast, slow in common.measure(rates, given.threads, given.seconds):
        print(f"{kinds}: {fast:,.0f} patches/s; {fast / slow:.1f} times the {slow:,.0f} of one operation after another")


if __name__ == "__main__":
    main()
