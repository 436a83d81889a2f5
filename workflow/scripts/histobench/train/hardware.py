"""The device that a run finds, held against the one that it was meant for."""

import os
import platform
from pathlib import Path
from typing import Any

import keras

from histobench.errors import HistobenchError


def devices() -> list[str]:
    """Return the names of the GPUs that the backend sees; empty on a CPU."""
    if keras.backend.backend() != "tensorflow":
        raise HistobenchError(f"KERAS_BACKEND is {keras.backend.backend()!r}; histobench trains with tensorflow")
    from tensorflow import config  # the one question that Keras cannot answer in both of its versions

    details = [config.experimental.get_device_details(gpu) for gpu in config.list_physical_devices("GPU")]
    return [str(detail.get("device_name", "unknown GPU")) for detail in details]


def check(device: str, gpu_model: str) -> None:
    """Stop at once where a run meant for a GPU finds none, or another model.

    Parameters
    ----------
    device : the device's name in the configuration.
    gpu_model : the card as the scheduler names it, "" for a CPU.
    """
    found = devices() if gpu_model else []
    if gpu_model and not any(gpu_model.lower() in name.lower() for name in found):
        raise HistobenchError(
            f"this run is for the device {device!r} (gpu_model {gpu_model}), found on {platform.node()}: "
            f"{', '.join(found) or 'no GPU'}. Run it where there is one, or choose `devices: [cpu]` in the matrix"
        )


def describe(gpu_model: str) -> dict[str, Any]:
    """Return what a reader needs to know of the machine: card or processor, node, job."""
    found = devices() if gpu_model else []
    return {
        "gpu": found[0] if found else None,
        "processor": _processor(),
        "node": platform.node(),
        "platform": platform.platform(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
