"""A search that is killed, shared, or found to be another one: no finished trial is lost, none is run twice."""

import csv
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from histobench import searches
from histobench.errors import HistobenchError
from histobench.runs import read_json
from histobench.train.search import TOKEN, Chief, own_address
from support.processes import events, finish, job, log
from support.small import COUNTS, features_specification, prepare, search_specification

# What a trial depends on, and what came of it: neither its number, nor who ran it and how long that took.
SAME = ("learning_rate", "batch_size", "first_epoch", "last_epoch", "status", "score")
# A shorter search than the author's, of 15 trials and 30 epochs.
SHORT = {"max_epochs": 4, "factor": 2}


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> tuple[Path, Path]:
    """A data set and the features of a backbone, both without their test parts."""
    root = tmp_path_factory.mktemp("search")
    data, features = prepare(root / "data", COUNTS), root / "features"
    finish(job("extract", data, features, spec=features_specification("mobilenet")), features)
    for path in [*data.glob("test*"), *features.glob("test*")]:
        path.unlink()
    return data, features


@pytest.fixture(scope="module")
def undisturbed(parts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "search"
    finish(start(parts, folder), folder)
    return folder


def start(parts, folder: Path, *, worker=1, workers=1, **search):
    data, features = parts
    spec = search_specification(**(SHORT | search))
    return job("tune", data, folder, spec=spec, features=str(features), worker=worker, workers=workers)


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / searches.TRIALS).open(newline="") as file:
        return list(csv.DictReader(file))


def tried(folder: Path) -> list[tuple[str, ...]]:
    return sorted(tuple(row[name] for name in SAME) for row in trials(folder))


def repeated(folder: Path) -> int:
    return sum(int(row["tries"]) - 1 for row in trials(folder))


def ended(folder: Path) -> int:
    """How many trials have ended so far."""
    found = [json.loads(path.read_text()) for path in (folder / ".state" / "search").glob("trial_*/trial.json")]
    return sum(trial["status"] == "COMPLETED" for trial in found)


def wait_for(process, folder: Path, number: int) -> None:
    """Wait until so many trials have ended, and a bit of the next."""
    while process.poll() is None and ended(folder) < number:
        time.sleep(0.05)
    assert process.poll() is None, f"it ended before it could be killed: {log(folder)[-3000:]}"


def killed(parts, folder: Path, kills: int, trials: int, **search) -> None:
    """Search, and kill the job so often, each time after it has got on with the search."""
    rng = random.Random(kills)
    for number in range(kills):
        process = start(parts, folder, **search)
        wait_for(process, folder, (number + 1) * (trials - 3) // kills)
        time.sleep(rng.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(start(parts, folder, **search), folder)


def test_a_search_without_test_patches(undisturbed):
    """Those of the fixture are gone, and nothing was missed."""
    about = read_json(undisturbed / searches.ABOUT)
    assert about["planned"] == {"trials": 15, "epochs": 30}
    assert (about["spent"]["trials"], about["spent"]["epochs"]) == (15, 30)
    assert (about["spent"]["failed"], about["spent"]["repeated"]) == (0, 0)
    rows = trials(undisturbed)
    best = max(rows, key=lambda row: float(row["score"]))
    found = searches.read_found(undisturbed / searches.FOUND)
    assert found == {
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


def test_three_kills(parts, undisturbed, tmp_path):
    folder = tmp_path / "search"
    killed(parts, folder, 3, 15)
    assert tried(folder) == tried(undisturbed)
    assert repeated(folder) <= 3
    assert (folder / searches.FOUND).read_text() == (undisturbed / searches.FOUND).read_text()


@pytest.mark.long
def test_ten_kills_of_the_authors_search(parts, tmp_path):
    author = {"max_epochs": 10, "factor": 3}
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "search"
    finish(start(parts, undisturbed, **author), undisturbed)
    killed(parts, folder, 10, 30, **author)
    assert [row["status"] for row in trials(folder)] == ["COMPLETED"] * 30
    assert tried(folder) == tried(undisturbed)
    assert repeated(folder) <= 10
    print(f"{repeated(folder)} trials were repeated")


def test_two_workers_of_which_the_chief_is_killed(parts, undisturbed, tmp_path):
    """The other takes over, and finishes the same search; the one that was killed comes back when it has ended."""
    folder = tmp_path / "search"
    first = start(parts, folder, worker=1, workers=2)
    wait_for(first, folder, 1)
    second = start(parts, folder, worker=2, workers=2)
    while second.poll() is None and "worker-2 begins trial" not in events(folder):
        time.sleep(0.05)
    wait_for(first, folder, ended(folder) + 2)
    begun = events(folder).count("worker-1 begins")
    while first.poll() is None and events(folder).count("worker-1 begins") == begun:
        time.sleep(0.01)
    time.sleep(0.2)  # well within a trial
    first.send_signal(signal.SIGKILL)
    first.wait()
    finish(second, folder)
    assert not (folder / searches.FOUND).exists()  # the first worker publishes
    finish(start(parts, folder, worker=1, workers=2), folder)
    assert tried(folder) == tried(undisturbed)
    assert repeated(folder) == 1
    assert {row["worker"] for row in trials(folder)} == {"worker-1", "worker-2"}
    assert "worker-1 is gone: trial" in events(folder)


def test_another_seed_sets_the_search_aside(parts, undisturbed, tmp_path):
    folder = tmp_path / "search"
    process = start(parts, folder)
    wait_for(process, folder, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    process = start(parts, folder, seed=2)
    while process.poll() is None and "of another recipe, seed, data set or code: set aside" not in events(folder):
        time.sleep(0.05)
    wait_for(process, folder, 1)
    process.kill()
    process.wait()
    before, after = (
        read_json(search / "trial_0000" / "trial.json")["hyperparameters"]["values"]
        for search in (folder / ".state" / "set-aside" / "search", folder / ".state" / "search")
    )
    assert before["learning_rate"] != after["learning_rate"]


def test_random_search_on_the_same_budget(parts, undisturbed, tmp_path):
    folder = tmp_path / "search"
    finish(start(parts, folder, method="random"), folder)
    about = read_json(folder / searches.ABOUT)
    assert about["planned"] == {"trials": 7, "epochs": 28}
    assert (about["spent"]["trials"], about["spent"]["epochs"]) == (7, 28)
    # Of its trials the first four are Hyperband's first.
    first = sorted(trials(undisturbed), key=lambda row: row["trial"])[:4]
    values = [(row["learning_rate"], row["batch_size"]) for row in trials(folder)]
    assert values[:4] == [(row["learning_rate"], row["batch_size"]) for row in first]


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
    monkeypatch.setattr("histobench.train.search.own_address", lambda: "192.0.2.7")  # TEST-NET-1, RFC 5737
    chief = Chief(tmp_path, {"specification": {"recipe": search_specification()["recipe"]}}, alone=False)
    chief.start()
    with pytest.raises(HistobenchError, match=r"expected to be reached by other jobs of this search at 192\.0\.2\.7"):
        while True:
            chief.check()
            time.sleep(0.05)


def test_a_chief_does_not_talk_to_strangers(tmp_path):
    """Another search's worker, which found our port where its own chief was before."""
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
    shutil.rmtree(tmp_path)
