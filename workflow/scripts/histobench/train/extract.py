"""Features of a frozen backbone, computed once, for all heads that are trained on them."""

import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from histobench.core.features import ABOUT, file_name
from histobench.core.files import digest
from histobench.core.lease import held
from histobench.core.prepared import SPLITS, Records
from histobench.core.state import State
from histobench.train import batches, hardware, models, provenance
from histobench.train.calibration import calibrate

log = logging.getLogger(__name__)

# No gradients are held. A feature does not depend on the patches beside it, see `batches.batches`.
BATCH_SIZE = 128
# Patches in a step of the state: what a killed job loses at most.
CHUNK = 2048
PART = "part.npz"


def extract(
    *,
    spec: dict[str, Any],
    data: Path,
    weights: Path | None,
    folder: Path,
    code: str,
    threads: int,
    card: str,
    chunk: int = CHUNK,
) -> None:
    """Write the features of all patches of a data set, going on where a killed job left off.

    Features are those of the backbone in inference mode: what a head sees end to end, too, but for EfficientNetV2,
    whose drop-connect layers stay active in training although they are frozen.

    Parameters
    ----------
    spec : see :meth:`histobench.core.study.Study.features_specification`.
    data : folder of the prepared data set.
    weights : the backbone's pretrained weights; None for random ones, whose batch norm is then calibrated.
    folder : where the features go, see :mod:`histobench.core.features`.
    code : digest of the code that the result depends on.
    threads : CPU threads of the job; the result depends on them in the last bits.
    card : the card that the job is meant for, see :func:`histobench.train.hardware.check`; "" for a CPU.
    chunk : patches after which the state is saved.
    """
    inputs = {"manifest": digest(data / "manifest.json"), "weights": digest(weights) if weights else None}
    with held(folder / ".state") as lease:
        hardware.check(spec["features"]["device"], card)
        state = State(folder / ".state", {"specification": spec, "code": code, "inputs": inputs}, lease)
        if not state.finished():
            about = provenance.About(spec=spec, code=code, inputs=inputs, threads=threads, card=card)
            _extract(spec, data, weights, state, about, chunk)
        state.publish(folder)


def _extract(
    spec: dict[str, Any], data: Path, weights: Path | None, state: State, about: provenance.About, chunk: int
) -> None:
    parts = {split: Records(data, split) for split in SPLITS}
    # Every part of the work: where its state is, and which patches it holds.
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
    state.event(f"going on with {len(left)} of {len(plan)} parts" if left != plan else "starting")
    backbone = models.backbone(spec["model"], models.input_shape(spec["input"]), weights=weights)
    backbone.trainable = False
    calibrated = weights is None and calibrate(backbone, parts["train"], spec["input"])
    with tqdm(total=sum(len(positions) for _, _, positions in left), unit=" patches", mininterval=20) as progress:
        for path, split, positions in left:
            start = time.perf_counter()
            values = _features(backbone, parts[split], positions, spec["input"], progress)
            with state.step(path.name) as folder:
                np.savez(folder / PART, features=values, seconds=time.perf_counter() - start)
    seconds = dict.fromkeys(SPLITS, 0.0)
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
            "sha256": {split: digest(outputs / file_name(split)) for split in SPLITS},
            "extraction_seconds": {split: round(value, 3) for split, value in seconds.items()},
        }
        about.write(outputs / ABOUT, facts)


def _features(
    backbone: keras.Model, part: Records, positions: npt.NDArray[np.int64], image: dict[str, Any], progress: "tqdm[Any]"
) -> npt.NDArray[np.float32]:
    """Return the features of the patches at `positions`: (len(positions), features) float32."""
    found = []
    for images, _ in batches.batches(part, positions, batch_size=BATCH_SIZE, image=image):
        found.append(np.asarray(backbone.predict_on_batch(images)))
        progress.update(len(found[-1]))
    return np.concatenate(found)
