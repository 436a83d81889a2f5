"""`runs.csv`: its rows, from the files of run folders."""

import pandas as pd
import pytest

from histobench.core import paths, runs
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, write_sealed
from histobench.results import collect
from histobench.results.cells import NAMES

MANIFEST = {"dataset": "dataset", "format": "pcam", "split": "published", "leaky": False, "patches_are": "published"}
MANIFEST |= {"patches": {"train": {"n": 262144, "groups": 216}, "valid": {"n": 32768}, "test": {"n": 32768}}}
RECIPE = {"epochs": 4, "batch_size": 32, "optimizer": {"name": "adam", "learning_rate": 0.001}}
RECIPE |= {"input_scaling": "paper", "best_epoch": "val_accuracy"}
CARD = {"gpu": "NVIDIA A100-SXM4-40GB", "tf32": True, "processor": "a processor"}
CPU = {"gpu": None, "tf32": None, "processor": "a processor"}
UNIT = {"preprocessing": "unit", "side": 96}
# An epoch each: seconds of training and of validation, and joules.
EPOCHS = [(60.0, 9.0, 9000.0), (20.5, 5.25, 8000.0), (22.0, 5.0, 8200.0), (20.0, 7.0, 8100.0)]


def collected(folder, epochs=EPOCHS, device=CARD, recipe=(), instead=None, image=UNIT, encoder="", **about):
    """Return the row of a timing run, as read from the file; some files may hold something else `instead`."""
    specification = {
        "run": {name: name for name in NAMES} | {"mode": "full", "seed": 1},
        "model": {"key": "model", "application": None, "weights_origin": ""},
        "recipe": RECIPE | dict(recipe),
        "input": image,
    }
    known = (
        {"specification": specification, "recipe": RECIPE | dict(recipe), "features": None, "best_epoch": 2}
        | {"parameters": 1000, "precision": "float32", "jit_compile": False, "device": device}
        | {"multiply_adds": {"forward": 150_000_000, "trained": 140_000_000}}
        | {"settings": {"backend": "jax"}}
        | {"epoch_patches": {"train": 262144, "valid": 32768}}
        | {"peak_device_memory_mib": 3512 if device["gpu"] else None}
    )
    folder = folder / paths.RUN.format(**specification["run"])
    runs.write_rows(folder / runs.PREDICTIONS, [{"score": 0.5}])
    floor = {"predictions_sha256": digest(folder / runs.PREDICTIONS), "test": {"auc": 0.75}}
    files = {"manifest": MANIFEST, "floor": floor, "run": known | about}
    for name, content in (files | (instead or {})).items():
        write_sealed(folder / f"{name}.json", content)
    names = ("training_seconds", "validation_seconds", "energy_joules")
    rows = [{"epoch": n + 1} | dict(zip(names, each, strict=True)) for n, each in enumerate(epochs)]
    runs.write_rows(folder / runs.TIMING, rows)
    collect.write(
        folder / "runs.csv",
        folders=[folder],
        data={"dataset": folder / "manifest.json"},
        controls={"dataset": folder / "floor.json"},
        names={"model": "B2"},
        timing_only=["recipe"],
        encoders={} if image else {"model": encoder},
        subsets={"dataset": "half of them"},
    )
    table = collect.read(folder / "runs.csv")
    assert tuple(table) == collect.COLUMNS
    assert len(table) == 1
    return table.iloc[0]


def test_the_first_epoch_stands_apart_from_those_that_are_summed_up(tmp_path):
    row = collected(tmp_path)
    assert row["first_epoch_seconds"] == 69
    for part, seconds in {"training": [20.5, 20, 22], "validation": [5.25, 5, 7]}.items():
        assert row[[f"{part}_seconds_per_epoch{end}" for end in ("", "_low", "_high")]].tolist() == seconds
    assert row["energy_joules_per_epoch"] == 8100
    # What the whole run took.
    assert row[["epochs", "train_seconds", "validation_seconds"]].tolist() == [4, 122.5, 26.25]


