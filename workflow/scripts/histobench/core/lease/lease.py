"""The lease itself: taking it, renewing it by a heartbeat, and releasing it."""

import json
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from histobench.core.errors import HistobenchError, for_user
from histobench.core.lease.events import FAILED, add_event, now
from histobench.core.lease.holder import TEMPORARY, leases, parse, read, this_process
from histobench.core.lease.judge import INTERVALS, Intervals, Watch, judge
from histobench.core.lease.sigterm import ending_on_sigterm, exit_by_sigterm
from histobench.core.lease.slurm import cached, squeue

log = logging.getLogger(__name__)


class Lease:
    """The lease on a ``.state``, see :func:`held`.

    Attributes
    ----------
    number : number of this job's lease, 0 while it holds none.
    ending : whether the job is ending.
    sigterm_received : whether it ends because of SIGTERM.
    """

    def __init__(self, folder: Path, intervals: Intervals = INTERVALS) -> None:
        self.folder = folder
        self.number = 0
        self.ending = False
        self.sigterm_received = False
        self._me, self._intervals, self._beats = this_process(), intervals, 0
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def take(self) -> None:
        """Wait until no other job holds the lease, then take it."""
        asked = cached(squeue, self._intervals.ask, time.monotonic)
        watch = Watch(lambda holder: judge(holder, self._me, squeue=asked), self._intervals, time.monotonic)
        logged, when = 0, 0.0
        while True:
            number, path = self._last()
            if path is None:
                if self._create(1):
                    break
                continue
            data = read(path)
            content = parse(data)
            holder = str(content.holder) if content else f"a job whose {path.name} can't be read"
            if reason := watch.over(number, data):
                if self._create(number + 1):
                    add_event(self.folder, f"lease taken after {holder}: {reason}")
                    break
            elif number != logged or time.monotonic() - when >= self._intervals.remind:
                logged, when = number, time.monotonic()
                add_event(self.folder, f"in use by {holder} ({watch.verdict.reason}): waiting until that job has ended")
            time.sleep(self._intervals.look)
        self._clear()
        self._heart.start()

    def check(self) -> None:
        """Raise an error if another job has taken the lease over, or if this job is to end.

        Raises
        ------
        HistobenchError
            if another job took this one for dead.
        SystemExit
            if SIGTERM was received, but Python dropped the exception, as it does in a `__del__`.
        """
        if self.sigterm_received:
            raise exit_by_sigterm()
        number, path = self._last()
        if path and number > self.number:
            content = parse(read(path))
            raise HistobenchError(
                f"{self.folder}: expected {self._path(self.number).name} of this job ({self._me}) to be the last, "
                f"found {path.name} of {content.holder if content else 'another job'}, which took this one for dead. "
                "This job ends; there is nothing to do: the other one continues from what is finished"
            )

    def failed(self, error: Exception) -> None:
        """Add the error that ended the job to the events, unless the lease is lost and another job continues."""
        with suppress(OSError):  # it would hide `error`
            if self._last()[0] <= self.number:
                text = str(for_user(error) or f"{type(error).__name__}: {error}")
                # Errors of TensorFlow can be pages long. The log has all of it.
                add_event(self.folder, FAILED + " ".join(text.split())[:500])

    def release(self) -> None:
        """Release the lease, if it is held."""
        self.ending = True
        self._over.set()
        if self._heart.is_alive():
            self._heart.join()
        if self.number:
            try:
                self._renew(released=True)
            except OSError as error:
                log.warning("%s: can't be released, waiting jobs will find out later: %s", self.folder, error)

    def _path(self, number: int) -> Path:
        return self.folder / f"lease-{number:06d}"

    def _last(self) -> tuple[int, Path | None]:
        """Return the lease that counts, 0 and None if there is none."""
        numbered = leases(self.folder)
        return numbered[-1] if numbered else (0, None)

    def _temporary(self, number: int, *, released: bool = False) -> Path:
        """Write a lease under a temporary name and flush it to disk, so that no reader ever sees half of it.

        The name differs from temporary files of a state, which the next holder deletes when it starts.
        """
        path = self.folder / f".lease-{number:06d}-{uuid.uuid4().hex}"
        content = {**asdict(self._me), "beat": {"count": self._beats, "time": now()}, "released": released}
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _create(self, number: int) -> bool:
        """Create the lease of this number and return whether it is ours; it is not if the number is or was taken.

        By a hard link where there are any, not by O_EXCL, which shows an empty file before the content is there, for
        good if this job dies in between: others then wait until its heartbeat is missed.
        """
        temporary, path = self._temporary(number), self._path(number)
        try:
            try:
                os.link(temporary, path)
            except (FileExistsError, FileNotFoundError):
                raise
            except OSError:  # a file system without hard links
                path.touch(exist_ok=False)
                temporary.replace(path)
            self.number = number
        except FileExistsError:
            # NFS repeats a request whose answer was lost, and the repetition fails because the first one succeeded.
            with suppress(FileNotFoundError):
                self.number = number if temporary.stat().st_nlink == 2 else 0
        except FileNotFoundError:
            pass  # deleted by the holder of this number or of a later one
        finally:
            temporary.unlink(missing_ok=True)
        if self.number and self._last()[0] > number:
            # This job was slow: the number was taken, followed by another one, and deleted.
            self.number = 0
            path.unlink(missing_ok=True)
        return bool(self.number)

    def _clear(self) -> None:
        """Delete the leases before ours, and temporary files of killed jobs up to our number."""
        old = [path for number, path in leases(self.folder) if number < self.number]
        for path in old + [path for number, path in leases(self.folder, TEMPORARY) if number <= self.number]:
            path.unlink(missing_ok=True)

    def _renew(self, *, released: bool = False) -> bool:
        """Rewrite our lease unless another job has taken over; return whether it is still ours."""
        self._beats += 1
        temporary = self._temporary(self.number, released=released)
        ours = self._last()[0] <= self.number
        if ours:
            temporary.replace(self._path(self.number))
        else:
            temporary.unlink(missing_ok=True)
        return ours

    def _beat(self) -> None:
        """Renew the lease until it is released; if it is lost, end the process by SIGTERM."""
        while not self._over.wait(self._intervals.beat):
            try:
                ours = self._renew()
            except OSError as error:  # for instance a full disk, which the job may survive
                log.warning("%s: no heartbeat: %s", self.folder, error)
                continue
            if not ours:
                add_event(self.folder, f"{self._path(self.number).name} is lost: another job took this one for dead")
                os.kill(os.getpid(), signal.SIGTERM)
                return


@contextmanager
def held(folder: Path, intervals: Intervals = INTERVALS) -> Iterator[Lease]:
    """Hold the lease on a ``.state``, which no job may touch without it; wait first while another live job holds it.

    SIGTERM ends the job cleanly while it waits or works. The heartbeat sends it, too, if the lease is lost. An error
    inside the block is added to the events, as `FAILED` and its message in one line.
    """
    lease = Lease(folder, intervals)
    with ending_on_sigterm(lease):
        try:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lease.take()
            except OSError as error:
                raise HistobenchError(
                    f"{folder}: expected a folder to write a lease into, without which two jobs could work there at "
                    f"once, found: {error}. Make room or correct the permissions, then start again"
                ) from error
            try:
                yield lease
            except Exception as error:
                if lease.sigterm_received:  # a library that was interrupted may have raised an error of its own
                    raise exit_by_sigterm() from error
                lease.failed(error)
                raise
        finally:
            lease.release()
