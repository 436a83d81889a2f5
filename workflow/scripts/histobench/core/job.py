"""The start of every job: its settings, its log, and its end after an error that a user can correct."""

import gc
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from histobench.core import devices
from histobench.core.errors import for_user

log = logging.getLogger("histobench")

# New objects between two garbage collections. The import of TensorFlow creates hundreds of thousands of objects that
# stay; with Python's default of 700, collections would take a sixth of its time.
COLLECT_AFTER = 50_000

# Variables by which a user's shell or a site's modules would change what libraries compute: the backend, limits of
# epochs and steps, TF32, XLA, determinism, kernels for other processors, threads.
AMBIENT = re.compile(
    r"(KERAS|TF_|JAX_|XLA_|NPROC$|NVIDIA_TF32|CUDNN_|CUBLAS|ONEDNN_|DNNL_|MKL_|OMP_|GOMP_|KMP_|OPENBLAS_|NPY_|HDF5_USE).*"
)
# Of these, the ones that say how memory is taken, which no result depends on and a shared card may need.
OF_THE_SITE = {
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    *("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_ALLOCATOR"),
}
# Of XLA_FLAGS, where CUDA is installed.
CUDA_PLACE = re.compile(r"--xla_gpu_cuda_data_dir=\S+")


# Resources of Snakemake that are recorded.
REQUESTED = ("runtime", "mem_mb")
# Environment variable: the heads that a job of the scheduler is to train, as JSON; see `heads_beside`.
HEADS = "HISTOBENCH_HEADS"


@dataclass(frozen=True)
class Task:
    """What a job that extracts features, searches, trains or predicts is to work with.

    Attributes
    ----------
    spec : specification of the features, search or run, see :class:`histobench.core.study.Study`.
    data : folder of the prepared data set.
    features : folder of cached features to work on; None to work on patches.
    weights : file of weights to start from: those of the pretrained backbone, in prediction those of the run. None for
        random weights, and to train a head on cached features.
    tuned : file with the keys of the recipe that a search has set, see :mod:`histobench.tuning.tuned_recipe`; None if
        the recipe has no search.
    code : digest of the code that the result depends on.
    threads : CPU threads of the job, on which the last bits of the result depend.
    card : the card that the job is for, see :func:`histobench.train.hardware.check`; "" for a CPU.
    requested : time (`runtime`, minutes) and memory (`mem_mb`) that this try of the job has asked for. No result
        depends on them.
    """

    spec: dict[str, Any]
    data: Path
    features: Path | None = None
    weights: Path | None = None
    tuned: Path | None = None
    code: str = ""
    threads: int = 1
    card: str = ""
    requested: dict[str, int] = field(default_factory=dict)


def task(snakemake: Any) -> Task:
    """Return the task of a script."""

    def first(name: str) -> Path | None:
        files = snakemake.input.get(name)
        return Path(files if isinstance(files, str) else files[0]) if files else None

    features = first("features")
    return Task(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        features=features.parent if features else None,
        weights=first("weights"),
        tuned=first("tuned"),
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=devices.card(device(snakemake)),
        requested={name: value for name in REQUESTED if (value := snakemake.resources.get(name)) is not None},
    )


def heads_beside(task: Task, folder: Path) -> list[tuple[Task, Path]]:
    """Return the other heads, and their run folders, that the same job of the scheduler trains on the same features.

    `HEADS` holds them, and the head itself: the specification, the folder, the data set and the features of each.
    """
    return [
        (replace(task, spec=head["spec"], data=Path(head["data"])), Path(head["folder"]))
        for head in json.loads(os.environ.get(HEADS, "[]"))
        if task.features == Path(head["features"]) and folder != Path(head["folder"])
    ]


def device(snakemake: Any) -> dict[str, Any]:
    """Return what the configuration says of the device that a job is for; nothing for a job that has none.

    The rule's resources do not tell it: a profile may leave them empty.
    """
    found: dict[str, Any] = snakemake.config["devices"].get(snakemake.wildcards.get("device"), {})
    return found


def pin(threads: int, card: str, backend: str = "tensorflow") -> list[str]:
    """Set the environment so that what a job computes depends on the configuration alone, whoever starts it.

    TensorFlow, JAX, NumPy, h5py and other libraries read these variables when they are imported, so import them
    afterwards. Keras reads no ``keras.json``: its types, data format and epsilon are its defaults.

    Parameters
    ----------
    threads : CPU threads of the job, on which the last bits of a result depend.
    card : the card that the job is for; "" for a CPU.
    backend : of Keras.

    Returns
    -------
    names of the variables that were set otherwise and count for nothing, by which results would differ.
    """
    before = {name: value for name, value in os.environ.items() if AMBIENT.fullmatch(name) and name not in OF_THE_SITE}
    for name in before:
        del os.environ[name]
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        OPENBLAS_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        TF_NUM_INTEROP_THREADS=str(threads),
        TF_CPP_MIN_LOG_LEVEL="1",
        # JAX's threads on a CPU.
        NPROC=str(threads),
        KERAS_BACKEND=backend,
        # No folder, so Keras neither reads a keras.json nor writes one.
        KERAS_HOME=os.devnull,
        # Some network file systems have no locks, and the lease sees to it that no two jobs write one file.
        HDF5_USE_FILE_LOCKING="FALSE",
        # A notebook's shell names a backend that a job does not have.
        MPLBACKEND="agg",
    )
    if place := CUDA_PLACE.search(before.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = place[0]
    if card:
        # CUDA then numbers the cards as NVML does.
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    else:
        # A job without a GPU must not use one that is there. TensorFlow reports this as an error, which is hidden here.
        os.environ.update(CUDA_VISIBLE_DEVICES="-1", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")
    return sorted(name for name, value in before.items() if os.environ.get(name) != value and "LOG_LEVEL" not in name)


@contextmanager
def start(snakemake: Any, *, watched: bool = False) -> Iterator[None]:
    """Run the body of a script with its output in the rule's log and with the settings of :func:`pin`.

    Where it is `watched`, as local rules may be, progress bars show on the terminal, if there is one, not in the log.
    """
    gc.set_threshold(COLLECT_AFTER)
    own = device(snakemake)
    ignored = pin(snakemake.threads, devices.card(own), devices.backend(own))
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (watched and sys.stderr.isatty()):
        # The file descriptors instead of sys.stdout, since TensorFlow's C++ code writes to them, too.
        with path.open("a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    logging.basicConfig(
        level=logging.INFO, filename=path, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for chatty in ("tensorflow", "jax", "absl", "h5py", "matplotlib", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if ignored:
        log.info("set in the environment, but not heeded, since results would depend on it: %s", ", ".join(ignored))
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if known := for_user(error):
            log.error("%s", known)
            sys.exit(1)
        log.exception("the job failed")
        raise
