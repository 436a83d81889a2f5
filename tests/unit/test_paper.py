"""Published values: complete, consistent, and compared only with runs that are comparable."""

import pandas as pd
import pytest

from histobench.core.catalogue import CATALOGUE
from histobench.core.errors import HistobenchError
from histobench.results import paper
from support.paper import configuration
from support.project import ROOT

FOLDER = ROOT / "config" / "paper"
PUBLISHED = paper.read(FOLDER)
CONFIG = configuration()
RECIPE = {**CONFIG["recipes"]["paper"], "transfer": "cached"}


@pytest.mark.parametrize(("dataset", "of_tl", "of_full"), [("pcam", 10, 12), ("idc", 9, 11)])
def test_the_tables_hold_what_welchs_test_was_run_on(dataset, of_tl, of_full):
    modes = PUBLISHED.performance.loc[PUBLISHED.performance["format"] == dataset, "mode"]
    assert modes.value_counts().to_dict() == {"tl": of_tl, "full": of_full}


def test_every_model_mode_and_device_is_one_of_the_configuration_and_none_printed_twice():
    for frame in (PUBLISHED.sizes, PUBLISHED.speed, PUBLISHED.performance, PUBLISHED.tuned):
        assert set(frame["model"]) <= set(CATALOGUE)
        if "mode" in frame:
            assert set(frame["mode"]) == set(paper.COMPARED_MODES) or set(frame["mode"]) == {"full"}
    assert set(PUBLISHED.speed["device"]) <= set(CONFIG["devices"])
    assert set(PUBLISHED.code) < set(CATALOGUE)
    assert not PUBLISHED.performance.duplicated(["format", "model", "mode"]).any()
    assert not PUBLISHED.speed.duplicated(["device", "model", "mode"]).any()


def test_a_missing_file_is_named(tmp_path):
    for name in paper.FILES[1:]:
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    with pytest.raises(HistobenchError, match=r"no table1\.csv"):
        paper.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"epochs": 4}, "epochs 4 instead of 15"),
        ({"optimizer": {"name": "sgd", "learning_rate": 0.01}}, "optimizer sgd 0.01 instead of adam 0.001"),
        (
            {"optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True}},
            "optimizer sgd 0.01 momentum 0.9 nesterov true instead of adam 0.001",
        ),
        ({"input_scaling": "native"}, "input_scaling native instead of paper"),
        ({"augmentation": ["d4", "stain"]}, "augmentation d4 and stain"),
        ({"resize": 75}, "resize 75"),
        ({"augmentation": []}, ""),
        ({"precision": "mixed_float16"}, "precision mixed_float16 instead of float32"),
        ({"jit_compile": True}, "jit_compile true instead of false"),
        ({"precision": "float32", "jit_compile": False}, ""),
        ({"steps_per_epoch": 64, "validation_steps": 16}, "steps_per_epoch 64, validation_steps 16"),
        ({"transfer": "end_to_end"}, ""),
        ({"finetune": {"head_epochs": 5}}, ""),
        ({"epochs": 4, "batch_size": 64}, "epochs 4 instead of 15, batch_size 64 instead of 32"),
    ],
)
def test_a_recipe_says_where_it_leaves_the_papers(changes, words):
    assert paper.recipe_differs(RECIPE | changes) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 4, "best_epoch": "last"}, ""),
        ({"steps_per_epoch": 64, "validation_steps": 16}, ""),  # fewer steps, the same ones
        ({"batch_size": 256}, "batch_size 256 instead of 32"),
        (
            {"precision": "mixed_bfloat16", "jit_compile": True},
            "precision mixed_bfloat16 instead of float32, jit_compile true instead of false",
        ),
    ],
)
def test_steps_are_the_papers_whatever_the_number_of_them(changes, words):
    assert paper.steps_differ(RECIPE | changes) == words


@pytest.mark.parametrize(
    ("manifest", "comparable"),
    [
        ({"format": "pcam", "patches_are": "published"}, True),
        ({"format": "pcam", "patches_are": "subset"}, False),
        ({"format": "pcam", "patches_are": "simulated"}, False),
        ({"format": "idc", "patches_are": "published"}, False),  # its split is not published
        ({"format": "folder", "patches_are": "own"}, False),
    ],
)
def test_only_the_whole_of_pcam_is_the_papers_data(manifest, comparable):
    assert (paper.data_differ(manifest) == "") == comparable


@pytest.mark.parametrize(
    ("application", "mode", "transfer", "same"),
    [
        ("EfficientNetV2B0", "tl", "cached", False),
        ("EfficientNetV2B0", "tl", "end_to_end", True),
        ("EfficientNetV2B0", "full", "cached", True),
        ("MobileNet", "tl", "cached", True),
        (None, "full", "cached", True),
    ],
)
def test_cached_features_are_the_papers_but_for_efficientnetv2(application, mode, transfer, same):
    assert (paper.transfer_differs(application, mode, {"transfer": transfer}) == "") == same


@pytest.mark.parametrize(
    ("origin", "application", "same"),
    [("ImageNet", "VGG19", True), ("", None, True), ("random", "VGG19", False), ("own file", "VGG19", False)],
)
def test_only_imagenet_weights_are_the_papers(origin, application, same):
    assert (paper.weights_differ(origin, application) == "") == same


def test_numbers_are_numbers():
    assert all(pd.api.types.is_numeric_dtype(PUBLISHED.performance[column]) for column in ("loss", "accuracy", "auc"))
    assert PUBLISHED.performance[["accuracy", "auc"]].stack().between(0.5, 1).all()


def test_the_configuration_has_the_papers_cards_as_it_prints_them():
    for card in PUBLISHED.speed.drop_duplicates("device").to_dict("records"):
        device = CONFIG["devices"][card["device"]]
        facts = ("year", "cuda_cores", "gflops")
        assert [device[name] for name in facts] == [card[name] for name in facts]
