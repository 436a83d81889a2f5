"""Random state as a function of (seed, epoch), for every generator that a model holds."""

import keras
import numpy as np


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and the backend, so that fresh weights depend on `seed` alone."""
    keras.utils.set_random_seed(seed)


def reseed(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set every generator inside the model (dropout, drop-connect, augmentation) by (seed, epoch, its place).

    Without this a resumed run would draw other masks than an uninterrupted one: Keras saves no generator's state.
    """
    generators = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for place, variable in enumerate(generators):
        variable.assign(np.random.default_rng([seed, epoch, place]).integers(0, 2**31, 2).astype(variable.dtype))
