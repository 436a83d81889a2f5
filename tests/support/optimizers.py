"""What the classes of the Keras that runs say of themselves."""

import inspect

import keras

from histobench.core.optimizers import EXCLUDED


def signatures() -> dict[str, list[str]]:
    """Return the classes with a learning rate and the names of their arguments, as :func:`core.optimizers.classes`."""
    found = {}
    for name, value in vars(keras.optimizers).items():
        if inspect.isclass(value) and "learning_rate" in (arguments := inspect.signature(value).parameters):
            found[name.lower()] = [key for key in arguments if key not in ("name", "kwargs", *EXCLUDED)]
    return found
