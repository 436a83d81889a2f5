"""How modes of training are called in print and drawn in figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """How a mode of :mod:`histobench.core.modes` is shown.

    Attributes
    ----------
    name : in tables and figures.
    in_words : in sentences.
    colour, marker, hatch : in all figures; a colour of `figures.style.COLOURS`, marker and hatch as matplotlib calls
        them.
    """

    name: str
    in_words: str
    colour: str
    marker: str
    hatch: str


MODES = {
    "tl": Printed("TL", "transfer learning", "orange", "s", ""),
    "full": Printed("full", "full training", "blue", "o", "////"),
    "scratch": Printed("scratch", "training from scratch", "green", "^", "...."),
    "finetune": Printed("fine-tuned", "fine-tuning", "purple", "D", "xxxx"),
}
