"""Random state as a function of (seed, epoch), for every generator that a model holds."""

from typing import Any

import keras
import numpy as np

KERAS_2 = keras.__version__.startswith("2.")
if KERAS_2:
    # Else its dropout draws from operations of TensorFlow that keep their state to themselves.
    keras.backend.experimental.enable_tf_random_generator()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and the backend, so that fresh weights depend on `seed` alone."""
    keras.utils.set_random_seed(seed)


def reseed(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set every generator inside the model (dropout, drop-connect, augmentation) by (seed, epoch, its place).

    Without this a resumed run would draw other masks than an uninterrupted one: Keras saves no generator's state.
    """
    for place, generator in enumerate(_generators(model)):
        draws = np.random.default_rng([seed, epoch, place]).integers(0, 2**31, 2)
        if KERAS_2:
            generator.reset_from_seed(int(draws[0]))
        else:
            generator.assign(draws.astype(generator.dtype))


def _generators(model: "keras.Model") -> list[Any]:
    """Return what holds the state of the model's generators: of TensorFlow in Keras 2, variables in Keras 3."""
    if KERAS_2:
        layers = [layer for layer in model._flatten_layers() if hasattr(layer, "_random_generator")]
        return [layer._random_generator._generator for layer in layers]
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
