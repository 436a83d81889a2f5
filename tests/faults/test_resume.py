"""A job stopped or killed at any moment goes on where it was, and ends as an undisturbed one does, to the bit."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from histobench.core import optimizers
from histobench.core.files import read_sealed
from histobench.core.prepared import SPLITS
from histobench.core.state import start_anew
from support import jobs
from support.processes import (
    assert_equal_features,
    assert_equal_runs,
    epochs_done,
    events,
    finish,
    job,
    kill,
    wait_until,
)
from support.small import EVERY_KEY, features_specification, specification
from support.stops import MOMENTS

# Of jobs in this process, and of those that are killed, which must get on with it while somebody aims at them.
EPOCHS, MANY = 3, 10
FINETUNE = {"head_epochs": 2, "upper_layers": 0.3, "learning_rate": 0.0001}


def train(data: Path, folder: Path, *, model="tiny", mode="full", seed=1, code="c", stop=None, epochs=EPOCHS, **recipe):
    """Train in this process; with `stop` to this moment. B6, which has dropout, is killed below."""
    spec = specification(model, mode, seed=seed, epochs=epochs, **recipe)
    jobs.run("train", data, folder, stop, spec=spec, code=code)


@pytest.fixture(scope="module")
def undisturbed(prepared_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(prepared_folder, folder)
    return folder


# Training, stopped in this process.


def test_a_run_that_is_stopped_wherever_its_state_is_written(prepared_folder, undisturbed, tmp_path):
    for step in ("epoch-0001", "epoch-0002", "outputs"):
        for moment in MOMENTS:
            train(prepared_folder, tmp_path, stop=(step, moment))
    train(prepared_folder, tmp_path)
    starts = [line.rpartition(": ")[2] for line in events(tmp_path).splitlines()]
    assert [text for text in starts if "epoch" in text or "before" in text] == [
        *["starting at epoch 1"] * 3,
        *["going on after epoch 1"] * 3,
        *["going on after epoch 2"],
        *["going on after epoch 3"] * 2,
        "finished before; the outputs are rebuilt from the state",
    ]
    assert_equal_runs(tmp_path, undisturbed)


OPTIMIZERS = {
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True}},
    "adamw": {"optimizer": {"name": "adamw", "learning_rate": 0.001, "weight_decay": 0.01, "amsgrad": True}},
    # Part of the state are the scale of the loss, which Keras moves as it goes, and a product of Nadam's, which Keras
    # keeps apart. B6 takes minutes in float16 on a CPU.
    "mixed": {"optimizer": {"name": "nadam", "learning_rate": 0.001}, "precision": "mixed_float16"},
}


ARGUMENTS = {"learning_rate": 0.001, "weight_decay": 0.01, "gradient_accumulation_steps": 3}
EVERY = {f"every: {name}": {"optimizer": {"name": name} | ARGUMENTS} for name in optimizers.classes()}


@pytest.mark.parametrize(
    "recipe",
    [
        *(pytest.param(recipe, id=name) for name, recipe in OPTIMIZERS.items()),
        *(pytest.param(recipe, id=name, marks=pytest.mark.long) for name, recipe in EVERY.items()),
    ],
)
def test_a_run_by_another_optimizer_that_is_stopped(prepared_folder, tmp_path, recipe):
    recipe = recipe | {"epochs": 2}
    train(prepared_folder, tmp_path / "undisturbed", **recipe)
    train(prepared_folder, tmp_path / "run", stop=("epoch-0001", "after"), **recipe)
    train(prepared_folder, tmp_path / "run", **recipe)
    assert "going on after epoch 1" in events(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", tmp_path / "undisturbed")


def test_a_run_with_schedule_average_and_early_stopping_that_is_stopped(prepared_folder, tmp_path):
    recipe = EVERY_KEY | {"model": "b6", "augmentation": ["d4", "stain-strong"]}
    train(prepared_folder, tmp_path / "undisturbed", **recipe)
    for epoch in (1, 2, 3):
        train(prepared_folder, tmp_path / "run", stop=(f"epoch-{epoch:04d}", "after"), **recipe)
    train(prepared_folder, tmp_path / "run", **recipe)
    assert events(tmp_path / "run").count("going on after epoch") == 3
    assert_equal_runs(tmp_path / "run", tmp_path / "undisturbed")
    assert read_sealed(tmp_path / "run" / "run.json")["epochs"] == 3


def test_a_run_that_is_stopped_in_either_stage_of_fine_tuning(prepared_folder, tmp_path):
    """The optimizer of the second stage is not that of the first, and trains other weights."""
    options = {"mode": "finetune", "finetune": FINETUNE, "epochs": 4}
    train(prepared_folder, tmp_path / "undisturbed", **options)
    for epoch in (1, 2, 3):
        train(prepared_folder, tmp_path / "run", stop=(f"epoch-{epoch:04d}", "after"), **options)
    train(prepared_folder, tmp_path / "run", **options)
    assert events(tmp_path / "run").count("going on after epoch") == 3
    assert_equal_runs(tmp_path / "run", tmp_path / "undisturbed")


@pytest.fixture(scope="module")
def half_way(prepared_folder, tmp_path_factory) -> Path:
    """A run that was stopped after its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "half-way"
    train(prepared_folder, folder, stop=("epoch-0002", "after"))
    return folder


