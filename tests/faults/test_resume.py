"""A training process killed at any moment goes on where it was, and ends as an uninterrupted one does."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from histobench.runs import read_json
from support.processes import assert_equal_runs, epochs_done, events, finish, job
from support.small import features_specification, specification

EPOCHS = 12


def start(data: Path, folder: Path, *, epochs=EPOCHS, seed=1, code="c", mode="full", model="b6", **recipe):
    spec = specification(model, mode, seed=seed, epochs=epochs, **recipe)
    return job("train", data, folder, spec=spec, code=code)


@pytest.fixture(scope="module")
def uninterrupted(prepared_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    finish(start(prepared_folder, folder), folder)
    return folder


def kill_at(process: subprocess.Popen, folder: Path, moment: str, rng: random.Random) -> str:
    """Kill the process within an epoch or a save, once it has finished another epoch; return what its state held."""
    before = epochs_done(folder)
    while process.poll() is None and epochs_done(folder) == before:
        time.sleep(0.001)
    if moment == "save":
        while process.poll() is None and not list((folder / ".state").glob(".tmp-epoch-*/*")):
            time.sleep(0.0002)
    else:
        time.sleep(rng.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return ", ".join(sorted(path.name for path in (folder / ".state").iterdir()))


def killed(data: Path, folder: Path, moments: list[str]) -> list[str]:
    rng = random.Random(len(moments))
    seen = []
    for moment in moments:
        process = start(data, folder)
        seen.append(kill_at(process, folder, moment, rng))
        assert process.returncode == -signal.SIGKILL, "it finished before it could be killed"
    finish(start(data, folder), folder)
    return seen


def test_three_kills(prepared_folder, uninterrupted, tmp_path):
    seen = killed(prepared_folder, tmp_path / "run", ["epoch", "save", "epoch"])
    assert ".tmp-epoch" in seen[1]  # it was in the middle of a save
    events = (tmp_path / "run" / ".state" / "events").read_text()
    assert events.count("going on after epoch") == 3
    assert_equal_runs(tmp_path / "run", uninterrupted)


def test_a_kill_under_mixed_precision(prepared_folder, tmp_path):
    """The scale of the loss, which Keras moves as it goes, is part of the state."""
    recipe = {"model": "b2", "epochs": 2, "precision": "mixed_float16"}  # B6 takes minutes in float16 on a CPU
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    finish(start(prepared_folder, undisturbed, **recipe), undisturbed)
    process = start(prepared_folder, folder, **recipe)
    kill_at(process, folder, "epoch", random.Random(1))
    assert process.returncode == -signal.SIGKILL
    finish(start(prepared_folder, folder, **recipe), folder)
    assert "going on after epoch" in events(folder)
    assert_equal_runs(folder, undisturbed)


@pytest.mark.long
def test_ten_kills(prepared_folder, tmp_path):
    reference = tmp_path / "uninterrupted"
    data = prepared_folder
    process = start(data, reference, epochs=24)
    finish(process, reference)
    rng, folder = random.Random(10), tmp_path / "run"
    for number in range(10):
        process = start(data, folder, epochs=24)
        kill_at(process, folder, rng.choice(["epoch", "save"]), rng)
        assert process.returncode == -signal.SIGKILL, f"finished before kill {number + 1}"
    finish(start(data, folder, epochs=24), folder)
    assert_equal_runs(folder, reference)


@pytest.fixture
def stopped(prepared_folder, tmp_path) -> Path:
    """A run that SIGTERM ended after its first epochs."""
    folder = tmp_path / "run"
    process = start(prepared_folder, folder)
    while len(epochs_done(folder)) < 2 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    return folder


def test_sigterm_leaves_the_last_epoch_and_a_line(prepared_folder, stopped, uninterrupted):
    assert "SIGTERM: ending; what is finished so far is safe" in events(stopped)
    last = epochs_done(stopped)[-1]
    finish(start(prepared_folder, stopped), stopped)
    assert f"going on after epoch {int(last[-4:])}" in events(stopped)
    assert_equal_runs(stopped, uninterrupted)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_state_falls_back_to_the_one_before(prepared_folder, stopped, uninterrupted, damage):
    last = epochs_done(stopped)[-1]
    path = stopped / ".state" / last / "model.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    finish(start(prepared_folder, stopped), stopped)
    assert f"{last} is damaged" in events(stopped)
    assert f"going on after epoch {int(last[-4:]) - 1}" in events(stopped)
    assert_equal_runs(stopped, uninterrupted)


@pytest.mark.parametrize("change", [{"seed": 2}, {"code": "another code"}, {"batch_size": 14}])
def test_a_state_of_another_seed_code_or_recipe_is_set_aside(prepared_folder, stopped, change):
    finish(start(prepared_folder, stopped, **change), stopped)
    assert "the state is of another recipe, seed, data set or code" in events(stopped)
    assert events(stopped).rstrip().splitlines()[-2].endswith("starting at epoch 1")
    assert list((stopped / ".state" / "set-aside").glob("epoch-*/model.npz"))


def test_deleted_outputs_are_rebuilt_at_once(prepared_folder, uninterrupted, tmp_path):
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    for path in folder.glob("*.*"):
        if path.is_file() and path.name != "log":
            path.unlink()
    finish(start(prepared_folder, folder), folder)
    assert "finished before; the outputs are rebuilt from the state" in events(folder)
    assert events(folder).count("starting at epoch 1") == 1
    assert_equal_runs(folder, uninterrupted)
    assert (folder / "timing.csv").read_bytes() == (uninterrupted / "timing.csv").read_bytes()


def test_a_kill_in_either_stage_of_fine_tuning(prepared_folder, tmp_path):
    """The optimizer of the second stage is not that of the first, and trains other weights."""
    finetune = {"head_epochs": 2, "upper_layers": 0.3, "learning_rate": 0.0001}
    options = {"model": "mobilenet", "mode": "finetune", "finetune": finetune, "epochs": 5}
    reference, folder = tmp_path / "uninterrupted", tmp_path / "run"
    finish(start(prepared_folder, reference, **options), reference)
    for epoch in ("epoch-0001", "epoch-0002", "epoch-0003"):
        process = start(prepared_folder, folder, **options)
        while process.poll() is None and epoch not in epochs_done(folder):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL, (folder / "log").read_text()[-3000:]
    finish(start(prepared_folder, folder, **options), folder)
    assert events(folder).count("going on after epoch") == 3
    assert_equal_runs(folder, reference)


# Feature extraction.

CHUNK = 4  # 31 parts of the 124 patches


def extract(data: Path, folder: Path, chunk=CHUNK, **changes) -> subprocess.Popen:
    return job("extract", data, folder, **{"spec": features_specification("mobilenet"), "chunk": chunk} | changes)


def parts_done(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".state").glob("t*-*")} | {
        path.name for path in (folder / ".state").glob("valid-*")
    }


def kill_extraction(data: Path, folder: Path, kills: int, chunk: int) -> list[int]:
    """Kill an extraction so often, each time when it has finished a part more, within a part or a save."""
    rng, done = random.Random(kills), []
    for _ in range(kills):
        process = extract(data, folder, chunk)
        before = parts_done(folder)
        while process.poll() is None and parts_done(folder) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL, (folder / "log").read_text()[-3000:]
        done.append(len(parts_done(folder)))
    finish(extract(data, folder, chunk), folder)
    return done


def assert_equal_features(one: Path, two: Path) -> None:
    for split in ("train", "valid", "test"):
        assert (one / f"{split}.npy").read_bytes() == (two / f"{split}.npy").read_bytes()
    assert read_json(one / "features.json")["sha256"] == read_json(two / "features.json")["sha256"]
    assert np.load(one / "train.npy").std() > 1e-3


@pytest.fixture(scope="module")
def uninterrupted_extraction(prepared_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "uninterrupted"
    finish(extract(prepared_folder, folder), folder)
    return folder


def test_an_extraction_killed_three_times(prepared_folder, uninterrupted_extraction, tmp_path):
    done = kill_extraction(prepared_folder, tmp_path / "features", 3, CHUNK)
    assert 0 < done[0] < done[1] < done[2]  # it never started over
    assert events(tmp_path / "features").count("going on with") == 3
    assert_equal_features(tmp_path / "features", uninterrupted_extraction)


@pytest.mark.long
def test_an_extraction_killed_ten_times(prepared_folder, uninterrupted_extraction, tmp_path):
    done = kill_extraction(prepared_folder, tmp_path / "features", 10, 2)
    assert done == sorted(set(done))
    assert_equal_features(tmp_path / "features", uninterrupted_extraction)


@pytest.mark.parametrize("change", ["damaged", "of another code", "finished"])
def test_an_extraction_whose_state_is(change, prepared_folder, uninterrupted_extraction, tmp_path):
    folder = tmp_path / "features"
    process = extract(prepared_folder, folder)
    while process.poll() is None and len(parts_done(folder)) < 2:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    if change == "damaged":
        path = folder / ".state" / "train-00000" / "part.npz"
        path.write_bytes(path.read_bytes()[:-7])
        finish(extract(prepared_folder, folder), folder)
        assert "train-00000 is damaged" in events(folder)
        assert "computing it anew" in events(folder)
    elif change == "of another code":
        finish(extract(prepared_folder, folder, code="another code"), folder)
        assert "the state is of another recipe, seed, data set or code" in events(folder)
        assert "going on with" not in events(folder)
    else:
        finish(extract(prepared_folder, folder), folder)
        (folder / "train.npy").unlink()
        finish(extract(prepared_folder, folder), folder)
        assert "finished before; the outputs are rebuilt from the state" in events(folder)
    assert_equal_features(folder, uninterrupted_extraction)
