"""Fixtures that tests of several folders share, and the tier of each test, see docs/architecture.md."""

import fcntl
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("support")

from histobench.core.job import COLLECT_AFTER  # noqa: E402
from support.processes import STARTED  # noqa: E402
from support.project import ROOT  # noqa: E402
from support.small import COUNTS, prepare  # noqa: E402

# As the rules' scripts set it; tests that import TensorFlow in this process want no banner either. One thread each: two
# processes of tests share two cores.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
    CUDA_VISIBLE_DEVICES="-1",
)
# By `make test` that runs these tests, which the makes that they start would take for their parent.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)
gc.set_threshold(COLLECT_AFTER)
# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


# The file that makes the tiny study comes first, the others that need it after those that do not, and the short ones
# last, so that both processes end together.
LONG_UNITS = ("unit/test_transfer", "unit/test_twelve")
ORDER = ("workflow/test_study.py", "faults/", "workflow/", *LONG_UNITS, "browser/", "unit/")


def pytest_collection_modifyitems(items) -> None:
    """Give each test the tier that its file's place says, and processes files in an order in which they don't wait."""

    def place(item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((number for number, start in enumerate(ORDER) if path.startswith(start)), len(ORDER))

    items.sort(key=place)
    for item in items:
        if "slurm" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.slurm)
        if item.path.stem.endswith("_long"):
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """End the processes that a test has left at work."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that makes a folder once for all processes of pytest-xdist, where others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made = root / f"{name}.made"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(root / name)
                made.touch()
        return root / name

    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patches, or a skip that says why."""
    folder = Path(os.environ.get("HISTOBENCH_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real patches at {folder}; name their folder in HISTOBENCH_REAL_DATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    """A prepared data set of 40 px patches."""
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS)
