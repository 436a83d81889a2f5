"""Random state of the generators in a model, as a function of (seed, epoch)."""

from typing import Any

import keras
import numpy as np

from histobench.train.keras_backend import KERAS_2


def reseed(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set each generator in the model (dropout, drop-connect) by seed, epoch and its position in the model.

    Keras does not save the states of generators, so a resumed run would otherwise draw other masks.
    """
    for place, generator in enumerate(_generators(model)):
        draws = np.random.default_rng([seed, epoch, place]).integers(0, 2**31, 2)
        if KERAS_2:
            generator.reset_from_seed(int(draws[0]))
        else:
            generator.assign(draws.astype(generator.dtype))


def _generators(model: "keras.Model") -> list[Any]:
    """Return the generators of TensorFlow (Keras 2), or the variables with the states of generators (Keras 3)."""
    if KERAS_2:
        layers = [layer for layer in model._flatten_layers() if hasattr(layer, "_random_generator")]
        return [layer._random_generator._generator for layer in layers]
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
