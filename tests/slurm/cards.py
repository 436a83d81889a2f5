"""Cards for jobs on a SLURM without any: the end of `histobench/train/hardware.py` in the clone of the tests.

What `devices` would hear from TensorFlow is made up from the node that SLURM chose, if SLURM gave the job a card on it.
Everything else is the product's own.
"""

import os

NAMES = {
    "k80": "Tesla K80",
    "p100": "Tesla P100-PCIE-16GB",
    "v100": "Tesla V100-SXM2-16GB",
    "a100": "NVIDIA A100-SXM4-40GB",
    "rtx_6000": "Quadro RTX 6000",
}


def devices() -> list[str]:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "-1") in ("", "-1", "NoDevFiles"):
        return []
    node = os.environ.get("HISTOBENCH_TEST_CARD") or os.environ["SLURMD_NODENAME"]
    return [f"{NAMES[node]} (a test's stand-in)"]
