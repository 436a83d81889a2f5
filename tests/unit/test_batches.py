"""Batches: their order is a function of (seed, epoch), their scaling the recipe's."""

import sys

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from histobench.core.catalogue import CATALOGUE
from histobench.core.errors import HistobenchError
from histobench.core.prepared import Records, shard_names
from histobench.train.batches import SMALLEST, Batches, order, size_without_gradients, spans
from histobench.train.hardware import Machine
from histobench.train.inputs import Resident, join, resize, scale
from support.small import prepare

SEEDS = st.integers(0, 2**32 - 1)


@hypothesis.given(n=st.integers(1, 500), seed=SEEDS, epoch=st.integers(0, 100))
def test_an_order_holds_every_patch_once(n, seed, epoch):
    assert sorted(order(n, seed, epoch)) == list(range(n))


@hypothesis.given(seed=SEEDS, epoch=st.integers(0, 100))
def test_orders_of_seeds_and_epochs_differ(seed, epoch):
    base = order(200, seed, epoch).tolist()
    assert order(200, seed, epoch).tolist() == base
    assert order(200, seed, epoch + 1).tolist() != base
    assert order(200, seed + 1, epoch).tolist() != base


@pytest.mark.parametrize("room", [0, 100, 1000, 10_000_000])
def test_what_is_predicted_at_a_time_fits_into_the_memory_of_a_card(room):
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    patch = 4 * (2 * 2 * 2 + 8)  # bytes of the outputs of its two layers
    size = size_without_gradients(network, Machine(output_bytes=room * patch))
    assert size.bit_count() == 1
    assert SMALLEST <= size <= max(room, SMALLEST)
    assert 2 * size > room or size >= 1024, "more would have fitted"


def given(data):
    """What Keras gets of batches: inputs by name, each of all patches, the labels, and the size of every batch."""
    inputs, labels = zip(*data, strict=True)
    joined = {name: np.concatenate([np.asarray(each[name]) for each in inputs]) for name in inputs[0]}
    return joined, np.concatenate(labels)[:, 0], [len(label) for label in labels]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("batch_size", [3, 7, 32, 100])
def test_batches_follow_the_order_and_lose_nothing(prepared_folder, batch_size, resident):
    records = Records(prepared_folder, "train")
    chosen = order(len(records), 3, 1)
    draws = {"numbers": np.arange(len(records))}
    data = Batches(records, chosen, batch_size, resident=resident, draws=draws)
    ways = [given(data.for_keras()), given(data[number] for number in range(len(data)))]
    for inputs, labels, sizes in ways:
        assert sizes == [end - start for start, end in spans(len(records), batch_size)]
        np.testing.assert_array_equal(labels, records.labels[chosen])
        np.testing.assert_array_equal(inputs.pop("numbers"), chosen)
        expected = {"positions": chosen} if resident else {"patches": records.take(chosen)}
        assert inputs.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(inputs[name], values)
            assert inputs[name].dtype == ("int32" if resident else "uint8")


def test_batches_may_be_asked_for_in_any_order_and_twice(prepared_folder):
    records = Records(prepared_folder, "train")
    data = Batches(records, np.arange(len(records)), 10)
    for number in (0, 1, 0, 6, 2, 6):
        np.testing.assert_array_equal(data[number][0]["patches"][0], records.take(np.array([10 * number]))[0])


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


@pytest.mark.parametrize("resident", [True, False])
def test_a_joined_model_gives_the_network_resized_and_scaled_patches(prepared_folder, resident):
    records = Records(prepared_folder, "train")
    image = {"preprocessing": "unit", "side": 60}
    network = keras.Sequential([keras.Input((60, 60, 3)), keras.layers.Identity()])
    data = Batches(records, np.array([5, 2, 7]), 3, resident=resident)
    found = join(network, records, image, resident=resident).predict(data, verbose=0)
    assert (found.shape, found.dtype) == ((3, 60, 60, 3), np.float32)
    stored = records.take(np.array([5, 2, 7]))
    np.testing.assert_allclose(found.mean((1, 2)), stored.mean((1, 2)) / 255, atol=0.01)
    np.testing.assert_allclose(found, resize(stored, 60) / 255, rtol=1e-6)


def test_patches_on_the_device_are_checked_when_they_are_put_there(tmp_path):
    folder = prepare(tmp_path, {"train": 9, "valid": 3, "test": 3})
    with (folder / shard_names("train")[1]).open("r+b") as shard:
        shard.seek(500)
        shard.write(b"no patch")
    with pytest.raises(HistobenchError, match="record 0, patch train-1: expected bytes of CRC-32"):
        Resident(Records(folder, "train"))
