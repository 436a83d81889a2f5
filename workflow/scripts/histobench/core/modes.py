"""Modes of training: which layers of a CNN are trained, and from which weights. How they print: `results/modes`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mode:
    """How a CNN of ``keras.applications``, a backbone and a head, is trained.

    Attributes
    ----------
    frozen : training starts with a frozen backbone, its batch norm in inference mode, and trains the head.
    unfreezes : after the recipe's `head_epochs` the backbone's upper layers are trained as well.
    pretrained : training starts from the model's pretrained weights, where it has any.
    key : the key of a recipe that concerns this mode alone; "" where there is none.
    """

    frozen: bool = False
    unfreezes: bool = False
    pretrained: bool = True
    key: str = ""

    @property
    def cacheable(self) -> bool:
        """Whether the backbone stays frozen, so that the head can be trained on cached features."""
        return self.frozen and not self.unfreezes

    def frozen_epochs(self, recipe: Mapping[str, Any]) -> int:
        """Return in how many of a recipe's epochs the backbone is frozen."""
        if self.unfreezes:
            return int(recipe[self.key]["head_epochs"])
        return int(recipe["epochs"]) if self.frozen else 0


ENSEMBLE = "ensemble"

MODES = {
    "tl": Mode(frozen=True, key="transfer"),
    "full": Mode(),
    "scratch": Mode(pretrained=False),
    "finetune": Mode(frozen=True, unfreezes=True, key="finetune"),
    # Of a result that nothing is trained for: the mean score of other cells.
    ENSEMBLE: Mode(pretrained=False),
}
TRAINED = {name: mode for name, mode in MODES.items() if name != ENSEMBLE}
