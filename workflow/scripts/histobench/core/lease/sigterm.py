"""SIGTERM, which a scheduler sends at the time limit, ends a job cleanly."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from histobench.core.lease.events import add_event

if TYPE_CHECKING:
    from histobench.core.lease.lease import Lease


def exit_by_sigterm() -> SystemExit:
    """Return the exception that ends the process with the exit code 143, by which shells report SIGTERM."""
    return SystemExit(128 + signal.SIGTERM)


@contextmanager
def ending_on_sigterm(lease: "Lease") -> Iterator[None]:
    """Raise SystemExit inside the block on the first SIGTERM, unless the job is already ending."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not lease.ending:
            lease.ending = lease.sigterm_received = True
            add_event(lease.folder, "SIGTERM: ending; what is finished so far is safe")
            raise exit_by_sigterm()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
