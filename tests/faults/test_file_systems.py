"""File systems that lack what others have: locks, hard links, flushing of folders, room."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from histobench.core import state
from histobench.core.errors import HistobenchError
from histobench.core.lease import held
from histobench.core.state import State
from histobench.train import fit
from support import jobs
from support.processes import PYTHONPATH, assert_equal_runs, epochs_done
from support.small import specification

LINK, FSYNC = os.link, os.fsync


def train(data: Path, folder: Path) -> None:
    jobs.run("train", data, folder, spec=specification("tiny", epochs=2))


@pytest.fixture(scope="module")
def undisturbed(prepared_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("file-systems") / "undisturbed"
    train(prepared_folder, folder)
    return folder


def refusing(number: int, *, everywhere: bool):
    """Return a stand-in for `os.link` that fails across folders, or everywhere."""

    def link(source, target):
        if everywhere or Path(source).parent != Path(target).parent:
            raise OSError(number, os.strerror(number), str(source))
        LINK(source, target)

    return link


@pytest.mark.parametrize(
    ("number", "everywhere"),
    # BeeGFS of before 7.1, across folders; FAT and exFAT; SMB; NFS that is full of links; FUSE.
    [(errno.EXDEV, False), (errno.EPERM, True), (errno.EOPNOTSUPP, True), (errno.EMLINK, False), (errno.ENOSYS, True)],
)
def test_without_hard_links_a_run_is_the_same(prepared_folder, undisturbed, tmp_path, monkeypatch, number, everywhere):
    monkeypatch.setattr(os, "link", refusing(number, everywhere=everywhere))
    train(prepared_folder, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", undisturbed)
    weights = tmp_path / "run/best.weights.h5"
    assert not weights.samefile(tmp_path / "run/.state/outputs/best.weights.h5")
    weights.unlink()
    train(prepared_folder, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", undisturbed)
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_without_hard_links_no_two_jobs_hold_one_lease(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM, everywhere=True))
    with held(tmp_path) as first:
        with pytest.raises(FileExistsError):
            (tmp_path / f"lease-{first.number:06d}").touch(exist_ok=False)
        program = f"""
import os
def link(*_): raise PermissionError
os.link = link
from pathlib import Path
from histobench.core.lease import Intervals, held
with held(Path({str(tmp_path)!r}), Intervals(look=0.05)) as second:
    print(second.number)
"""
        other = subprocess.Popen(
            [sys.executable, "-c", program],
            text=True,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": PYTHONPATH},
        )
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1.5)
    assert other.communicate(timeout=30)[0] == f"{first.number + 1}\n"


def test_where_folders_cannot_be_flushed(tmp_path, monkeypatch):
    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        FSYNC(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    own = State(tmp_path / ".state", {})
    with own.finish() as folder:
        (folder / "result").write_text("whole")
    own.publish(tmp_path)
    assert (tmp_path / "result").read_text() == "whole"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_the_end_needs_is_tried_at_the_start(prepared_folder, tmp_path, monkeypatch, number):
    """A folder into which outputs cannot be published, though its `.state` can be written."""
    monkeypatch.setattr(os, "link", refusing(number, everywhere=False))

    def copyfile(source, target):
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(HistobenchError, match=rf"{tmp_path}/run: cannot link or copy .* Nothing was computed yet"):
        train(prepared_folder, tmp_path / "run")
    assert epochs_done(tmp_path / "run") == []
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".state"}
    monkeypatch.undo()
    train(prepared_folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("function", "number", "doing"),
    [
        ("mkdir", errno.EROFS, "write into .state of this folder"),
        ("fsync", errno.EIO, "write into .state of this folder"),
        # As gcsfuse does with folders.
        ("rename", errno.ENOSYS, "rename a folder in .state of this folder"),
        ("link", errno.ENOSPC, "link or copy a file from .state into this folder"),
        ("replace", errno.EPERM, "rename a file in this folder"),
    ],
)
def test_each_operation_is_tried_before_the_work_and_named(tmp_path, monkeypatch, function, number, doing):
    own = State(tmp_path / "run/.state", {})
    original, unlink, refused = getattr(os, function), os.unlink, []

    def refusing(*arguments, **options):
        if function != "replace" or "-renamed" in str(arguments[1]):
            refused.append(function)
            raise OSError(number, os.strerror(number))
        original(*arguments, **options)

    def unlink_until_then(*arguments, **options):  # what is refused then must not hide the first error
        if refused:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(*arguments, **options)

    monkeypatch.setattr(os, function, refusing)
    monkeypatch.setattr(shutil, "copyfile", refusing)
    monkeypatch.setattr(os, "unlink", unlink_until_then)
    with pytest.raises(HistobenchError, match=rf"^{tmp_path}/run: cannot {re.escape(doing)}, found: "):
        State(own.folder, {})
    monkeypatch.undo()
    State(own.folder, {})
    assert {path.name for path in own.folder.iterdir()} == {"identity"}


@pytest.mark.parametrize("where", ["the arrays", "the weights"])
def test_no_room_for_an_epoch_keeps_those_before(prepared_folder, undisturbed, tmp_path, monkeypatch, where):
    """HDF5 would end the process by a segmentation fault."""
    savez, usage = np.savez, shutil.disk_usage
    save = State.step

    @contextmanager
    def step(self, name):
        with monkeypatch.context() as patch, save(self, name) as folder:
            if name == "epoch-0002" and where == "the weights":
                patch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1 << 20))
            elif name == "epoch-0002":
                patch.setattr(np, "savez", full)
            yield folder

    def full(file, *arrays):
        savez(file, *arrays[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(State, "step", step)
        patch.setattr(fit, "better", lambda *_: True)  # each epoch
        with pytest.raises(HistobenchError, match=r"epoch-0002: cannot be written, found: .*No space left on device"):
            train(prepared_folder, tmp_path / "run")
    assert epochs_done(tmp_path / "run") == ["epoch-0001"]
    train(prepared_folder, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", undisturbed)


def test_no_room_at_the_end_loses_nothing(prepared_folder, undisturbed, tmp_path, monkeypatch):
    """The error names what is missing, and what a job that was killed there had left is cleared."""
    train(prepared_folder, tmp_path / "run")
    for path in filter(Path.is_file, list((tmp_path / "run").iterdir())):
        path.unlink()

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    def finished(self):
        monkeypatch.setattr(state, "link", full)  # after what is tried at the start
        return True

    monkeypatch.setattr(State, "finished", finished)
    with pytest.raises(HistobenchError, match=r"cannot be written, found: .*No space left.* nothing is computed again"):
        train(prepared_folder, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".state"}
    monkeypatch.undo()
    (tmp_path / "run/.tmp-1-best.weights.h5").write_text("half of a job that was killed")
    train(prepared_folder, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", undisturbed)
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_hdf5_asks_for_no_locks(tmp_path):
    """By `job.pin`: a file that somebody has locked, which is as a file system without a lock daemon refuses it."""
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["values"] = [1.0]
    program = "import h5py, sys\nwith h5py.File(sys.argv[1], 'a') as file: print(file['values'][()])"
    pinned = "from histobench.core.job import pin\npin(1, '')\n"

    def opened(text: str) -> int:
        environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
        return subprocess.run(
            [sys.executable, "-c", text, path],
            check=False,
            capture_output=True,
            env=environment | {"PYTHONPATH": PYTHONPATH},
        ).returncode

    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert opened(program) != 0  # else this test shows nothing
        assert opened(pinned + program) == 0
