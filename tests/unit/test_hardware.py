"""A run refuses another card than the one it is meant for, and records the properties of its card."""

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import devices, job
from histobench.core.errors import HistobenchError
from histobench.train import hardware, nvml


@pytest.mark.parametrize(
    ("card", "name", "same"),
    [
        ("a100", "NVIDIA A100-SXM4-40GB", True),
        ("a100", "NVIDIA A100 80GB PCIe", True),
        ("nvidia_a100_80gb_pcie", "NVIDIA A100 80GB PCIe", True),
        ("k80", "Tesla K80", True),
        ("p100", "Tesla P100-PCIE-16GB", True),
        ("v100", "Tesla V100-SXM2-32GB", True),
        ("rtx_6000", "Quadro RTX 6000", True),
        ("a100", "NVIDIA RTX A1000", False),
        ("a10", "NVIDIA A100-SXM4-40GB", False),
        ("rtx_6000", "NVIDIA RTX A6000", False),
        ("v100", "NVIDIA A100-SXM4-40GB", False),
        ("h100", "NVIDIA H200", False),
    ],
)
def test_cards_by_the_names_of_schedulers_and_drivers(card, name, same):
    assert hardware.is_card(card, name) is same


@given(st.from_regex(r"[A-Za-z]{1,4}[0-9]{1,4}", fullmatch=True), st.sampled_from("0123456789"))
def test_a_card_is_itself_and_none_whose_number_goes_on(card, digit):
    assert hardware.is_card(card, f"NVIDIA {card.upper()}-SXM")
    assert not hardware.is_card(card, f"NVIDIA {card}{digit}")


@pytest.mark.parametrize(("names", "listed"), [([], "no GPU"), (["Tesla V100", "Tesla K80"], "Tesla V100, Tesla K80")])
def test_another_card_is_named_with_the_node(monkeypatch, names, listed):
    monkeypatch.setattr(hardware, "devices", lambda: names)
    monkeypatch.setenv("SLURMD_NODENAME", "node17")
    with pytest.raises(HistobenchError, match=rf"device 'a100' \(card a100\), found on node17: {listed}\."):
        hardware.check("a100", "a100")
    hardware.check("cpu", "")  # which needs none


def test_the_right_card(monkeypatch):
    monkeypatch.setattr(hardware, "devices", lambda: ["NVIDIA A100-SXM4-40GB"])
    hardware.check("a100", "a100")


CARDS = {"devices": {"cpu": {}, "a100": {"gpu_model": "a100"}, "slice": {"gpu_model": "a100_1g.5gb", "card": "MIG"}}}


@pytest.mark.parametrize(
    ("wildcards", "card"),
    [({"device": "cpu"}, ""), ({"device": "a100"}, "a100"), ({"device": "slice"}, "MIG"), ({}, "")],
)
def test_the_card_of_a_job_is_that_of_the_configuration(wildcards, card):
    """Not that of its resources, which profiles/slurm-gres leaves empty."""
    snakemake = SimpleNamespace(config=CARDS, wildcards=wildcards, resources={"gpu": 0, "gpu_model": ""})
    assert devices.card(job.device(snakemake)) == card


@pytest.mark.parametrize("statistics", [{"bytes_limit": 60 << 30, "bytes_in_use": 20 << 30}, None])
def test_of_what_jax_has_taken_of_a_card_it_knows_what_is_free(monkeypatch, statistics):
    """The driver would call it taken."""
    gpu = SimpleNamespace(memory_stats=lambda: statistics)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=lambda: [gpu]))
    monkeypatch.setattr(hardware, "BACKEND", "jax")
    monkeypatch.setattr(nvml, "free_memory", lambda: 1)
    machine = hardware.machine.__wrapped__("a100")
    assert machine.data_bytes == (hardware.DATA_SHARE * (40 << 30) if statistics else 0)
    # A card whose memory is unknown is not one without any: batches of two patches would be slow.
    assert machine.output_bytes == (hardware.OUTPUT_SHARE * (40 << 30) if statistics else None)


class NVMLError(Exception):
    """As in nvidia-ml-py."""


@pytest.fixture
def driver(monkeypatch):
    """NVML as nvidia-ml-py offers it, with two cards; `lacks` tells it which functions the driver does not support."""
    opened: list[bool] = []
    functions = {
        "nvmlInit": lambda: opened.append(True),
        "nvmlShutdown": opened.pop,
        "nvmlDeviceGetHandleByIndex": ("GPU-0000", "GPU-1111").__getitem__,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetTotalEnergyConsumption": {"GPU-0000": 1_500, "GPU-1111": 2_250_000}.__getitem__,
        "nvmlSystemGetDriverVersion": lambda: b"535.161.08",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12020,
        "nvmlDeviceGetCudaComputeCapability": lambda card: [8, 0],
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=40 * 2**30),
        "nvmlDeviceGetClockInfo": lambda card, clock: {1: 1095, 2: 1215}[clock],
        "nvmlDeviceGetMaxClockInfo": lambda card, clock: {1: 1410, 2: 1215}[clock],
        "nvmlDeviceGetEnforcedPowerLimit": lambda card: 400_000,
    }

    def refuse(*_):
        raise NVMLError("Not Supported")

    constants = {"NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVMLError": NVMLError, "opened": opened}
    nvml = SimpleNamespace(**functions, **constants)
    nvml.lacks = lambda *names: vars(nvml).update(dict.fromkeys(names, refuse))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return nvml


FACTS = {
    "driver": "535.161.08", "cuda": "12.2", "compute_capability": "8.0", "memory_mib": 40960,
    "sm_mhz": 1095, "sm_max_mhz": 1410, "memory_mhz": 1215, "memory_max_mhz": 1215, "power_limit_watts": 400,
}  # fmt: skip


def test_what_the_driver_says(driver):
    assert nvml.describe() == FACTS
    assert driver.opened == []  # as often closed as opened


def test_what_an_old_card_does_not_know_is_left_open(driver):
    driver.lacks("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetTotalEnergyConsumption")
    assert nvml.describe() == FACTS | {"power_limit_watts": None}
    assert nvml.energy() is None


@pytest.mark.parametrize(
    ("chosen", "joules"), [("0", 1.5), ("1,0", 2250), ("GPU-1111", 2250), ("-1", None), ("", None), (None, 1.5)]
)
def test_the_card_that_is_asked_is_the_one_that_was_chosen(driver, monkeypatch, chosen, joules):
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert nvml.energy() == joules


def test_without_a_driver_nothing_is_known(driver):
    driver.lacks("nvmlInit")
    assert set(nvml.describe().values()) == {None}
    assert nvml.energy() is None


@pytest.mark.parametrize(("capability", "tf32"), [([8, 0], True), ([9, 0], True), ([7, 0], None)])
def test_tf32_is_told_of_cards_that_know_it(driver, monkeypatch, capability, tf32):
    driver.nvmlDeviceGetCudaComputeCapability = lambda card: capability
    monkeypatch.setattr(hardware, "devices", lambda: ["NVIDIA A100-SXM4-40GB"])
    assert hardware.describe("a100")["tf32"] is tf32


def test_on_a_cpu_nothing_is_said_of_a_card(driver):
    about = hardware.describe("")
    assert (about["gpu"], about["tf32"]) == (None, None)
    assert "driver" not in about
    assert about["processor"]
    assert hardware.peak_memory_mib("") is None
