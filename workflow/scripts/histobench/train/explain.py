"""Grad-CAM (Selvaraju et al. 2017, ICCV): heat maps of the evidence in a patch for the class that a run predicted.

Gradients come from TensorFlow, since Keras has no function for them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from histobench.core import runs
from histobench.core.decision import THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.core.files import atomic
from histobench.core.prepared import Records
from histobench.train import whole_network
from histobench.train.batches import spans
from histobench.train.inputs import Preprocessing

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

BATCH_SIZE = 32
# Layers that are skipped when searching for the last feature map: they coarsen it or do not change it.
SKIPPED = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.Dropout)


def explain(
    *, errors: Path, abouts: Sequence[Path], data: Path, weights: Mapping[str, Path | None], output: Path
) -> None:
    """Write Grad-CAM heat maps of test patches that a run classified wrongly, each for the class that it predicted.

    Parameters
    ----------
    errors : CSV file with a row per patch: `run`, the run's folder, the same in every row, and `patch_id`.
    abouts : ``run.json`` of all runs that `errors` may name.
    data : folder of the prepared data set.
    weights : files of pretrained weights by model, None for random weights, which are calibrated. They are used for
        runs of a head on cached features; a run on patches has saved its backbone.
    output : the file to write, in NumPy's format ``.npz``: `run`, the run's folder, `patch_id` (n,) text, in the order
        of `errors`, and `heatmap` (n, height, width) float32 in [0, 1], as large as the last feature map. The maximum
        of a heat map is 1, or 0 if there is no evidence for the class. If `errors` has no row: "", (0,), (0, 1, 1). A
        run of nearest neighbours, or on embeddings of others, has no network here, and so no heat maps, either.

    Raises
    ------
    HistobenchError
        if `errors` names several runs, or one that is not among `abouts`; if a patch is not in the test split or has
        no prediction; or if its score differs from the prediction, which means that the network built here is not that
        of the run.
    """
    rows = runs.read_rows(errors)
    if not rows:
        _write(output, "", [], np.empty((0, 1, 1), np.float32))
        return
    named, patches = sorted({row["run"] for row in rows}), [row["patch_id"] for row in rows]
    folder = Path(named[0])
    if len(named) > 1 or folder / runs.ABOUT not in abouts:
        raise HistobenchError(
            f"{errors}: expected the errors of one run of the study on {data.name}, found {', '.join(named)}; "
            "delete it and start again"
        )
    about = runs.trained(folder)
    image = whole_network.image(about)
    if image is None:  # no network that is here made these scores
        _write(output, str(folder), [], np.empty((0, 1, 1), np.float32))
        log.info("nothing explained: the scores of %s are not those of a network that is here", folder)
        return
    part = Records(data, "test")
    positions = _positions(part, patches, data)
    predicted = whole_network.predicted(folder / runs.PREDICTIONS, patches)
    prepared = Preprocessing(image["side"], image["preprocessing"])
    model = about["specification"]["model"]["key"]
    visual, behind = split(whole_network.load(folder, about, image, data, weights.get(model)))
    by_batch = [
        scores_and_maps(visual, behind, prepared(part.take(positions[start:end])))
        for start, end in spans(len(positions), BATCH_SIZE)
    ]
    scores, maps = (np.concatenate(arrays) for arrays in zip(*by_batch, strict=True))
    whole_network.check(scores, predicted, about, patches, folder / runs.PREDICTIONS)
    # The logit is that of tumour; evidence against tumour lowers it.
    signs = np.where(predicted > THRESHOLD, np.float32(1), np.float32(-1))
    _write(output, str(folder), patches, scaled(signs[:, None, None] * maps))
    log.info("explained %d test patches by heat maps of %d x %d", *maps.shape)


def split(model: keras.Model) -> tuple[keras.Model, list[Any]]:
    """Split a CNN of :func:`histobench.train.models.build` at its last feature map.

    This is the output of its last convolution after batch norm and activation, before any pooling.

    Returns
    -------
    visual : model from scaled patches to the feature map, (n, height, width, channels), which shares the CNN's weights.
    behind : the sequence of layers from the feature map to the score.
    """
    first, *others = model.layers
    backbone = isinstance(first, keras.Model)
    stack = [*first.layers, *others] if backbone else model.layers
    last = max(
        place
        for place, layer in enumerate(stack)
        if len(layer.output.shape) == 4 and not isinstance(layer, SKIPPED)  # (n, height, width, channels)
    )
    return keras.Model((first if backbone else model).inputs[0], stack[last].output), stack[last + 1 :]


def scores_and_maps(visual: keras.Model, behind: Sequence[Any], images: Any) -> tuple[Floats, Floats]:
    """Return the scores of patches and their Grad-CAM maps, before ReLU and scaling.

    Parameters
    ----------
    visual, behind : see :func:`split`; the last layer is dense with one unit and a sigmoid.
    images : (n, height, width, 3) float32, scaled patches.

    Returns
    -------
    scores : (n,) float32, the probability of tumour.
    maps : (n, height, width) float32, the sum of the feature map's channels, each weighted by the mean gradient of the
        logit with respect to it; positive for evidence for tumour, negative for evidence against it.
    """
    *layers, end = behind
    features = visual(images, training=False)
    # The tape keeps what it records in memory, so it does not record the layers before the feature map.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(features)
        values = features
        for layer in layers:
            values = layer(values)
        # The logit, not the score: the gradient of a saturated sigmoid is 0 in float32, so patches with an extreme
        # score would have no heat map. For other patches the sigmoid only scales the gradient.
        logits = tf.matmul(values, end.kernel) + end.bias
    weights = tf.reduce_mean(tape.gradient(logits, features), axis=(1, 2), keepdims=True)
    return np.asarray(end.activation(logits))[:, 0], np.asarray(tf.reduce_sum(weights * features, axis=-1))


def scaled(maps: Floats) -> Floats:
    """Return maps, (n, height, width) float32, clipped at 0 and divided by the maximum of each, if that is not 0."""
    positive = np.maximum(maps, 0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    result = np.zeros_like(positive)
    np.divide(positive, highest, out=result, where=highest > 0)
    return result


def _positions(part: Records, patches: list[str], data: Path) -> npt.NDArray[np.int64]:
    """Return the positions of patches in their split, (n,) int64."""
    places = part.positions(patches)
    if unknown := [patch for patch in patches if patch not in places]:
        raise HistobenchError(
            f"{data / 'index.parquet'}: expected the patches to explain in the test split, did not find "
            f"{whole_network.some(unknown)}; make the list of patches again, this one belongs to other data"
        )
    return np.array([places[patch] for patch in patches], np.int64)


def _write(path: Path, run: str, patches: list[str], heatmaps: Floats) -> None:
    with atomic(path) as temporary:
        np.savez(temporary, run=run, patch_id=np.array(patches, str), heatmap=heatmaps)