def test_a_single_epoch_tells_of_the_start_up_alone(tmp_path):
    row = collected(tmp_path, EPOCHS[:1])
    assert row["first_epoch_seconds"] == 69
    of_later = [name for name in collect.COLUMNS if "seconds_per_epoch" in name] + ["energy_joules_per_epoch"]
    assert len(of_later) == 7
    assert row[of_later].isna().all()


def test_what_a_device_does_not_tell_is_empty(tmp_path):
    row = collected(tmp_path, [(*each[:2], None) for each in EPOCHS], CPU)
    assert row[["energy_joules_per_epoch", "tf32", "peak_device_memory_mib"]].isna().all()
    assert (row["training_seconds_per_epoch"], row["found_device"]) == (20.5, "a processor")


def test_how_the_steps_were_computed_is_told(tmp_path):
    changes = {"batch_size": 256, "precision": "mixed_float16", "jit_compile": True}
    row = collected(tmp_path, recipe=changes, precision="mixed_float16", jit_compile=True)
    names = ["batch_size", "precision", "jit_compile", "tf32", "backend"]
    assert row[names].tolist() == [256, "mixed_float16", True, True, "jax"]
    assert row[["multiply_adds_forward", "multiply_adds_trained"]].tolist() == [150_000_000, 140_000_000]
    assert (row["peak_device_memory_mib"], row["found_device"]) == (3512, CARD["gpu"])
    assert row["steps_differ"] == (
        "batch_size 256 instead of 32, precision mixed_float16 instead of float32, jit_compile true instead of false"
    )


@pytest.mark.parametrize("covered", [{"train": 2048, "valid": 512}, {"train": 262144, "valid": 32768}])
def test_seconds_are_as_measured_over_the_patches_that_an_epoch_covers(tmp_path, covered):
    steps = {"steps_per_epoch": 64, "validation_steps": 16} if covered["train"] == 2048 else {}
    row = collected(tmp_path, recipe=steps, epoch_patches=covered)
    assert row[["train_patches_per_epoch", "valid_patches_per_epoch"]].tolist() == list(covered.values())
    assert row[["n_train", "n_valid"]].tolist() == [262144, 32768]
    assert row["training_seconds_per_epoch"] == 20.5
    assert row["steps_differ"] == ""
    assert ("steps_per_epoch" in row["recipe_differs"]) == bool(steps)


OTHER_RUN = {"specification": {"run": {name: name for name in NAMES} | {"seed": 2}}}


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("run", OTHER_RUN, "one of the run dataset/model/mode/recipe/device/seed-2"),
        ("manifest", MANIFEST | {"dataset": "another"}, "one of the data set another"),
        ("floor", {"predictions_sha256": "0", "test": {"auc": 0.75}}, "one of other predictions than predictions.csv"),
    ],
)
def test_a_file_that_belongs_elsewhere_is_refused(tmp_path, name, content, found):
    with pytest.raises(HistobenchError, match=rf"{name}\.json: expected the file that was written here, found {found}"):
        collected(tmp_path, instead={name: content})


@pytest.mark.parametrize(
    ("image", "parameters", "seconds", "differ"), [(UNIT, 1000, 45, ""), (None, None, None, "embeddings of others")]
)
def test_what_nobody_here_knows_of_the_features_of_others_is_empty(image, parameters, seconds, differ, tmp_path):
    features = {"specification": {"input": image}, "extraction_seconds": {"train": 40, "valid": 5} if image else {}}
    row = collected(tmp_path, image=None, features=features)
    found = [None if pd.isna(row[name]) else row[name] for name in ("parameters", "features_seconds")]
    assert found == [parameters, seconds]
    assert row["weights_differ"] == differ
    assert row["weights"] == ("" if image else "not stated")


def test_what_is_in_no_file_of_a_run_is_told_by_the_configuration(tmp_path):
    """Nothing depends on the encoder's name, and the folder of one seed's subset does not say that others differ."""
    features = {"specification": {"input": None}, "extraction_seconds": {}}
    row = collected(tmp_path, image=None, encoder="UNI", features=features)
    assert row["weights"] == "UNI"
    assert row["split"] == "published, by slide; half of them"
