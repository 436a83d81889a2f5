"""What an entry of `devices` in the configuration says of the jobs on a device."""

from collections.abc import Mapping
from typing import Any

# Keras's backend, if it is not TensorFlow, by the first word of the names of its environments in `envs/`.
BACKENDS = {"jax": "jax"}


def card(device: Mapping[str, Any]) -> str:
    """Return the card that jobs are for, see :func:`histobench.train.hardware.is_card`; "" for a CPU."""
    return str(device.get("card", device.get("gpu_model", "")))


def environment(device: Mapping[str, Any]) -> str:
    """Return the environment of jobs: a file in `envs/`, without its suffix."""
    return str(device.get("environment", "tensorflow"))


def backend(device: Mapping[str, Any]) -> str:
    """Return Keras's backend in the environment of jobs; "jax-site" has that of "jax"."""
    return BACKENDS.get(environment(device).partition("-")[0], "tensorflow")
