"""Which weights of a CNN a step of training has moved."""

import numpy as np


def values(model):
    return {variable.path: np.array(variable) for variable in model.weights}


def moved(before, after):
    return {path for path, value in before.items() if not np.array_equal(value, after[path])}
