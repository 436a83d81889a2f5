"""Generators inside a model draw by (seed, epoch, place): a resumed run draws what an undisturbed one does there."""

import numpy as np
import pytest

from histobench.train.models import b6
from histobench.train.random_state import reseed


@pytest.fixture(scope="module")
def model():
    return b6((40, 40, 3))


def states(model) -> list[tuple[int, ...]]:
    """The states of its generators, one for each of B6's four dropouts."""
    values = [tuple(np.array(v).tolist()) for v in model.variables if v.path.endswith("seed_generator_state")]
    assert len(values) == 4
    return values


def test_a_seed_and_an_epoch_give_a_state_to_every_generator(model):
    by_seed = {}
    for seed in (1, 2):
        for epoch in (0, 1, 2):
            reseed(model, seed, epoch)
            by_seed[seed, epoch] = states(model)
    drawn = [state for each in by_seed.values() for state in each]
    assert len(set(drawn)) == len(drawn) == 2 * 3 * 4
    reseed(model, 1, 1)
    assert states(model) == by_seed[1, 1]


def test_what_was_drawn_before_does_not_matter(model):
    reseed(model, 1, 0)
    before = states(model)
    model(np.zeros((2, 40, 40, 3), np.float32), training=True)
    assert states(model) != before
    reseed(model, 1, 0)
    assert states(model) == before
