"""Batches: their order is a function of (seed, epoch), their scaling the recipe's."""

import sys

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core.catalogue import CATALOGUE
from histobench.core.prepared import Records
from histobench.train.batches import batches, order, resize, scale

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
    data = batches(records, chosen, batch_size=batch_size, image={"preprocessing": "unit", "side": 40})
    images, labels = zip(*((i.numpy(), label.numpy()) for i, label in data), strict=True)
    assert [len(i) for i in images[:-1]] == [batch_size] * (len(images) - 1)
    np.testing.assert_array_equal(np.concatenate(labels)[:, 0], records.labels[chosen])
    np.testing.assert_allclose(np.concatenate(images) * 255, records.take(chosen), atol=1e-3)
    assert images[0].dtype == np.float32


@pytest.mark.parametrize("model", [model for model in CATALOGUE.values() if model.application], ids=lambda m: m.key)
def test_native_scaling_is_the_backbones_own(model):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    module = sys.modules[getattr(keras.applications, model.application).__module__]
    expected = module.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(np.asarray(scale(images, model.preprocessing)), expected, atol=1e-4)


def test_unit_scaling_gives_fractions():
    images = np.array([[[[0, 51, 255]]]], np.uint8)
    np.testing.assert_allclose(scale(images, "unit"), [[[[0, 0.2, 1]]]])


@pytest.mark.parametrize("model", ["b2", "b6"])
def test_a_model_without_backbone_takes_fractions_in_either_scaling(model):
    assert CATALOGUE[model].preprocessing == "unit"


def test_patches_are_resized_bilinearly():
    ramp = np.broadcast_to(2 * np.arange(40, dtype=np.uint8)[:, None], (1, 40, 40, 3))
    # Half-pixel centres: new pixel i lies at (i + 0.5) / 2 - 0.5.
    np.testing.assert_allclose(resize(ramp, 80)[0, 5, 1:-1, 0], np.arange(1, 79) - 0.5, atol=1e-4)
    assert resize(ramp, 40) is ramp


def test_batches_hold_resized_patches(prepared_folder):
    records = Records(prepared_folder, "train")
    image = {"preprocessing": "unit", "side": 60}
    resized, _ = next(iter(batches(records, np.arange(3), batch_size=3, image=image)))
    assert (resized.shape, resized.dtype) == ((3, 60, 60, 3), np.float32)
    np.testing.assert_allclose(
        np.mean(resized, axis=(1, 2)), np.mean(records.take(np.arange(3)) / 255, (1, 2)), atol=0.01
    )