@pytest.fixture
def stopped(half_way, tmp_path) -> Path:
    return Path(shutil.copytree(half_way, tmp_path / "run"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_state_falls_back_to_the_one_before(prepared_folder, stopped, undisturbed, damage):
    path = stopped / ".state" / "epoch-0002" / "model.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    train(prepared_folder, stopped)
    assert "epoch-0002 is damaged" in events(stopped)
    assert "going on after epoch 1" in events(stopped)
    assert_equal_runs(stopped, undisturbed)


@pytest.mark.parametrize("change", [{"seed": 2}, {"code": "another code"}, {"batch_size": 14}])
def test_a_state_of_another_seed_code_or_recipe_is_set_aside(prepared_folder, stopped, change):
    train(prepared_folder, stopped, **change)
    assert "the state is of another recipe, seed, data set or code" in events(stopped)
    assert events(stopped).count("starting at epoch 1") == 2
    assert "going on" not in events(stopped)
    assert list((stopped / ".state" / "set-aside").glob("epoch-*/model.npz"))


@pytest.mark.parametrize("state", ["half way", "finished"])
def test_a_forced_run_starts_anew_once_and_then_goes_on_where_it_was_stopped(
    prepared_folder, stopped, undisturbed, state
):
    if state == "finished":
        train(prepared_folder, stopped)
    before = events(stopped)
    assert start_anew(stopped / ".state")
    train(prepared_folder, stopped, stop=("epoch-0001", "after"))
    train(prepared_folder, stopped)
    since = events(stopped).removeprefix(before)
    assert since.count("told to force this job") == since.count("starting at epoch 1") == 1
    assert "going on after epoch 1" in since
    assert list((stopped / ".state" / "set-aside").iterdir())
    assert_equal_runs(stopped, undisturbed)


def test_there_is_nothing_to_start_anew_before_the_first_start(tmp_path):
    assert not start_anew(tmp_path / ".state")
    assert not (tmp_path / ".state").exists()


# Training, in processes that are really killed.


def start_training(data: Path, folder: Path, epochs: int = MANY, **recipe) -> subprocess.Popen:
    return job("train", data, folder, spec=specification("b6", epochs=epochs, **recipe))


def kill_at(process: subprocess.Popen, folder: Path, moment: str, rng: random.Random) -> str:
    """Kill the process within an epoch or a save, once it has finished another epoch; return what its state held."""
    before = epochs_done(folder)
    wait_until(lambda: epochs_done(folder) != before, process, pause=0.001)
    if moment == "save":
        wait_until(lambda: list((folder / ".state").glob(".tmp-epoch-*/*")), process, pause=0.0002)
    else:
        time.sleep(rng.uniform(0, 0.1))
    kill(process)
    return ", ".join(sorted(path.name for path in (folder / ".state").iterdir()))


def test_a_run_that_is_killed_and_told_to_end(prepared_folder, tmp_path):
    """By SIGKILL within an epoch and within a save, by SIGTERM between the two."""
    folder, rng = tmp_path / "run", random.Random(2)
    kill_at(start_training(prepared_folder, folder), folder, "epoch", rng)

    before, process = epochs_done(folder), start_training(prepared_folder, folder)
    wait_until(lambda: epochs_done(folder) != before, process, pause=0.001)
    process.send_signal(signal.SIGTERM)
    finish(process, 128 + signal.SIGTERM)
    assert "SIGTERM: ending; what is finished so far is safe" in events(folder)
    last = int(epochs_done(folder)[-1].removeprefix("epoch-"))

    assert ".tmp-epoch" in kill_at(start_training(prepared_folder, folder), folder, "save", rng)
    assert f"going on after epoch {last}" in events(folder)
    for each in (folder, tmp_path / "undisturbed"):
        train(prepared_folder, each, model="b6", epochs=MANY)
    assert events(folder).count("going on after epoch") == 3
    assert_equal_runs(folder, tmp_path / "undisturbed")


# All that a recipe can say of how training goes, with patience for 22 epochs.
MOST = {key: value for key, value in EVERY_KEY.items() if key != "epochs"} | {
    "augmentation": ["d4", "stain-strong"],
    "early_stopping": EVERY_KEY["early_stopping"] | {"patience": 21},
}


@pytest.mark.long
@pytest.mark.parametrize("recipe", [{}, MOST], ids=["plain", "every key"])
def test_ten_kills_of_a_training(prepared_folder, tmp_path, recipe):
    undisturbed, folder, rng = tmp_path / "undisturbed", tmp_path / "run", random.Random(10)
    finish(start_training(prepared_folder, undisturbed, 24, **recipe))
    for _ in range(10):
        kill_at(start_training(prepared_folder, folder, 24, **recipe), folder, rng.choice(["epoch", "save"]), rng)
    finish(start_training(prepared_folder, folder, 24, **recipe))
    assert_equal_runs(folder, undisturbed)
    assert read_sealed(folder / "run.json")["epochs"] == (22 if recipe else 24)


# Feature extraction.

CHUNK = 24  # three parts of the training patches, one of validation, two of test


def extract(data: Path, folder: Path, stop=None, code="c") -> None:
    jobs.run("extract", data, folder, stop, spec=features_specification("tiny"), chunk=CHUNK, code=code)


@pytest.fixture(scope="module")
def undisturbed_extraction(prepared_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "undisturbed"
    extract(prepared_folder, folder)
    return folder


def test_an_extraction_that_is_stopped_wherever_its_state_is_written(prepared_folder, undisturbed_extraction, tmp_path):
    for step in ("train-00000", "valid-00000", "outputs"):
        for moment in MOMENTS:
            extract(prepared_folder, tmp_path, stop=(step, moment))
    extract(prepared_folder, tmp_path)
    starts = [line.rpartition(": ")[2] for line in events(tmp_path).splitlines()]
    assert [text for text in starts if "going on" in text or "before" in text] == [
        *["going on with 5 of 6 parts"],
        *["going on with 3 of 6 parts"] * 2,
        *["going on with 2 of 6 parts"],
        *["going on with 0 of 6 parts"] * 2,
        "finished before; the outputs are rebuilt from the state",
    ]
    assert_equal_features(tmp_path, undisturbed_extraction)


def test_a_damaged_part_of_an_extraction_is_computed_anew(prepared_folder, undisturbed_extraction, tmp_path):
    extract(prepared_folder, tmp_path, stop=("train-00001", "after"))
    path = tmp_path / ".state" / "train-00000" / "part.npz"
    path.write_bytes(path.read_bytes()[:-7])
    extract(prepared_folder, tmp_path)
    assert "train-00000 is damaged" in events(tmp_path)
    assert "computing it anew" in events(tmp_path)
    assert_equal_features(tmp_path, undisturbed_extraction)


def test_an_extraction_by_another_code_starts_anew(prepared_folder, undisturbed_extraction, tmp_path):
    extract(prepared_folder, tmp_path, stop=("train-00001", "after"))
    extract(prepared_folder, tmp_path, code="another code")
    assert "the state is of another recipe, seed, data set or code" in events(tmp_path)
    assert "going on with" not in events(tmp_path)
    assert_equal_features(tmp_path, undisturbed_extraction)


def parts_done(folder: Path) -> set[str]:
    return {path.name for split in SPLITS for path in (folder / ".state").glob(f"{split}-*")}


@pytest.mark.parametrize(("model", "kills"), [("tiny", 2), pytest.param("mobilenet", 10, marks=pytest.mark.long)])
def test_an_extraction_that_is_killed(prepared_folder, tmp_path, model, kills):
    """Each time after another finished part."""
    spec, folder, rng = features_specification(model), tmp_path / "killed", random.Random(kills)
    done = [0]
    for _ in range(kills):
        process = job("extract", prepared_folder, folder, spec=spec, chunk=2)
        before = parts_done(folder)
        wait_until(lambda before=before: parts_done(folder) != before, process, pause=0.001)
        time.sleep(rng.uniform(0, 0.02))
        kill(process)
        done.append(len(parts_done(folder)))
    finish(job("extract", prepared_folder, folder, spec=spec, chunk=2))
    assert done == sorted(set(done))  # it never started over
    assert events(folder).count("going on with") == kills
    jobs.run("extract", prepared_folder, tmp_path / "undisturbed", spec=spec)
    assert_equal_features(folder, tmp_path / "undisturbed")
