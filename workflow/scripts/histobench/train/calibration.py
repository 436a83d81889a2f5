"""Statistics of batch norm for random backbones that stay frozen."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from histobench.core.prepared import Records
from histobench.train import batches
from histobench.train.models import BACKBONE_SEED

log = logging.getLogger(__name__)

# Batches of training patches, and patches in each.
BATCHES = 8
BATCH_SIZE = 64


def calibrate(backbone: keras.Model, train: Records, image: Mapping[str, Any]) -> bool:
    """Set the statistics of a random backbone's batch norm to those of training patches.

    As they come, with mean 0 and variance 1, random deep backbones shrink what passes through them until nothing is
    left of it (MobileNet's features of real patches have a standard deviation of 8e-21), and no head could learn.
    Which patches it takes is the same in every run of the data set.

    Parameters
    ----------
    backbone : its moving means and variances are changed, nothing else.
    train : the training part.
    image : see :func:`histobench.train.batches.batches`.

    Returns
    -------
    calibrated : False for a backbone without batch norm, VGG19's for instance, which stays as it comes.
    """
    positions = batches.order(len(train), BACKBONE_SEED, 0)[: BATCHES * BATCH_SIZE]
    norms = calibrate_on(
        backbone, (images for images, _ in batches.batches(train, positions, batch_size=BATCH_SIZE, image=image))
    )
    log.info("calibrated %d batch norms of the random %s on training patches", norms, backbone.name)
    return norms > 0


def calibrate_on(backbone: keras.Model, images: Iterable[Any]) -> int:
    """Calibrate a backbone on batches of scaled patches, (n, height, width, 3) float32 each; return its batch norms.

    Notes
    -----
    The average over batches is exact: momentum k / (k + 1) at batch k makes the moving average a cumulative one.
    """
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [norm.momentum for norm in norms]
    trainable = backbone.trainable
    backbone.trainable = True  # batch norm that is frozen never looks at its batch
    for k, batch in enumerate(images):
        for norm in norms:
            norm.momentum = k / (k + 1)
        backbone(batch, training=True)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    backbone.trainable = trainable
    return len(norms)
