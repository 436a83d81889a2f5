"""Batches: their order is a function of (seed, epoch), their scaling the recipe's."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.catalogue import CATALOGUE
from histobench.datasets.prepared import Records
from histobench.train.batches import batches, order, scale

SEEDS = st.integers(0, 2**32 - 1)


@given(n=st.integers(1, 500), seed=SEEDS, epoch=st.integers(0, 100))
def test_an_order_holds_every_patch_once(n, seed, epoch):
    assert sorted(order(n, seed, epoch)) == list(range(n))


@given(seed=SEEDS, epoch=st.integers(0, 100))
def test_orders_of_seeds_and_epochs_differ(seed, epoch):
    base = order(200, seed, epoch).tolist()
    assert order(200, seed, epoch).tolist() == base
    assert order(200, seed, epoch + 1).tolist() != base
    assert order(200, seed + 1, epoch).tolist() != base


@pytest.mark.parametrize("batch_size", [7, 32, 100])
def test_batches_follow_the_order_and_lose_nothing(prepared_folder, batch_size):
    records = Records(prepared_folder, "train")
    chosen = order(len(records), 3, 1)
    data = batches(records, chosen, batch_size=batch_size, input_scaling="paper", preprocessing="tf")
    images, labels = zip(*((i.numpy(), label.numpy()) for i, label in data), strict=True)
    assert [len(i) for i in images[:-1]] == [batch_size] * (len(images) - 1)
    np.testing.assert_array_equal(np.concatenate(labels)[:, 0], records.labels[chosen])
    np.testing.assert_allclose(np.concatenate(images) * 255, records.images(chosen), atol=1e-3)
    assert images[0].dtype == np.float32


MODULES = {
    "inceptionv3": keras.applications.inception_v3,
    "vgg19": keras.applications.vgg19,
    "resnet50": keras.applications.resnet50,
    "mobilenet": keras.applications.mobilenet,
    "densenet121": keras.applications.densenet,
    "densenet169": keras.applications.densenet,
    "densenet201": keras.applications.densenet,
    "efficientnetv2b0": keras.applications.efficientnet_v2,
    "efficientnetv2b1": keras.applications.efficientnet_v2,
    "efficientnetv2b2": keras.applications.efficientnet_v2,
}


@pytest.mark.parametrize("model", MODULES)
def test_native_scaling_is_the_backbones_own(model):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    ours = np.asarray(scale(images, "native", CATALOGUE[model].preprocessing))
    np.testing.assert_allclose(ours, MODULES[model].preprocess_input(images.astype(np.float32)), atol=1e-4)


@pytest.mark.parametrize("model", CATALOGUE)
def test_paper_scaling_is_the_same_for_all(model):
    images = np.array([[[[0, 51, 255]]]], np.uint8)
    np.testing.assert_allclose(scale(images, "paper", CATALOGUE[model].preprocessing), [[[[0, 0.2, 1]]]])


def test_a_model_without_backbone_takes_fractions_in_either_scaling():
    images = np.array([[[[0, 51, 255]]]], np.uint8)
    np.testing.assert_allclose(scale(images, "native", CATALOGUE["b2"].preprocessing), [[[[0, 0.2, 1]]]])
