"""Optimizers as a recipe names them: known by Keras's source, refused before anything runs, built as asked for."""

from importlib.machinery import PathFinder

import keras
import numpy as np
import pytest

from histobench.core import optimizers, recipes
from histobench.core.errors import HistobenchError
from histobench.core.prepared import Records
from histobench.train.fit import Trainer, epochs
from histobench.train.hardware import Machine
from histobench.train.models import build
from support.optimizers import signatures
from support.small import COUNTS, SHAPE, Arrays, specification

SGD = {"name": "SGD", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "clipnorm": 1}


def test_the_source_of_keras_says_what_its_classes_do():
    assert optimizers.classes() == signatures()
    assert {"adam", "adamw", "sgd", "lion", "nadam"} <= set(optimizers.classes())


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"name": "adm"}, r"recipes\.r\.optimizer\.name: Keras 3.* has no 'adm'; did you mean 'adam'\?; known: adad"),
        ({"name": "LossScaleOptimizer"}, "has no 'lossscaleoptimizer'"),
        (
            {"momentm": 0.9},
            r"optimizer\.momentm: sgd of Keras 3.* takes no 'momentm'; did you mean 'momentum'",
        ),
        ({"beta_1": 0.9}, r"sgd of .* takes no 'beta_1'; known: learning_rate, momentum, nesterov, weight_decay"),
        ({"momentum": True}, r"optimizer\.momentum: expected a value like Keras's default, 0\.0, found True"),
        ({"momentum": [0.9]}, "found \\[0\\.9\\]"),
        ({"nesterov": 1}, "default, False, found 1"),
        ({"clipnorm": True}, "default, None, found True"),
        ({"use_ema": True}, r"optimizer\.use_ema: leave it out: the recipe has `average_weights`"),
        ({"jit_compile": True}, "the recipe has a `jit_compile` of its own"),
    ],
)
def test_what_keras_does_not_have_is_refused(told, message):
    with pytest.raises(HistobenchError, match=message):
        optimizers.check("r", {"optimizer": SGD | told})


def test_without_a_keras_a_job_decides(monkeypatch):
    monkeypatch.setattr(PathFinder, "find_spec", lambda name: None)
    optimizers.classes.cache_clear()
    optimizers.check("r", {"optimizer": {"name": "adm"}})
    optimizers.classes.cache_clear()


def compiled(mode="full", epoch=0, **optimizer):
    finetune = {"head_epochs": 1, "upper_layers": 0.3, "learning_rate": 0.25}
    spec = specification("tiny", mode, optimizer=optimizer, finetune=finetune)
    model = build(spec["model"], mode, SHAPE, seed=1)
    part = Arrays(np.zeros((4, *SHAPE), np.uint8), np.arange(4) % 2)
    trainer = Trainer(model, part, part, spec, Machine())
    trainer.compile(epoch)
    return trainer.optimizer


def test_the_optimizer_is_of_its_class_with_its_arguments():
    made = compiled(**SGD)
    assert type(made) is keras.optimizers.SGD
    assert (made.momentum, made.nesterov, made.clipnorm) == (0.9, True, 1)
    assert float(made.learning_rate) == pytest.approx(0.01)
    # Fine-tuning goes on with the same arguments at its own rate.
    made = compiled("finetune", 1, **SGD)
    assert (made.momentum, float(made.learning_rate)) == (0.9, 0.25)


@pytest.mark.parametrize("name", ["adam", "schedulefreeadamw"])
def test_the_first_step_starts_from_the_weights_of_the_model(name, prepared_folder):
    """Inside the graph of `fit`, ScheduleFreeAdamW would build itself on weights of zero."""
    spec = specification("b2", epochs=1, batch_size=COUNTS["train"], optimizer={"name": name, "learning_rate": 1e-5})
    train = Records(prepared_folder, "train")
    model = build(spec["model"], "full", train.shape, seed=1)
    before = model.get_weights()[0]
    next(epochs(Trainer(model, train, Records(prepared_folder, "valid"), spec, Machine()), before=[]))
    assert 0 < np.abs(model.get_weights()[0] - before).max() < 0.1 * np.abs(before).max()


def test_a_value_that_keras_does_not_take_is_named_before_training():
    with pytest.raises(HistobenchError, match=r"recipes\.r\.optimizer: Keras 3.* does not take .*'momentum': 2"):
        compiled(**SGD | {"momentum": 2})


def test_a_class_in_upper_or_lower_case_is_the_same_recipe():
    one, two = ({"optimizer": SGD | {"name": name}} for name in ("SGD", "sgd"))
    assert recipes.relevant(one, "full") == recipes.relevant(two, "full")
