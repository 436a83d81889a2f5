"""The learning rate from step to step and from epoch to epoch, and when training stops.

All are functions of the step, or of the history, alone. So a run that is resumed goes on as it would have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from histobench.core.recipes import lower_is_better

History = Sequence[Mapping[str, float]]


class LearningRate:
    """The learning rate of a stage, whose epochs train the same layers by one optimizer.

    Parameters
    ----------
    rate : of the recipe, for this stage.
    schedule : of the recipe; None for a constant rate.
    stage : its epochs, counted from 0.
    steps : of an epoch.

    Attributes
    ----------
    for_keras : a number, or a schedule of Keras: what the optimizer is made with.
    """

    def __init__(self, rate: float, schedule: Mapping[str, Any] | None, stage: range, steps: int) -> None:
        self._stage, self._steps = stage, steps
        self._plateau = schedule if schedule and schedule["name"] == "plateau" else None
        self.for_keras: Any = float(rate)
        if schedule and schedule["name"] == "cosine":
            self.for_keras = _cosine(float(rate), schedule, steps, len(stage))

    def before(self, optimizer: "keras.optimizers.Optimizer", history: History) -> None:
        """Set what an optimizer does not know by itself, before the epoch that follows this history."""
        if self._plateau:
            optimizer.learning_rate = self._reduced(history)

    def of_last_step(self, history: History) -> float:
        """Return the rate of the last step of the epoch that follows this history."""
        if callable(self.for_keras):
            return float(self.for_keras((len(history) + 1 - self._stage.start) * self._steps - 1))
        return self._reduced(history) if self._plateau else self.for_keras

    def _reduced(self, history: History) -> float:
        assert self._plateau is not None
        return reduced(self.for_keras, self._plateau, history[self._stage.start :])


def _cosine(rate: float, schedule: Mapping[str, Any], steps: int, epochs: int) -> Any:
    """Return Keras's schedule for a linear warm-up to a rate, and its decay by half a cosine, over so many epochs.

    Its first step has a rate above 0.
    """
    warmup = round(schedule.get("warmup_epochs", 0) * steps)
    return keras.optimizers.schedules.CosineDecay(
        rate / warmup if warmup else rate,
        decay_steps=steps * epochs - warmup,
        alpha=schedule.get("alpha", 0.0),
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )


def reduced(rate: float, plateau: Mapping[str, Any], history: History) -> float:
    """Return what a learning rate is after some epochs, by the rule of Keras's `ReduceLROnPlateau` without cooldown.

    Parameters
    ----------
    rate : of the first epoch.
    plateau : `monitor`, a column of the history, `factor`, `patience`, and if they are given `min_delta` and
        `min_learning_rate`.
    history : rows of the epochs so far.
    """
    for out_of_patience in _waits(plateau, history):
        if out_of_patience:
            rate = max(rate * plateau["factor"], plateau.get("min_learning_rate", 0.0))
    return rate


def stops(rule: Mapping[str, Any] | None, history: History) -> bool:
    """Return whether training stops early after some epochs, by the rule of Keras's `EarlyStopping`.

    Parameters
    ----------
    rule : `monitor`, `patience` and, if it is given, `min_delta`; None where training never stops early.
    history : rows of the epochs so far.
    """
    return rule is not None and any(_waits(rule, history))


def _waits(rule: Mapping[str, Any], history: History) -> list[bool]:
    """Return for each epoch whether the last `patience` ones were not better than the best before, by `min_delta`.

    After such an epoch the count starts anew. What is no number is never better.
    """
    sign = -1 if lower_is_better(rule["monitor"]) else 1
    best, waited, found = float("-inf"), 0, []
    for row in history:
        value = sign * row[rule["monitor"]]
        better = value - rule.get("min_delta", 0.0) > best
        best, waited = (value, 0) if better else (best, waited + 1)
        found.append(waited == rule["patience"])
        waited %= rule["patience"]
    return found
