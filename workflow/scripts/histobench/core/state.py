"""What a killed job goes on from, and what rebuilds the outputs of a finished one.

It lies in a folder's ``.state/``, which Snakemake knows nothing of: it survives failure, retries, SIGKILL and
``--delete-all-output``.

======================  ================================================================================
steps                   folders named by the job: what it has finished so far
``outputs/``            hard links to the outputs, once the job is finished; the steps are gone by then
``set-aside/``          the last state that did not belong to this job
``damaged-*/``          a step that was not what it was when it was written
``events``              a line for everything that happened
``lease-*``             whose it is, see :mod:`histobench.core.lease`
======================  ================================================================================

Every folder is written under another name, flushed to disk and then renamed: a name that is there stands for something
whole. The digests in its ``sha256.json`` find what a file system damaged all the same.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError
from histobench.core.files import digest, write_text
from histobench.core.lease import Lease, add_event

DIGESTS = "sha256.json"
OUTPUTS = "outputs"


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return a digest of what a state was made from, see :class:`State`."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


class State:
    """The state of one job.

    Parameters
    ----------
    folder : the ``.state`` of the folder that the job writes into.
    identity : what the state must have been made from (specification, code, inputs); of anything else it is set aside.
    lease : on the folder; None where there is no other job.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], lease: Lease | None = None) -> None:
        self.folder = folder
        self.lease = lease
        self.outputs = folder / OUTPUTS
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".tmp-*"):  # by a job that was killed while it wrote
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        text = fingerprint(identity)
        identified = folder / "identity"
        found = identified.read_text(encoding="utf-8") if identified.exists() else ""
        if found != text:
            self._set_aside()
            write_text(identified, text)

    def event(self, text: str) -> None:
        """Add a line to ``events``, and to the log."""
        add_event(self.folder, text)

    def steps(self, prefix: str) -> list[Path]:
        """Return the finished steps whose names start so, in the order of their names."""
        return sorted(self.folder.glob(f"{prefix}*"))

    @contextmanager
    def step(self, name: str) -> Iterator[Path]:
        """Yield an empty folder, which takes the name of a step when all in it is on disk."""
        # A job that lost its lease without knowing yet must not write into what its successor writes.
        number = self.lease.number if self.lease else 0
        temporary, final = self.folder / f".tmp-{name}-{number}", self.folder / name
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        digests = {path.name: digest(path) for path in sorted(temporary.iterdir())}
        write_text(temporary / DIGESTS, json.dumps(digests))
        for path in [*temporary.iterdir(), temporary]:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        self._check()
        if final.exists():
            raise HistobenchError(f"{final}: already there; is another job at work on {self.folder.parent}?")
        temporary.rename(final)

    def whole(self, step: Path, otherwise: str) -> bool:
        """Say whether a step is what it was when it was written; if not, keep it under another name.

        Parameters
        ----------
        step : one of `steps`.
        otherwise : what the job does without it, for the log.
        """
        try:
            for name, expected in json.loads((step / DIGESTS).read_text(encoding="utf-8")).items():
                if (found := digest(step / name)) != expected:
                    raise ValueError(f"{name}: expected sha256 {expected}, found {found}")
        except (OSError, ValueError) as error:
            damaged = step.with_name(f"damaged-{step.name}")
            shutil.rmtree(damaged, ignore_errors=True)
            step.rename(damaged)
            self.event(f"{step.name} is damaged ({error}): kept as {damaged.name}, {otherwise}")
            return False
        return True

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Yield an empty folder to write the outputs into; afterwards it is ``outputs``, and the steps are gone."""
        with self.step(self.outputs.name) as folder:
            yield folder
        for path in self._folders():
            if path != self.outputs:
                shutil.rmtree(path)
        self.event("finished")

    def finished(self) -> bool:
        """Say whether the outputs are there, whole."""
        if not self.outputs.exists() or not self.whole(self.outputs, "starting anew"):
            return False
        self.event("finished before; the outputs are rebuilt from the state")
        return True

    def publish(self, target: Path) -> None:
        """Give the outputs their final names in `target`, as hard links."""
        self._check()
        for path in self.outputs.iterdir():
            if path.name != DIGESTS:
                temporary = target / f".tmp-{os.getpid()}-{path.name}"
                temporary.unlink(missing_ok=True)
                os.link(path, temporary)
                temporary.replace(target / path.name)
                temporary.unlink(missing_ok=True)  # of two links to one file a rename leaves both

    def _check(self) -> None:
        if self.lease:
            self.lease.check()

    def _folders(self) -> list[Path]:
        """Return the folders of steps and outputs, damaged ones left out."""
        kept = ("set-aside", "damaged-", ".")
        return [path for path in sorted(self.folder.iterdir()) if path.is_dir() and not path.name.startswith(kept)]

    def _set_aside(self) -> None:
        folders = self._folders()
        if not folders:
            return
        aside = self.folder / "set-aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in folders:
            path.rename(aside / path.name)
        self.event(f"the state is of another recipe, seed, data set or code: set aside in {aside}; starting anew")
