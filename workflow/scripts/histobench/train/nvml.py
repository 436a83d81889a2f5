"""What the driver of an NVIDIA card says of it, by NVML. Nothing here ever stops a job: what a card lacks is None."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def _ask(question: Callable[[Any, Any], T]) -> T | None:
    """Return the answer to a question about the card of this job; None if there is no card or it does not know.

    Parameters
    ----------
    question : takes the module ``pynvml`` and the handle of the card.
    """
    # As SLURM or a user chose it: numbers, or UUIDs of cards or of their slices, the first of which TensorFlow takes.
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
    except pynvml.NVMLError:  # NotSupported, for the most part: older cards count no energy, for instance
        return None
    finally:
        pynvml.nvmlShutdown()


def energy() -> float | None:
    """Return the energy that the card has taken since its driver was loaded, J: Volta and newer have a counter."""
    return _ask(lambda nvml, card: nvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1000)


def describe() -> dict[str, Any]:
    """Return what the driver says of the card: each None where it says nothing.

    Returns
    -------
    driver, cuda : its version, and that of the newest CUDA that it runs, texts.
    compute_capability : a text, such as "8.0".
    memory_mib : of the card, MiB.
    sm_mhz, sm_max_mhz, memory_mhz, memory_max_mhz : clocks when asked, and the highest, of processors and memory.
    power_limit_watts : that is in force.
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
