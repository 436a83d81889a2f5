"""Properties of an NVIDIA card by NVML. They are None if they are not available, so a job never fails here."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def _ask(question: Callable[[Any, Any], T]) -> T | None:
    """Return what `question` answers, given the module ``pynvml`` and the card of this job; None if there is none."""
    # Set by SLURM or the user: numbers, or UUIDs of cards or of their slices. TensorFlow takes the first one.
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if chosen in ("", "-1"):
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return None
    try:
        by_number = chosen.isdecimal()
        card = pynvml.nvmlDeviceGetHandleByIndex(int(chosen)) if by_number else pynvml.nvmlDeviceGetHandleByUUID(chosen)
        return question(pynvml, card)
    except pynvml.NVMLError:  # usually NotSupported; older cards do not measure energy, for instance
        return None
    finally:
        pynvml.nvmlShutdown()


def energy() -> float | None:
    """Return the energy in J that the card has used since its driver was loaded (Volta and newer)."""
    return _ask(lambda nvml, card: nvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1000)


def free_memory() -> int | None:
    """Return the bytes of the card's memory that nobody has taken."""
    return _ask(lambda nvml, card: int(nvml.nvmlDeviceGetMemoryInfo(card).free))


def describe() -> dict[str, Any]:
    """Return the properties of the card, each None if unknown.

    Returns
    -------
    driver, cuda : versions of the driver and of the newest CUDA that it supports.
    compute_capability : such as "8.0".
    memory_mib : memory of the card in MiB.
    sm_mhz, sm_max_mhz, memory_mhz, memory_max_mhz : present and highest clock rates of processors and memory.
    power_limit_watts : the power limit in force.
    """
    return {name: _ask(question) for name, question in _FACTS.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cuda(nvml: Any, card: Any) -> str:  # noqa: ARG001
    version = nvml.nvmlSystemGetCudaDriverVersion_v2()  # 12040 for 12.4
    return f"{version // 1000}.{version % 1000 // 10}"


_FACTS: dict[str, Callable[[Any, Any], Any]] = {
    "driver": lambda nvml, _: _text(nvml.nvmlSystemGetDriverVersion()),
    "cuda": _cuda,
    "compute_capability": lambda nvml, card: ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(card))),
    "memory_mib": lambda nvml, card: nvml.nvmlDeviceGetMemoryInfo(card).total // 2**20,
    "sm_mhz": lambda nvml, card: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
    "sm_max_mhz": lambda nvml, card: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_SM),
    "memory_mhz": lambda nvml, card: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
    "memory_max_mhz": lambda nvml, card: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_MEM),
    "power_limit_watts": lambda nvml, card: nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000,
}
