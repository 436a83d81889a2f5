"""What the benchmarks share: the library and the tests' own modules on the path, and jobs in processes of their own."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]
# Before TensorFlow is imported, here or in a job: as the workflow sets it for a CPU.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")


def _be_silent() -> None:
    """Keep TensorFlow's banner and bars away from the table; an error comes back as an exception."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def measure(job: Callable[..., Any], *arguments: Any) -> Any:
    """Do a job in a fresh process; return what it measured."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_be_silent) as process:
        return process.submit(job, *arguments).result()
