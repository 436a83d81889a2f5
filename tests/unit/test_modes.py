"""Modes of training: how long the backbone is frozen, and that each can be told from the others in print."""

from dataclasses import astuple

import pytest

from histobench.core.modes import MODES
from histobench.results import modes as in_print
from histobench.results.figures.style import COLOURS


@pytest.mark.parametrize(("mode", "epochs"), [("tl", 15), ("full", 0), ("scratch", 0), ("finetune", 5)])
def test_the_backbone_is_frozen_for_so_many_epochs(mode, epochs):
    assert MODES[mode].frozen_epochs({"epochs": 15, "finetune": {"head_epochs": 5}}) == epochs


def test_every_mode_has_a_name_and_a_look_of_its_own():
    assert list(in_print.MODES) == list(MODES)
    for values in zip(*map(astuple, in_print.MODES.values()), strict=True):
        assert len(set(values)) == len(MODES)
    assert {mode.colour for mode in in_print.MODES.values()} <= set(COLOURS)
