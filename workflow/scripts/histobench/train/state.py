"""The state of a run: what a killed job goes on from, and what rebuilds the outputs of a finished one.

It lies in the run folder's ``.state/``, which Snakemake knows nothing of: it survives failure, retries, SIGKILL and
``--delete-all-output``.

======================  ================================================================================
``epoch-0007/``         after seven epochs: ``model.npz`` (every variable of model and optimizer),
                        ``best.weights.h5``, ``progress.json``; the last `KEPT` epochs are kept
``outputs/``            hard links to the outputs, once the run is finished
``set-aside/``          the last state that did not belong to this run
``events``              a line for everything that happened
======================  ================================================================================

Every folder is written under another name, flushed to disk and then renamed: a name that is there stands for something
whole. The digests in ``progress.json`` find what a file system damaged all the same.
"""

import datetime
import hashlib
import json
import logging
import os
import platform
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import keras
import numpy as np

from histobench.errors import HistobenchError
from histobench.files import digest, write_text

log = logging.getLogger(__name__)

# The one before the last is what a damaged last one falls back to.
KEPT = 2
MODEL, BEST, PROGRESS = "model.npz", "best.weights.h5", "progress.json"


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    epoch : finished epochs.
    history, timing : a row per finished epoch, see :func:`histobench.train.fit.fit`.
    best_epoch : the best so far, from 1; 0 before the first.
    best : its value of the metric that the recipe picks by.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None


class State:
    """The state of one run.

    Parameters
    ----------
    folder : the run's ``.state``.
    identity : what the state must have been made from (specification, code, inputs); of anything else it is set aside.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.outputs = folder / "outputs"
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".tmp-*"):  # by a job that was killed while it wrote
            shutil.rmtree(left)
        identified = folder / "identity"
        if self._epochs() or self.outputs.exists():
            found = identified.read_text(encoding="utf-8") if identified.exists() else ""
            if found != self.identity:
                self._set_aside()
        identified.write_text(self.identity, encoding="utf-8")

    def event(self, text: str) -> None:
        """Add a line to ``events``, and to the log."""
        log.info("%s", text)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        job = os.environ.get("SLURM_JOB_ID", "-")
        with (self.folder / "events").open("a", encoding="utf-8") as file:
            file.write(f"{now} {platform.node()} pid {os.getpid()} job {job}: {text}\n")

    def load(self, model: keras.Model) -> Progress:
        """Restore a compiled model, its optimizer included, to the last finished epoch and return the progress.

        A damaged epoch is renamed and the one before it taken; without any the model stays as it was built.
        """
        for path in reversed(self._epochs()):
            try:
                progress = self._load(path, model)
            except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
                damaged = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(damaged, ignore_errors=True)
                path.rename(damaged)
                self.event(f"{path.name} is damaged ({error}): kept as {damaged.name}, falling back to the one before")
            else:
                self.event(f"going on after epoch {progress.epoch}")
                return progress
        self.event("starting at epoch 1")
        return Progress()

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Save the state after an epoch; when this returns, a killed job loses nothing of it."""
        with self._whole(f"epoch-{progress.epoch:04d}") as folder:
            variables = [*model.variables, *model.optimizer.variables]
            with (folder / MODEL).open("wb") as file:
                np.savez(file, *map(np.asarray, variables))
            if progress.best_epoch == progress.epoch:
                model.save_weights(folder / BEST)
            else:
                os.link(self._epochs()[-1] / BEST, folder / BEST)
            digests = {name: digest(folder / name) for name in (MODEL, BEST)}
            # A loss that is no number must not stop the run, so not `write_json`.
            write_text(folder / PROGRESS, json.dumps(asdict(progress) | {"sha256": digests}))
        for old in self._epochs()[:-KEPT]:
            shutil.rmtree(old)

    def best_weights(self) -> Path:
        """Return the weights of the best epoch so far."""
        return self._epochs()[-1] / BEST

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Yield an empty folder to write the outputs into; afterwards it is ``outputs``, and the epochs are gone."""
        with self._whole(self.outputs.name) as folder:
            yield folder
        for path in self._epochs():
            shutil.rmtree(path)

    def publish(self, target: Path) -> None:
        """Give the outputs their final names in `target`, as hard links."""
        for path in self.outputs.iterdir():
            temporary = target / f".tmp-{os.getpid()}-{path.name}"
            temporary.unlink(missing_ok=True)
            os.link(path, temporary)
            temporary.replace(target / path.name)

    @contextmanager
    def terminated(self) -> Iterator[None]:
        """End cleanly on SIGTERM, which a scheduler sends at the time limit: the last epoch is safe by then."""

        def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
            self.event("SIGTERM: ending; the last finished epoch is safe")
            raise SystemExit(128 + signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _epochs(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))

    def _load(self, path: Path, model: keras.Model) -> Progress:
        fields = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
        for name, expected in fields.pop("sha256").items():
            if (found := digest(path / name)) != expected:
                raise ValueError(f"{name}: expected sha256 {expected}, found {found}")
        progress = Progress(**fields)
        model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables]
        with np.load(path / MODEL) as values:
            for variable, name in zip(variables, values.files, strict=True):
                variable.assign(values[name])
        return progress

    def _set_aside(self) -> None:
        aside = self.folder / "set-aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in [*self._epochs(), self.outputs]:
            if path.exists():
                path.rename(aside / path.name)
        self.event(f"the state is of another recipe, seed, data set or code: set aside in {aside}; starting anew")

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Yield a folder that takes its name when all in it is on disk."""
        temporary, final = self.folder / f".tmp-{name}", self.folder / name
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        for path in [*temporary.iterdir(), temporary]:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        if final.exists():
            raise HistobenchError(f"{final}: already there; is another job at work on this run?")
        temporary.rename(final)
