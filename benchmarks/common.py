"""What the benchmarks share: the library on the path, simulated patches, and jobs in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))

from histobench.core.formats import FORMATS

PCAM = FORMATS["pcam"]
# Before TensorFlow is imported, here or in a job: as the workflow sets it for a CPU.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")

# Of a split; fewer where it has few patches.
SLIDES = {"train": 40, "valid": 10, "test": 10}


def simulate(folder: Path, counts: dict[str, int]) -> None:
    """Write simulated patches as PCam's files."""
    from histobench.core import simulation

    slides = {split: min(most, counts[split] // 2) for split, most in SLIDES.items()}
    simulation.write_pcam(folder, counts, slides, seed=1)


def prepare(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Prepare simulated patches as the workflow does."""
    from histobench.core import datasets
    from histobench.core.formats import Dataset, Source
    from histobench.train import records

    upstream = Source("pcam", "pcam", str(source), PCAM.files, counts, PCAM.shares, PCAM.patch_size, "simulated")
    dataset, tally = Dataset("pcam", upstream, "published"), datasets.Tally()
    about = {"dataset": "pcam", "format": "pcam", "patches_are": "simulated", "split": "published", "leaky": False}
    records.write(target, datasets.read(dataset, Path(), tally), tally, about)


def measure(*job: str | Path) -> Any:
    """Run this benchmark again with the same options and one job, in a process of its own; return what it measured."""
    command = [sys.executable, *sys.argv, "--job", *map(str, job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
