"""What every job does around its work: where it logs, how many threads it takes, how it ends on a user's error."""

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError

log = logging.getLogger("histobench")

# New objects between two garbage collections. Importing TensorFlow makes hundreds of thousands that stay: by Python's
# own 700 they are looked through again and again, which takes a sixth of the import's time.
COLLECT_AFTER = 50_000


def card(snakemake: Any) -> str:
    """Return the card that a job is for, see :func:`histobench.train.hardware.check`; "" for none.

    By the configuration: a profile may ask for cards in a way of its own, and leave the rules' resources empty.
    """
    device = snakemake.config["devices"].get(snakemake.wildcards.get("device"), {})
    return str(device.get("card", device.get("gpu_model", "")))


@contextmanager
def start(snakemake: Any, *, watched: bool = False) -> Iterator[None]:
    """Run the body of a script: its output goes to the rule's log, its threads are the rule's.

    TensorFlow, NumPy and the rest read their thread counts once, when they are imported: import them inside.

    Parameters
    ----------
    snakemake : the object of that name in a script.
    watched : show the script's progress bars on the terminal, where there is one, instead of in the log: for a local
        rule that somebody waits for.
    """
    gc.set_threshold(COLLECT_AFTER)
    threads = str(snakemake.threads)
    os.environ.update(
        OMP_NUM_THREADS=threads,
        OPENBLAS_NUM_THREADS=threads,
        TF_NUM_INTRAOP_THREADS=threads,
        TF_NUM_INTEROP_THREADS=threads,
        TF_CPP_MIN_LOG_LEVEL="1",
        KERAS_BACKEND="tensorflow",
    )
    if card(snakemake):
        # The order in which NVML counts, so that both mean the same card by a number.
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    else:
        # A job that asked for no GPU takes none, even where there is one; TensorFlow calls that an error.
        os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (watched and sys.stderr.isatty()):
        # The descriptors, not sys.stdout: C++ code of TensorFlow writes there, too.
        with path.open("a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    logging.basicConfig(
        level=logging.INFO, filename=path, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for chatty in ("tensorflow", "absl", "h5py", "matplotlib", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        yield
    except HistobenchError as error:
        log.error("%s", error)
        sys.exit(1)
    except SystemExit:
        raise
    except BaseException:
        log.exception("the job failed")
        raise
