"""A search that is killed, shared or changed: no finished trial is lost, none is run twice.

What a chief does that is killed between any two writes is in `unit/test_oracle.py`.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.core.runs import read_json, read_rows
from histobench.core.state import State
from histobench.tuning import oracle, search_files, tuned_recipe, tuner
from histobench.tuning.chief import TOKEN, Chief, own_address
from support import jobs, processes
from support.processes import events, finish, wait_until
from support.small import COUNTS, features_specification, prepare, search_specification
from support.stops import Stopped

pytestmark = pytest.mark.slow

# What a trial depends on, and what came of it: neither its number, nor who ran it and how long that took.
SAME = ("learning_rate", "batch_size", "first_epoch", "last_epoch", "status", "score")
# A shorter search than the author's, of 8 trials and 17 epochs.
SHORT = {"max_epochs": 3, "factor": 2}


class Parts(NamedTuple):
    """What a search reads: a data set, and the features of a backbone on it."""

    data: Path
    features: Path


def _arguments(parts: Parts, **search) -> dict:
    return {"spec": search_specification("tiny", **(SHORT | search)), "features": str(parts.features)}


def start_search(parts: Parts, folder: Path, *, worker=1, workers=1, **search) -> subprocess.Popen:
    return processes.job("tune", parts.data, folder, **_arguments(parts, **search), worker=worker, workers=workers)


def search_here(parts: Parts, folder: Path, **search) -> None:
    """Search in this process."""
    jobs.run("tune", parts.data, folder, **_arguments(parts, **search))


def trials(folder: Path) -> list[dict[str, str]]:
    return read_rows(folder / search_files.TRIALS)


def tried(folder: Path) -> list[tuple[str, ...]]:
    return sorted(tuple(row[name] for name in SAME) for row in trials(folder))


def repeated(folder: Path) -> int:
    return sum(int(row["tries"]) - 1 for row in trials(folder))


def ended(folder: Path) -> int:
    """Return how many trials have ended so far."""
    begun = [json.loads(path.read_text()) for path in (folder / ".state" / "search").glob("trial_*/trial.json")]
    return sum(trial["status"] == "COMPLETED" for trial in begun)


def wait_for_trials(process: subprocess.Popen, folder: Path, number: int) -> None:
    """Wait until so many trials have ended."""
    processes.wait_until(lambda: ended(folder) >= number, process, seconds=900, pause=0.05)


def kill(process: subprocess.Popen, folder: Path, *, after: int, rng: random.Random) -> None:
    """Kill a search that has ended so many trials, within a second."""
    wait_for_trials(process, folder, after)
    time.sleep(rng.uniform(0, 1))
    processes.kill(process)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Parts:
    """A data set and the features of a backbone, both without their test parts."""
    root = tmp_path_factory.mktemp("search")
    data, features = prepare(root / "data", COUNTS), root / "features"
    jobs.run("extract", data, features, spec=features_specification("tiny"))
    for path in [*data.glob("test*"), *features.glob("test*")]:
        path.unlink()
    return Parts(data, features)


@pytest.fixture(scope="module")
def undisturbed(parts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "search"
    search_here(parts, folder)
    return folder


def test_a_search_without_test_patches(undisturbed):
    """Those of the fixture are gone, and nothing was missed."""
    about = read_json(undisturbed / search_files.ABOUT)
    assert about["planned"] == {"trials": 8, "epochs": 17}
    assert (about["spent"]["trials"], about["spent"]["epochs"]) == (8, 17)
    assert (about["spent"]["failed"], about["spent"]["repeated"]) == (0, 0)
    rows = trials(undisturbed)
    best = max(rows, key=lambda row: float(row["score"]))
    tuned = tuned_recipe.read(undisturbed / search_files.RECIPE)
    assert tuned == {
        "batch_size": int(best["batch_size"]),
        "optimizer": {"name": "adam", "learning_rate": float(best["learning_rate"])},
    }
    assert about["spent"]["seconds"] == pytest.approx(sum(float(row["seconds"]) for row in rows))
    # The trials of a configuration do not train its epochs twice.
    by_configuration: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        epochs = int(row["first_epoch"]), int(row["last_epoch"])
        assert int(row["epochs"]) == epochs[1] - epochs[0] + 1
        by_configuration.setdefault(row["configuration"], []).append(epochs)
    for rounds in by_configuration.values():
        assert [first for first, _ in rounds] == [1, *(last + 1 for _, last in rounds[:-1])]


# The second makes weights beyond float32.
DIVERGING = {"learning_rate": {"values": [0.01, 2.0e38]}, "batch_size": {"values": [8, 16]}}


@pytest.mark.parametrize("method", ["hyperband", "random"])
def test_trials_that_diverge_are_finished_with_the_worst_score(parts, tmp_path, method):
    """Half of them, also where they would have been promoted."""
    search_here(parts, tmp_path, space=DIVERGING, method=method)
    rows = trials(tmp_path)
    assert {row["status"] for row in rows} == {"COMPLETED", "DIVERGED"}
    for row in rows:
        diverged = float(row["learning_rate"]) > 1
        assert (row["status"] == "DIVERGED", float(row["score"]) == 0) == (diverged, diverged)
    about = read_sealed(tmp_path / search_files.ABOUT)
    assert about["spent"]["diverged"] == sum(row["status"] == "DIVERGED" for row in rows)
    assert (about["spent"]["failed"], about["spent"]["repeated"]) == (0, 0)
    assert about["best"]["values"]["learning_rate"] == 0.01


def test_a_search_whose_trials_all_diverge_says_so_at_once_and_again(parts, tmp_path):
    """More than KerasTuner's three failures in a row; nothing is trained again, and no output is left."""
    for _ in range(2):
        with pytest.raises(
            HistobenchError,
            match=r"8 of its 8 trials diverged.* There is no best learning_rate\. Narrow .*min: 1.0e\+38",
        ):
            search_here(parts, tmp_path, space={"learning_rate": {"min": 1.0e38, "max": 3.0e38}})
        assert events(tmp_path).count("begins trial") == 8
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_search_that_is_stopped_around_trials_that_diverge(parts, tmp_path, monkeypatch):
    """Before, within and after the first one, and at the end: it goes on to what an undisturbed one gives."""
    arguments = {"max_epochs": 2, "seed": 15, "space": DIVERGING}
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "stopped"
    search_here(parts, undisturbed, **arguments)
    assert [row["status"] for row in trials(undisturbed)] == ["DIVERGED"] * 3 + ["COMPLETED"] * 2

    def stop(*_, **__):
        raise Stopped if threading.current_thread() is threading.main_thread() else RuntimeError("of the chief")

    for owner, name in (
        *[(search_files, "write_trial"), (tuner.Tuner, "on_trial_end")],
        *[(oracle.HyperbandOracle, "update_trial"), (oracle.HyperbandOracle, "end_trial"), (State, "finish")],
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises((Stopped, HistobenchError)):
                search_here(parts, folder, **arguments)
    search_here(parts, folder, **arguments)
    assert tried(folder) == tried(undisturbed)
    for name in (search_files.RECIPE, search_files.TRIALS):
        assert ("DIVERGED" in (folder / name).read_text()) == (name == search_files.TRIALS)
    assert (folder / search_files.RECIPE).read_text() == (undisturbed / search_files.RECIPE).read_text()


def test_a_search_that_is_killed(parts, undisturbed, tmp_path):
    kill(start_search(parts, tmp_path), tmp_path, after=3, rng=random.Random(1))
    finish(start_search(parts, tmp_path))
    assert tried(tmp_path) == tried(undisturbed)
    assert repeated(tmp_path) <= 1
    assert (tmp_path / search_files.RECIPE).read_text() == (undisturbed / search_files.RECIPE).read_text()


@pytest.mark.long
def test_ten_kills_of_the_authors_search(parts, tmp_path):
    author, kills, number = {"max_epochs": 10, "factor": 3}, 10, 30
    search_here(parts, tmp_path / "undisturbed", **author)
    folder, rng = tmp_path / "search", random.Random(kills)
    for done in range(1, kills + 1):
        kill(start_search(parts, folder, **author), folder, after=done * (number - 3) // kills, rng=rng)
    finish(start_search(parts, folder, **author))
    assert [row["status"] for row in trials(folder)] == ["COMPLETED"] * number
    assert tried(folder) == tried(tmp_path / "undisturbed")
    assert repeated(folder) <= kills
    print(f"{repeated(folder)} trials were repeated")


def test_two_workers_of_which_the_chief_is_killed(parts, undisturbed, tmp_path):
    """The other takes over, and finishes the same search; the one that was killed comes back when it has ended."""
    folder = tmp_path / "search"
    first = start_search(parts, folder, worker=1, workers=2)
    wait_until(lambda: list((folder / ".state").glob("chief-*")), first)
    first.send_signal(signal.SIGSTOP)  # until the other is there
    second = start_search(parts, folder, worker=2, workers=2)
    wait_until(lambda: "in use by" in events(folder), second)
    first.send_signal(signal.SIGCONT)
    wait_until(lambda: "worker-2 begins trial" in events(folder), second)
    wait_for_trials(first, folder, 2)
    begun = events(folder).count("worker-1 begins")
    wait_until(lambda: events(folder).count("worker-1 begins") > begun, first)
    time.sleep(0.2)  # well within a trial
    processes.kill(first)
    finish(second)
    assert not (folder / search_files.RECIPE).exists()  # the first worker publishes
    finish(start_search(parts, folder, worker=1, workers=2))
    assert tried(folder) == tried(undisturbed)
    assert repeated(folder) == 1
    assert {row["worker"] for row in trials(folder)} == {"worker-1", "worker-2"}
    assert "worker-1 is gone: trial" in events(folder)


def test_another_seed_sets_the_search_aside(parts, tmp_path, monkeypatch):
    begin, begun = tuner.Tuner.on_trial_begin, []

    def stop_at_the_third(this, trial):
        begun.append(trial)
        if len(begun) == 3:
            raise Stopped
        begin(this, trial)

    monkeypatch.setattr(tuner.Tuner, "on_trial_begin", stop_at_the_third)
    for seed in (1, 2):
        begun.clear()
        with pytest.raises(Stopped):
            search_here(parts, tmp_path, seed=seed)
        assert ended(tmp_path) == 2
    assert "of another recipe, seed, data set or code: what was finished is set aside" in events(tmp_path)
    before, after = (
        read_json(search / "trial_0000" / "trial.json")["hyperparameters"]["values"]
        for search in (tmp_path / ".state" / "set-aside" / "search", tmp_path / ".state" / "search")
    )
    assert before["learning_rate"] != after["learning_rate"]


def test_random_search_on_the_same_budget(parts, undisturbed, tmp_path):
    search_here(parts, tmp_path, method="random")
    about = read_json(tmp_path / search_files.ABOUT)
    assert about["planned"] == {"trials": 5, "epochs": 15}
    assert (about["spent"]["trials"], about["spent"]["epochs"]) == (5, 15)
    # Of its trials the first three are Hyperband's first.
    first = sorted(trials(undisturbed), key=lambda row: row["trial"])[:3]
    values = [(row["learning_rate"], row["batch_size"]) for row in trials(tmp_path)]
    assert values[:3] == [(row["learning_rate"], row["batch_size"]) for row in first]


@pytest.mark.parametrize(("answer", "address"), [("NodeAddr=127.0.0.1", "127.0.0.1"), ("", "node7")])
def test_on_a_node_of_slurm_a_chief_is_reached_as_slurm_reaches_it(answer, address, tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        f"#!/bin/sh\n[ \"$*\" = 'show node node7' ] && echo 'NodeName=node7 {answer} NodeHostName=node7'"
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    assert own_address() == "127.0.0.1"
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert own_address() == address


def test_an_address_that_is_not_ours_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("histobench.tuning.chief.own_address", lambda: "192.0.2.7")  # TEST-NET-1, RFC 5737
    chief = Chief(tmp_path, {"specification": {"recipe": search_specification()["recipe"]}}, alone=False)
    chief.start()
    with pytest.raises(HistobenchError, match=r"expected to be reached by other jobs of this search at 192\.0\.2\.7"):
        while True:
            chief.check()
            time.sleep(0.05)
    chief.leave()


def test_a_chief_does_not_talk_to_strangers(tmp_path):
    """Such as a worker of another search, whose chief had the same port before."""
    import grpc
    from keras_tuner.src import protos

    chief = Chief(tmp_path, {"specification": {"recipe": search_specification()["recipe"]}}, alone=True)
    chief.start()
    while (address := chief.find()) is None:
        chief.check()
        time.sleep(0.05)
    stub = protos.get_service_grpc().OracleStub(grpc.insecure_channel(address.place))
    request = protos.get_service().CreateTrialRequest(tuner_id="worker-7")
    for metadata in ((), ((TOKEN, "another"),)):
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateTrial(request, timeout=10, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert stub.CreateTrial(request, timeout=10, metadata=((TOKEN, address.token),)).trial.trial_id
    assert chief.find().place.startswith("127.0.0.1:")
    mode = next((tmp_path / ".state").glob("chief-*")).stat().st_mode
    assert mode & 0o077 == 0
    chief.leave()
    assert not list((tmp_path / ".state").glob("chief-*"))
