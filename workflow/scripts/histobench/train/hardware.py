"""The device of a job: whether it is the one that the run is meant for, and its properties."""

import functools
import os
import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

import keras

from histobench.core.errors import HistobenchError
from histobench.core.job import AMBIENT
from histobench.train import nvml
from histobench.train.keras_backend import BACKEND

# Compute capability of the first cards with TF32 (NVIDIA's Ampere).
TF32_CAPABILITY = (8, 0)

# Of a card's free memory, the share that patches, or features, may take. They are there twice while they are put there,
# and the training needs the rest: PCam's 8.2 GB lie on a card of 40 GB.
DATA_SHARE = 0.25
# Bytes of patches or features that a job on a CPU keeps in memory. The system keeps files there that are read often
# anyway.
CPU_DATA = 512 << 20
# Of a card's free memory, the share that the outputs of all layers may take when a batch is predicted. They are not
# there at the same time.
OUTPUT_SHARE = 0.5
# Multiply-adds of a block of steps without Python between them: some ms on a card, some 10 ms on a CPU.
CARD_BLOCK, CPU_BLOCK = 1e12, 1e9


class Machine(NamedTuple):
    """What the device of a job can take. No result depends on it.

    Attributes
    ----------
    data_bytes : of patches or features that may lie on the device.
    block_multiply_adds : in a block of steps without Python between them.
    output_bytes : of the outputs of all layers when a batch is predicted; None on a CPU, and where it is unknown.
    """

    data_bytes: int = CPU_DATA
    block_multiply_adds: float = CPU_BLOCK
    output_bytes: int | None = None


@functools.cache
def machine(card: str) -> Machine:
    """Return what the device of this job can take; `card` is "" for a CPU.

    To be called before anything is computed: TensorFlow then takes most of a card's memory for itself.
    """
    if not card:
        return Machine()
    free = _free_memory()
    if not free:
        return Machine(0, CARD_BLOCK)
    return Machine(int(DATA_SHARE * free), CARD_BLOCK, int(OUTPUT_SHARE * free))


def _free_memory() -> int | None:
    """Return the bytes of the card's memory that the backend can still fill, None if unknown."""
    if BACKEND != "jax":
        return nvml.free_memory()
    import jax

    # JAX has taken its share of the card as soon as it was asked for its devices.
    statistics = jax.local_devices()[0].memory_stats()
    return int(statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0)) if statistics else None


def devices() -> list[str]:
    """Return the names of the GPUs that Keras's backend sees; empty on a CPU."""
    if BACKEND == "jax":
        import jax

        return [gpu.device_kind for gpu in jax.devices() if gpu.platform == "gpu"]
    from tensorflow import config  # Keras has no function for it in both versions

    details = [config.experimental.get_device_details(gpu) for gpu in config.list_physical_devices("GPU")]
    return [str(detail.get("device_name", "unknown GPU")) for detail in details]


def is_card(card: str, name: str) -> bool:
    """Return whether the name of a GPU contains that of a card.

    Parameters
    ----------
    card : name used by a scheduler or a user, such as "a100" or "rtx_6000".
    name : name given by the driver, such as "NVIDIA A100-SXM4-40GB" or "Quadro RTX 6000".

    Notes
    -----
    The words and numbers of `card` must follow each other in `name`: an A1000 is no A100, an RTX A6000 no RTX 6000.
    """
    wanted, given = (re.findall(r"[a-z]+|\d+", text.lower()) for text in (card, name))
    return any(given[start : start + len(wanted)] == wanted for start in range(len(given)))


def check(device: str, card: str) -> None:
    """Raise an error if a run is meant for a device with a card, see :func:`is_card`, that is not in this machine."""
    names = devices() if card else []
    if card and not any(is_card(card, name) for name in names):
        raise HistobenchError(
            f"this run is for the device {device!r} (card {card}), found on {node()}: {', '.join(names) or 'no GPU'}. "
            "Run it where there is such a card, or choose `devices: [cpu]` in the matrix; if the card is the right one "
            f"by another name, set `devices.{device}.card` to a part of that name"
        )


def describe(card: str) -> dict[str, Any]:
    """Return the properties of the machine for ``run.json``; `card` is "" for a job on a CPU.

    Returns
    -------
    gpu : name of the card; None on a CPU.
    ... : on a GPU, see :func:`histobench.train.nvml.describe`.
    tf32 : whether float32 is multiplied in TF32; None on a CPU and on cards without TF32.
    processor, node, platform, slurm_job : of the machine and the job.
    """
    names = devices() if card else []
    properties = nvml.describe() if names else {}
    return {
        "gpu": names[0] if names else None,
        **properties,
        "tf32": _tf32(properties.get("compute_capability")),
        "processor": _processor(),
        "node": node(),
        "platform": platform.platform(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def settings() -> dict[str, Any]:
    """Return the settings of Keras and its backend that a result depends on, as they hold in this process.

    Returns
    -------
    backend, floatx, image_data_format, epsilon : of Keras.
    max_epochs, max_steps_per_epoch : Keras's limits for any training; None without one.
    deterministic_ops : whether TensorFlow chooses deterministic kernels alone; None under another backend.
    environment : the environment variables that :func:`histobench.core.job.pin` has set.
    """
    backend, limits = keras.backend, getattr(keras, "config", None)
    return {
        "backend": backend.backend(),
        "floatx": backend.floatx(),
        "image_data_format": backend.image_data_format(),
        "epsilon": backend.epsilon(),
        **{name: getattr(limits, name, lambda: None)() for name in ("max_epochs", "max_steps_per_epoch")},
        "deterministic_ops": _deterministic_ops(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if AMBIENT.fullmatch(name)},
    }


def peak_memory_mib(card: str) -> int | None:
    """Return the peak of the backend's memory on the card so far, in MiB; None on a CPU."""
    if not card:
        return None
    if BACKEND == "jax":
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        return statistics["peak_bytes_in_use"] // 2**20 if "peak_bytes_in_use" in statistics else None
    from tensorflow import config

    try:
        return int(config.experimental.get_memory_info("GPU:0")["peak"]) // 2**20
    except ValueError:  # no such device, or no memory info
        return None


def node() -> str:
    """Return the name of this machine, on a node of SLURM its name there."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def _tf32(capability: str | None) -> bool | None:
    if capability is None or tuple(map(int, capability.split("."))) < TF32_CAPABILITY:
        return None
    if BACKEND == "jax":
        import jax

        # Its default on a card is TF32, where there is TF32.
        precision = jax.config.values["jax_default_matmul_precision"]
        return precision in (None, "default", "fastest", "tensorfloat32")
    from tensorflow import config

    return bool(config.experimental.tensor_float_32_execution_enabled())


def _deterministic_ops() -> bool | None:
    if BACKEND != "tensorflow":
        return None
    from tensorflow.python.framework import config  # there is no public function

    return bool(config.is_op_determinism_enabled())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
