"""A model that starts from what a run has learned: what is taken over, and what is refused."""

import numpy as np
import pytest

from histobench.core.cells import Run
from histobench.core.errors import HistobenchError
from histobench.train import models
from histobench.train.provenance import About
from support import jobs
from support.paper import configuration, study
from support.small import SHAPE, specification

RUN = "pcam/mobilenet/full/paper/a100/seed-1"


def block(**changes):
    return {"datasets": ["idc"], "models": ["mobilenet-pcam"], "modes": ["tl", "full"], "recipes": ["paper"],
            "devices": ["a100"], "seeds": [1]} | changes  # fmt: skip


def made(run=RUN, matrix=None, recipes=None, **model):
    return study(
        models={"mobilenet-pcam": {"weights": {"run": run}} | model},
        recipes=configuration()["recipes"] | (recipes or {}),
        matrix=[matrix or block()],
    )


def test_a_model_is_that_of_the_run_and_tables_say_where_its_weights_are_from():
    model = made().models["mobilenet-pcam"]
    assert (model.application, model.preprocessing, model.name) == ("MobileNet", "tf", "MobileNet (pcam)")
    spec = made().specification(Run("idc", "mobilenet-pcam", "full", "paper", "a100", 1))
    assert spec["model"]["weights_origin"] == f"run {RUN}"
    assert spec["model"]["weights_head"] == [256, None]
    plain = made().specification(Run("idc", "mobilenet", "full", "paper", "a100", 1))
    assert "weights_head" not in plain["model"]
    scratch = made().specification(Run("idc", "mobilenet-pcam", "scratch", "paper", "a100", 1))
    assert scratch["model"]["weights_origin"] == "scratch" and "weights_head" not in scratch["model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "pcam/mobilenet/full"}, r"mobilenet-pcam\.weights\.run: expected dataset/model/mode/.*/seed-1, found"),
        ({"run": RUN.replace("mobilenet", "mobilnet")}, r"'mobilnet' is not defined; did you mean 'mobilenet'"),
        (
            {"run": RUN.replace("mobilenet", "mobilenet-pcam")},
            r"weights\.run: expected a run of a model of the catalogue, or of one above it, found a run of itself",
        ),
        ({"run": RUN.replace("pcam", "pcan")}, r"'pcan' is not defined"),
        ({"run": RUN.replace("mobilenet", "b2")}, r"expected a run of a CNN of keras.applications.*, found one of B2"),
        ({"run": RUN.replace("full", "tl")}, r"cannot be started from: in mode tl it trains no backbone"),
        ({"run": RUN.replace("paper", "linear")}, r"cannot be started from: `standardize` is for heads"),
        ({"application": "VGG19"}, r"expected a run of VGG19, found one of MobileNet"),
    ],
)
def test_what_is_no_run_of_a_backbone_is_refused(options, message):
    with pytest.raises(HistobenchError, match=message):
        made(**options)


@pytest.mark.parametrize(
    ("run", "dataset", "recipe", "reason"),
    [
        (RUN, "idc", "paper", ""),
        (RUN, "pcam", "paper", ""),
        (RUN, "idc", "native", "its weights are of a run with `input_scaling: paper`"),
        (RUN.replace("pcam/", "idc/"), "idc-random", "paper", "may have trained on test patches of idc-random"),
    ],
)
def test_no_cell_starts_from_its_test_patches_or_another_scaling(run, dataset, recipe, reason):
    wanted = block(datasets=[dataset], modes=["full"], recipes=[recipe], models=["mobilenet-pcam", "b2"])
    (left,) = [reason for cell, reason in made(run, wanted).left_out.items() if cell.model != "b2"] or [""]
    assert reason in left and bool(reason) == bool(left)


def test_no_cell_starts_from_its_test_patches_by_way_of_another_data_set():
    """From IDC to PCam, and back to a random split of IDC."""
    chain = {
        "first": {"weights": {"run": RUN.replace("pcam/", "idc/")}},
        "second": {"weights": {"run": RUN.replace("mobilenet", "first")}},
    }
    (reason,) = study(
        models=chain, matrix=[block(datasets=["idc-random", "pcam"], models=["second"], modes=["full"])]
    ).left_out.values()
    assert reason == "its weights are of a run on idc, which may have trained on test patches of idc-random"


def test_models_that_start_from_each_other_stand_in_their_order():
    second = {"weights": {"run": RUN.replace("mobilenet", "first")}}
    with pytest.raises(HistobenchError, match=r"second\.weights\.run: .* found one of first, which stands below it"):
        study(models={"second": second, "first": {"weights": {"run": RUN}}})


@pytest.mark.parametrize("mode", ["full", "finetune"])
def test_the_backbone_is_that_of_the_run_and_the_head_is_new(mode, prepared_folder, tmp_path):
    """Layers that fine-tuning has left as they were included."""
    finetune = {"head_epochs": 1, "upper_layers": 0.3, "learning_rate": 0.001}
    spec = specification("tiny", mode, epochs=2, dense_units=8, finetune=finetune)
    jobs.run("train", prepared_folder, tmp_path / "first", None, spec=spec, code="c")
    source = models.build(spec["model"], mode, SHAPE, seed=1, dense=models.Dense(8))
    models.load(source, tmp_path / "first" / "best.weights.h5")
    of_run = spec["model"] | {"weights_head": [8, None]}
    found = models.build(of_run, "tl", SHAPE, seed=2, weights=tmp_path / "first" / "best.weights.h5")
    fresh = models.build(spec["model"], "tl", SHAPE, seed=2)
    for weight, expected in zip(found.layers[0].get_weights(), source.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    for layer, expected in zip(found.layers[1:], fresh.layers[1:], strict=True):
        for weight, other in zip(layer.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, other)


def test_weights_that_a_run_has_not_written_are_refused(prepared_folder, tmp_path):
    spec = specification("tiny", epochs=1)
    jobs.run("train", prepared_folder, tmp_path, None, spec=spec, code="c")
    path = tmp_path / "best.weights.h5"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.unlink()
    path.write_bytes(damaged)
    task = jobs.Task(spec=spec, data=prepared_folder, weights=path)
    with pytest.raises(HistobenchError, match=r"best\.weights\.h5"):
        _ = About(task).inputs
