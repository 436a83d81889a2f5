"""What the classes of the Keras that runs say of themselves."""

import inspect

import keras

from histobench.core.optimizers import EXCLUDED


def signatures() -> dict[str, dict]:
    """Return the classes with a learning rate, and the defaults of their arguments, as `core.optimizers.classes`."""
    found = {}
    for name, value in vars(keras.optimizers).items():
        if inspect.isclass(value) and "learning_rate" in (arguments := inspect.signature(value).parameters):
            defaults = {key: argument.default for key, argument in arguments.items()}
            found[name.lower()] = {key: defaults[key] for key in defaults if key not in ("name", "kwargs", *EXCLUDED)}
    return found
