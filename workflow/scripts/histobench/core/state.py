"""The saved state of a job, from which a killed job continues and deleted outputs are restored.

It is in the folder ``.state`` beside the outputs, which Snakemake does not know. So it survives failures, retries,
SIGKILL and ``--delete-all-output``.

======================  ================================================================================
steps                   folders with what the job has finished so far, named by the job
``outputs/``            the outputs, once the job has finished; the steps are deleted then
``set-aside/``          the last state of another specification, code or input, or of a job that was forced
``anew``                there if the next job is to start anew, see :func:`start_anew`
``damaged-*/``          steps that have changed since they were written
``events``              a line for each event
``lease-*``             which job works here, see :mod:`histobench.core.lease`
======================  ================================================================================

Each folder is written under a temporary name, flushed to disk and then renamed, so a folder with its final name is
complete. The digests in its ``sha256.json`` reveal later damage.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError
from histobench.core.files import digest, link, write_text
from histobench.core.lease import Lease, add_event

DIGESTS = "sha256.json"
OUTPUTS = "outputs"
ANEW = "anew"


def start_anew(folder: Path) -> bool:
    """Let the next job that works on a state set it aside, and return whether there is a state.

    This changes nothing of the state itself, which another job may hold.
    """
    if not folder.is_dir():
        return False
    (folder / ANEW).touch()
    return True


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return a digest of the identity of a state, see :class:`State`."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if the file system knows how."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


class State:
    """The state of one job.

    Parameters
    ----------
    folder : the ``.state`` of the folder that the job writes into.
    identity : specification, code and inputs of the job. An existing state with another identity is set aside.
    lease : of the folder; None if no other job can work there.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], lease: Lease | None = None) -> None:
        self.folder = folder
        self.lease = lease
        self.outputs = folder / OUTPUTS
        folder.mkdir(parents=True, exist_ok=True)
        for temporary in folder.glob(".tmp-*"):  # of a job that was killed while it wrote
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
        self._probe()
        own, path = fingerprint(identity), folder / "identity"
        if not path.exists() or path.read_bytes() != own.encode():
            self._set_aside("the state is of another recipe, seed, data set or code")
            write_text(path, own)
        if (folder / ANEW).exists():
            self._set_aside("Snakemake was told to force this job")
            (folder / ANEW).unlink()

    def _probe(self) -> None:
        """Do in small what is needed in the end; hours of work must not be lost to a file system that refuses it."""
        # Not the name of a step's temporary folder, which another job's start would clear.
        name = f".probe-{uuid.uuid4().hex}"
        later = f"{name}-renamed"
        written, renamed = self.folder / name, self.folder / later
        published, final = self.folder.parent / name, self.folder.parent / later
        doing = f"write into {self.folder.name} of"
        try:
            written.mkdir()
            write_text(written / "file", "")
            _flush_folder(written)
            doing = f"rename a folder in {self.folder.name} of"
            written.rename(renamed)
            doing = f"link or copy a file from {self.folder.name} into"
            link(renamed / "file", published)
            doing = "rename a file in"
            published.replace(final)
        except OSError as error:
            raise HistobenchError(
                f"{self.folder.parent}: cannot {doing} this folder, found: {error}. Nothing was computed yet: correct "
                "the permissions, make room, or let `results` lie on another file system, then start again"
            ) from error
        finally:
            for path in (written, renamed):
                shutil.rmtree(path, ignore_errors=True)
            for path in (published, final):
                with suppress(OSError):  # it would hide the error above
                    path.unlink()

    def event(self, text: str) -> None:
        """Add a line to ``events``, and to the log."""
        add_event(self.folder, text)

    def steps(self, prefix: str) -> list[Path]:
        """Return the finished steps whose names start with `prefix`, sorted by name."""
        return sorted(self.folder.glob(f"{prefix}*"))

    @contextmanager
    def step(self, name: str) -> Iterator[Path]:
        """Yield an empty folder, which becomes the step `name` when all files in it are on disk.

        Raises
        ------
        HistobenchError
            if they cannot be written.
        """
        # A job that lost its lease and does not know it yet must not write into the folder of the next holder.
        number = self.lease.number if self.lease else 0
        temporary, final = self.folder / f".tmp-{name}-{number}", self.folder / name
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            digests = {path.name: digest(path) for path in sorted(temporary.iterdir())}
            write_text(temporary / DIGESTS, json.dumps(digests))
            for path in temporary.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            _flush_folder(temporary)
            self._check()
            if final.exists():
                raise HistobenchError(f"{final}: already there; is another job at work on {self.folder.parent}?")
            temporary.rename(final)
        except OSError as error:
            raise HistobenchError(
                f"{final}: cannot be written, found: {error}. Make room or correct the permissions, then start again: "
                "the job goes on after what it has finished before"
            ) from error

    def whole(self, step: Path, otherwise: str) -> bool:
        """Return whether a step is unchanged; if not, rename it to ``damaged-*`` and log what is done `otherwise`."""
        try:
            for name, expected in json.loads((step / DIGESTS).read_text(encoding="utf-8")).items():
                if (actual := digest(step / name)) != expected:
                    raise ValueError(f"{name}: expected sha256 {expected}, found {actual}")
        except (OSError, ValueError, AttributeError) as error:
            damaged = step.with_name(f"damaged-{step.name}")
            shutil.rmtree(damaged, ignore_errors=True)
            step.rename(damaged)
            self.event(f"{step.name} is damaged ({error}): kept as {damaged.name}, {otherwise}")
            return False
        return True

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Yield an empty folder for the outputs, which then becomes ``outputs``; the steps are deleted."""
        with self.step(self.outputs.name) as folder:
            yield folder
        for path in self._folders():
            if path != self.outputs:
                shutil.rmtree(path)
        self.event("finished")

    def finished(self) -> bool:
        """Return whether the outputs are there and unchanged."""
        if not self.outputs.exists() or not self.whole(self.outputs, "starting anew"):
            return False
        self.event("finished before; the outputs are rebuilt from the state")
        return True

    def publish(self, target: Path) -> None:
        """Link the outputs into the folder `target`, under their final names.

        Raises
        ------
        HistobenchError
            if that fails; they stay in the state.
        """
        self._check()
        for path in self.outputs.iterdir():
            if path.name == DIGESTS:
                continue
            temporary = target / f".tmp-{os.getpid()}-{path.name}"
            try:
                for left in target.glob(f".tmp-*-{path.name}"):  # by a job that was killed
                    left.unlink()
                link(path, temporary)
                temporary.replace(target / path.name)
            except OSError as error:
                raise HistobenchError(
                    f"{target / path.name}: cannot be written, found: {error}. Make room or correct the permissions, "
                    f"then start again: it lies finished in {self.outputs}, and nothing is computed again"
                ) from error
            finally:
                temporary.unlink(missing_ok=True)  # a rename onto a link to the same file keeps both

    def _check(self) -> None:
        if self.lease:
            self.lease.check()

    def _folders(self) -> list[Path]:
        """Return the folders of steps and outputs, without damaged ones."""
        kept = ("set-aside", "damaged-", ".")
        return [path for path in sorted(self.folder.iterdir()) if path.is_dir() and not path.name.startswith(kept)]

    def _set_aside(self, why: str) -> None:
        folders = self._folders()
        if not folders:
            return
        aside = self.folder / "set-aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in folders:
            path.rename(aside / path.name)
        self.event(f"{why}: what was finished is set aside in {aside}; starting anew")
