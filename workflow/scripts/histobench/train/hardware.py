"""The device that a run finds, held against the one that it was meant for."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import keras

from histobench.core.errors import HistobenchError
from histobench.train import nvml

# The first whose tensor cores know TF32 (NVIDIA's Ampere).
TF32_CAPABILITY = (8, 0)


def devices() -> list[str]:
    """Return the names of the GPUs that the backend sees; empty on a CPU."""
    if keras.backend.backend() != "tensorflow":
        raise HistobenchError(f"KERAS_BACKEND is {keras.backend.backend()!r}; histobench trains with tensorflow")
    from tensorflow import config  # the one question that Keras cannot answer in both of its versions

    details = [config.experimental.get_device_details(gpu) for gpu in config.list_physical_devices("GPU")]
    return [str(detail.get("device_name", "unknown GPU")) for detail in details]


def is_card(card: str, found: str) -> bool:
    """Say whether a card that was found is the one that was meant.

    Parameters
    ----------
    card : as a scheduler or a user calls it, "a100" or "rtx_6000".
    found : as its driver does, "NVIDIA A100-SXM4-40GB" or "Quadro RTX 6000".

    Notes
    -----
    Words and numbers of the one must follow each other in the other: an A1000 is no A100, an RTX A6000 no RTX 6000.
    """
    meant, named = (re.findall(r"[a-z]+|\d+", name.lower()) for name in (card, found))
    return any(named[start : start + len(meant)] == meant for start in range(len(named)))


def check(device: str, card: str) -> None:
    """Stop at once where a run meant for a GPU finds none, or another model.

    Parameters
    ----------
    device : the device's name in the configuration.
    card : what the card is called, see :func:`is_card`; "" for a CPU.
    """
    found = devices() if card else []
    if card and not any(is_card(card, name) for name in found):
        raise HistobenchError(
            f"this run is for the device {device!r} (card {card}), found on {node()}: {', '.join(found) or 'no GPU'}. "
            "Run it where there is one, or choose `devices: [cpu]` in the matrix; if it is the right one by another "
            f"name, say a part of that in `devices.{device}.card`"
        )


def describe(card: str) -> dict[str, Any]:
    """Return what a reader needs to know of the machine: card or processor, node, job.

    Parameters
    ----------
    card : see :func:`check`.

    Returns
    -------
    gpu : the card's name, and what :func:`histobench.train.nvml.describe` says of it; None on a CPU.
    tf32 : whether float32 was multiplied in TF32; None on a card that does not know it, and on a CPU.
    processor, node, platform, slurm_job : of the machine.
    """
    found = devices() if card else []
    of_card = nvml.describe() if found else {}
    return {
        "gpu": found[0] if found else None,
        **of_card,
        "tf32": _tf32(of_card.get("compute_capability")),
        "processor": _processor(),
        "node": node(),
        "platform": platform.platform(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def peak_memory_mib(card: str) -> int | None:
    """Return the most memory that TensorFlow has held on the card so far, MiB; None on a CPU."""
    if not card:
        return None
    from tensorflow import config

    try:
        return int(config.experimental.get_memory_info("GPU:0")["peak"]) // 2**20
    except ValueError:  # there is no such device, or it does not tell
        return None


def node() -> str:
    """Return the name of this machine, as SLURM calls it where it is one of its nodes."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def _tf32(capability: str | None) -> bool | None:
    if capability is None or tuple(map(int, capability.split("."))) < TF32_CAPABILITY:
        return None
    from tensorflow import config

    return bool(config.experimental.tensor_float_32_execution_enabled())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
