"""Calibration of the batch norm of random backbones that stay frozen."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from histobench.core.prepared import Records
from histobench.train.batches import order, spans
from histobench.train.inputs import Preprocessing
from histobench.train.models import BACKBONE_SEED

log = logging.getLogger(__name__)

# Number of batches of training patches.
BATCHES = 8
BATCH_SIZE = 64


def calibrate(backbone: keras.Model, train: Records, image: Mapping[str, Any]) -> bool:
    """Set moving means and variances of a random backbone's batch norm, in place, to those of training patches.

    With the initial values of 0 and 1, activations shrink from layer to layer (MobileNet's features of real patches
    have a standard deviation of 8e-21), and no head could learn. The same patches are used in all runs of a data set.

    Returns
    -------
    calibrated : False if the backbone has no batch norm, such as that of VGG19.
    """
    positions = order(len(train), BACKBONE_SEED, 0)[: BATCHES * BATCH_SIZE]
    prepared = Preprocessing(image["side"], image["preprocessing"])
    norms = calibrate_on(
        backbone,
        (prepared(train.take(positions[start:end])) for start, end in spans(len(positions), BATCH_SIZE)),
    )
    log.info("calibrated %d batch norms of the random %s on training patches", norms, backbone.name)
    return norms > 0


def calibrate_on(backbone: keras.Model, images: Iterable[Any]) -> int:
    """Calibrate a backbone on batches of scaled patches, (n, height, width, 3) float32; return its number of norms.

    The momentum k / (k + 1) at batch k makes the moving average the mean over all batches.
    """
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [norm.momentum for norm in norms]
    trainable = backbone.trainable
    backbone.trainable = True  # frozen batch norm does not update its statistics
    for k, batch in enumerate(images):
        for norm in norms:
            norm.momentum = k / (k + 1)
        backbone(batch, training=True)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    backbone.trainable = trainable
    return len(norms)
