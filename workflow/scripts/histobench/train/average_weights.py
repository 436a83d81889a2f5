"""An exponential moving average of the weights over the steps of training, beside the weights.

Keras's optimizers keep one (`use_ema`), of the weights that they train: not of the statistics of batch norm, which are
moving averages themselves. But `fit` ends with the weights overwritten by it, and an epoch is a `fit` of its own here:
training would go on from the average.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import numpy.typing as npt


def arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by which an optimizer keeps the average that a recipe asks for, none if it asks for none."""
    if "average_weights" not in recipe:
        return {}
    return {"use_ema": True, "ema_momentum": recipe["average_weights"]["momentum"]}


class Averages:
    """The average that an optimizer keeps of the weights of a network, which `fit` leaves alone from now on.

    Parameters
    ----------
    model : compiled, with an optimizer that has the `arguments` of a recipe.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, optimizer = model, model.optimizer
        self._overwrite = optimizer.finalize_variable_values
        # Of the optimizer that `fit` calls, which in mixed precision is one around the other.
        optimizer.finalize_variable_values = lambda variables: None  # noqa: ARG005

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have its average weights for a while."""
        weights = self._model.trainable_variables
        before = _values(weights)
        self._overwrite(weights)
        # Under JAX the weights would share the memory of the averages, which a step gives away.
        _assign(weights, _values(weights))
        try:
            yield
        finally:
            _assign(weights, before)


def _values(variables: list[Any]) -> list[npt.NDArray[Any]]:
    return [np.asarray(variable).copy() for variable in variables]


def _assign(variables: list[Any], values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
