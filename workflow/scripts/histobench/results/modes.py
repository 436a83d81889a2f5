"""Printed names of the modes of training, and their looks in figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModeStyle:
    """Name and look of a mode of :mod:`histobench.core.modes`.

    Attributes
    ----------
    name : in tables and figures.
    in_words : in sentences.
    colour : key of `figures.style.COLOURS`.
    marker, hatch : of matplotlib.
    """

    name: str
    in_words: str
    colour: str
    marker: str
    hatch: str


MODES = {
    "tl": ModeStyle("TL", "transfer learning", "orange", "s", ""),
    "full": ModeStyle("full", "full training", "blue", "o", "////"),
    "scratch": ModeStyle("scratch", "training from scratch", "green", "^", "...."),
    "finetune": ModeStyle("fine-tuned", "fine-tuning", "purple", "D", "xxxx"),
    "ensemble": ModeStyle("ensemble", "ensembles", "grey", "*", "++++"),
}
