"""A chosen run's network as files that others open: for Keras, with its own layers alone, and for ONNX."""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, digest, read_sealed, write_sealed
from histobench.core.prepared import Records, manifest
from histobench.train import whole_network
from histobench.train.batches import CPU_BATCH, spans
from histobench.train.stock import stock

log = logging.getLogger(__name__)

KERAS_FILE, ONNX_FILE = "model.keras", "model.onnx"
# Validation patches at most whose scores, by the files, are compared with the run's.
MOST = 1024

Floats = npt.NDArray[np.float32]
Predict = Callable[[npt.NDArray[np.uint8]], Any]


def export(
    *,
    chosen: Path,
    abouts: Sequence[Path],
    data: Mapping[str, Path],
    weights: Mapping[str, Path | None],
    folder: Path,
    about: Path,
    most: int = MOST,
) -> None:
    """Write the network of a run as files, which give the scores of the run.

    Of a cross-validation it is the mean score of the networks of all folds. Each of these is compared with its own run,
    and the files with their mean.

    Parameters
    ----------
    chosen : CSV file with a row, see :mod:`histobench.results.chosen_runs`: `run`, its folder.
    abouts : ``run.json`` of all runs that `chosen` may name.
    data : folders of the prepared data sets of the runs, and of the folds, by name.
    weights : see :func:`histobench.train.explain.explain`.
    folder : gets `KERAS_FILE` and `ONNX_FILE`: from patches, (n, side, side, 3) in 0 to 255, to the probability of
        tumour, (n, 1) float32.
    about : the JSON file to write: `run`, the run's folder; `members`, those of its networks; `patch_size` in pixels;
        `weights_sha256` and `patches_sha256` of the members; `chosen`, the row; `compared`, how many validation
        patches; of each file its `sha256`, and the `largest_difference` of its scores from the run's; `exported`, when,
        in UTC; `versions`.
    most : validation patches of each network to compare at most, evenly spaced over all of them.

    Raises
    ------
    HistobenchError
        if no run is chosen, or one that is not among `abouts`; if an input has changed since it was written; or if
        scores differ from the run's.
    """
    rows = runs.read_rows(chosen)
    if not rows:
        raise HistobenchError(
            f"{chosen}: expected a run to export, found none: no run with a network has learnt anything. Train others, "
            "or say `export: []` in the configuration"
        )
    run = Path(rows[0]["run"])
    if run / runs.ABOUT not in abouts:
        raise HistobenchError(
            f"{chosen}: expected a run of the study, found {run}; delete it and start again: its job writes it anew"
        )
    members = [Path(member) for member in read_sealed(run / runs.ABOUT).get("members", [run])]
    told = [runs.trained(member) for member in members]
    folders = [data[each["specification"]["run"]["dataset"]] for each in told]
    parts = [Records(each, "valid") for each in folders]
    side = int(parts[0].shape[0])
    networks, differences, patches = [], [], []
    for number, (member, each, of_data, part) in enumerate(zip(members, told, folders, parts, strict=True), 1):
        name = f"fold_{number}" if len(members) > 1 else None
        network = _network(member, each, of_data, weights, side, name)
        positions = np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(int)
        names = [part.ids[position] for position in positions]
        scores = _in_batches(network, part, positions)
        path = member / runs.PREDICTIONS
        expected = whole_network.predicted(path, names, "valid")
        whole_network.check(scores, expected, each, names, path)
        networks.append(network)
        differences.append(np.abs(scores - expected).max())
        patches.append((part, positions, expected))
        log.info("%s: %d validation patches have the scores of the run", member, len(names))
    whole = networks[0] if len(networks) == 1 else _mean(networks, side)
    files = _written(whole, side, folder)
    # Of one network the run's own scores; of several, the mean of theirs is known by the model alone.
    part, positions, expected = patches[0]
    if len(networks) > 1:
        expected = _in_batches(whole, part, positions)
    tolerance = whole_network.TOLERANCE_GPU if told[0]["device"]["gpu"] else whole_network.TOLERANCE
    facts = {}
    for name, opened in files.items():
        apart = float(np.abs(_in_batches(opened, part, positions) - expected).max())
        if not apart <= tolerance:
            raise HistobenchError(
                f"{folder / name}: expected the scores of {run}, found differences up to {apart:g}. This is an error "
                "of histobench or of what it uses: report it, and say `export: []` meanwhile"
            )
        worst = max(apart, *map(float, differences)) if len(networks) > 1 else apart
        facts[name] = {"sha256": digest(folder / name), "largest_difference": worst}
    write_sealed(
        about,
        {
            "run": str(run),
            "members": [str(member) for member in members],
            "patch_size": side,
            "weights_sha256": [each["weights_sha256"] for each in told],
            "patches_sha256": [manifest(each)["patches_sha256"] for each in folders],
            "chosen": rows[0],
            "compared": sum(len(each[1]) for each in patches),
            "files": facts,
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime")},
        },
    )
    log.info(
        "exported %s: %s",
        run,
        ", ".join(f"{name} ({each['largest_difference']:.1g} apart)" for name, each in facts.items()),
    )


def _network(
    run: Path, about: Mapping[str, Any], data: Path, weights: Mapping[str, Path | None], side: int, name: str | None
) -> keras.Model:
    """Return the network of a run as a model of Keras's own layers."""
    image = whole_network.image(about)
    assert image is not None  # a run without a network is never chosen
    backbone = weights.get(about["specification"]["model"]["key"])
    return stock(whole_network.load(run, about, image, data, backbone), image, side, name)


def _mean(networks: Sequence[keras.Model], side: int) -> keras.Model:
    patches = keras.Input((side, side, 3), name="patches")
    return keras.Model(patches, keras.layers.Average(name="mean")([network(patches) for network in networks]))


def _written(model: keras.Model, side: int, folder: Path) -> dict[str, Predict]:
    """Write the files of a model, and return functions to the scores of patches by what was written."""
    with atomic(folder / KERAS_FILE) as path:
        model.save(path)
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)  # else it tells of every step
    with atomic(folder / ONNX_FILE) as path:
        signature = [keras.InputSpec(shape=(None, side, side, 3), dtype="float32", name="patches")]
        model.export(path, format="onnx", verbose=False, input_signature=signature)
    opened = keras.saving.load_model(folder / KERAS_FILE, custom_objects={}, safe_mode=True)
    session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])
    return {
        KERAS_FILE: opened,
        ONNX_FILE: lambda patches: session.run(None, {"patches": patches.astype(np.float32)})[0],
    }


def _in_batches(predict: Predict, part: Records, positions: npt.NDArray[np.int64]) -> Floats:
    """Return the scores of the patches at these positions, (n,) float32."""
    taken = (part.take(positions[start:end]) for start, end in spans(len(positions), CPU_BATCH))
    return np.concatenate([np.asarray(predict(patches))[:, 0] for patches in taken])
