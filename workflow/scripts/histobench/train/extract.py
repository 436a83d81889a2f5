"""Extraction of the features of a frozen backbone, on which heads are trained."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from histobench.core import prepared
from histobench.core.features import ABOUT, file_name
from histobench.core.files import digest
from histobench.core.job import Task
from histobench.core.lease import held
from histobench.core.prepared import WHOLE, Records
from histobench.core.state import State
from histobench.train import batches, hardware, inputs, models, provenance
from histobench.train.batch_norm import calibrate

log = logging.getLogger(__name__)

# Patches after which the state is saved, on a CPU, and on a card, which takes some seconds for them.
CHUNK, CARD_CHUNK = 2048, 32_768
PART = "part.npz"


def extract(task: Task, folder: Path, chunk: int | None = None) -> None:
    """Write the features of all patches of a data set; continue after a killed job.

    The backbone is in inference mode, as in end-to-end training of a head. Only EfficientNetV2 differs there: its
    drop-connect layers stay active in training although they are frozen. The batch norm of a backbone with random
    weights is calibrated.

    Parameters
    ----------
    task : see :meth:`histobench.core.study.Study.features_specification` for its specification.
    folder : folder for the features, see :mod:`histobench.core.features`.
    chunk : patches after which the state is saved; None for a number that fits to the device.
    """
    about = provenance.About(task)
    with held(folder / ".state") as lease:
        hardware.check(task.spec["features"]["device"], task.card)
        state = State(folder / ".state", about.identity, lease)
        if not state.finished():
            _extract(state, about, chunk or (CARD_CHUNK if task.card else CHUNK))
        state.publish(folder)


def _extract(state: State, about: provenance.About, chunk: int) -> None:
    spec, data, weights = about.task.spec, about.task.data, about.task.weights
    parts = {split: Records(data, split) for split in prepared.parts(data)}
    # Those of a data set that is cross-validated are the same for all folds, and so is a calibration.
    training = parts["train" if "train" in parts else WHOLE]
    # The folder, split and positions of each part.
    plan = [
        (state.folder / f"{split}-{number:05d}", split, np.arange(start, end))
        for split, part in parts.items()
        for number, (start, end) in enumerate(batches.spans(len(part), chunk))
    ]
    left = [
        (path, split, positions)
        for path, split, positions in plan
        if not (path.exists() and state.whole(path, "computing it anew"))
    ]
    machine = hardware.machine(about.task.card)
    state.event(f"going on with {len(left)} of {len(plan)} parts" if left != plan else "starting")
    backbone = models.backbone(spec["model"], models.input_shape(spec["input"]), weights=weights)
    backbone.trainable = False
    calibrated = weights is None and calibrate(backbone, training, spec["input"])
    extractor = inputs.join(backbone, training, spec["input"])
    size = batches.size_without_gradients(backbone, machine)
    total = sum(len(positions) for _, _, positions in left)
    with ThreadPoolExecutor(1) as writer, tqdm(total=total, unit=" patches", mininterval=20) as progress:
        writing: Future[None] | None = None
        for path, split, positions in left:
            start = time.perf_counter()
            values = _features(extractor, batches.Batches(parts[split], positions, size), progress)
            if writing:
                writing.result()
            # While the next part is computed.
            writing = writer.submit(_write, state, path.name, values, time.perf_counter() - start)
        if writing:
            writing.result()
    seconds = dict.fromkeys(parts, 0.0)
    with state.finish() as outputs:
        for split, part in parts.items():
            target = np.lib.format.open_memmap(
                outputs / file_name(split), "w+", np.float32, (len(part), backbone.output_shape[1])
            )
            for path, of_split, positions in plan:
                if of_split == split:
                    with np.load(path / PART) as saved:
                        target[positions] = saved["features"]
                        seconds[split] += float(saved["seconds"])
            target.flush()
        facts = {
            "backbone_parameters": backbone.count_params(),
            "random_backbone_calibrated": calibrated,
            "sha256": {split: digest(outputs / file_name(split)) for split in parts},
            "extraction_seconds": {split: round(value, 3) for split, value in seconds.items()},
        }
        about.write(outputs / ABOUT, facts)


def _write(state: State, name: str, values: npt.NDArray[np.float32], seconds: float) -> None:
    with state.step(name) as folder:
        np.savez(folder / PART, features=values, seconds=seconds)


def _features(extractor: keras.Model, data: batches.Batches, progress: "tqdm[Any]") -> npt.NDArray[np.float32]:
    """Return the features of all patches of `data`, (patches, features) float32."""
    features = []
    for number in range(len(data)):
        features.append(np.asarray(extractor.predict_on_batch(data[number][0])))
        progress.update(len(features[-1]))
    return np.concatenate(features)
