"""The file ``events`` of a ``.state``: one line for everything that happened there."""

import datetime
import logging
import os
import platform
from pathlib import Path

log = logging.getLogger(__name__)

# Start of the event of an error that ended a job.
FAILED = "failed: "


def now() -> str:
    """Return date and time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def add_event(folder: Path, text: str) -> None:
    """Add a line to the ``events`` of a ``.state``, and to the log."""
    log.info("%s", text)
    job = os.environ.get("SLURM_JOB_ID", "-")
    path = folder / "events"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{now()} {platform.node()} pid {os.getpid()} job {job}: {text}\n")
    except OSError as error:  # a full disk must not end a job that only waits
        log.warning("%s: can't be written: %s", path, error)
