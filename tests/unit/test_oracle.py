"""What a search tries: the same however many workers share it, and whenever they or the chief are killed."""

import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed, write_sealed
from histobench.tuning import oracle as module
from histobench.tuning import search_files, search_settings, tuned_recipe
from support.small import SEARCH

RANDOM = SEARCH | {"method": "random"}


class KilledError(BaseException):
    """A process that ends without a word."""


def chief(search, folder: Path, alive=lambda worker: True):
    oracle = module.build(search, folder)
    oracle.alive, oracle.event, oracle.check = alive, lambda text: None, lambda: None
    oracle.reload()
    return oracle


def score(values, diverging: float = 0.4) -> float:
    """A score that a model might have: by its values and how long it was trained; many configurations diverge."""
    luck = random.Random(str((values["learning_rate"], values["batch_size"]))).random()
    return luck + values.get("tuner/epochs", 0) / 50 if luck >= diverging else module.WORST


def answer(oracle, trial, diverging: float = 0.4) -> None:
    oracle.update_trial(trial.trial_id, {"val_auc": score(trial.hyperparameters.values, diverging)})
    trial.status = "COMPLETED"
    search_files.write_trial(Path(oracle._get_trial_dir(trial.trial_id)), {})  # as the worker does before
    oracle.end_trial(trial)


def tried(oracle) -> list[tuple]:
    """Values, epochs and result of each trial, not its number or place in the order."""
    rows = []
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        epochs = values.get("tuner/initial_epoch"), values.get("tuner/epochs")
        rows.append((values["learning_rate"], values["batch_size"], *epochs, trial.status, trial.score))
    return sorted(rows)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """Each test writes hundreds of files, none of which has to survive the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def run(oracle, worker: str = "worker-1", diverging: float = 0.4) -> list[str]:
    """Run all trials that are left, one after another; return their ids."""
    given = []
    while (trial := oracle.create_trial(worker)).status == "RUNNING":
        given.append(trial.trial_id)
        answer(oracle, trial, diverging)
    assert trial.status == "STOPPED"
    return given


@pytest.mark.parametrize("diverging", [0, 0.4, 0.9, 2])
@pytest.mark.parametrize(
    "search", [SEARCH, SEARCH | {"iterations": 2}, SEARCH | {"max_epochs": 7, "factor": 2}, RANDOM]
)
def test_a_search_has_the_trials_and_epochs_that_were_planned(search, diverging, tmp_path):
    """Whichever share of its configurations diverges, up to all."""
    oracle = chief(search, tmp_path / "search")
    run(oracle, diverging=diverging)
    rungs = Counter()
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        rungs[values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", search["max_epochs"])] += 1
    planned = Counter()
    for rung in search_settings.rungs(search):
        planned[rung.first, rung.last] += rung.trials
    assert rungs == planned


def test_what_has_diverged_is_promoted_only_where_nothing_better_is_left(tmp_path):
    oracle = chief(SEARCH, tmp_path / "search")
    run(oracle)
    rounds: dict[tuple[int, int], list] = {}
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        rounds.setdefault((values["tuner/initial_epoch"], values["tuner/epochs"]), []).append(trial)
    promoted = {trial.hyperparameters.values.get("tuner/trial_id") for trial in oracle.trials.values()}
    diverged = {trial.trial_id for trial in oracle.trials.values() if trial.score == module.WORST}
    assert len(diverged) > 3
    for trials in rounds.values():
        if any(trial.trial_id in promoted & diverged for trial in trials):
            assert {trial.trial_id for trial in trials} - promoted <= diverged


def test_random_search_tries_what_hyperband_tries_first(tmp_path):
    hyperband, at_random = (chief(search, tmp_path / search["method"]) for search in (SEARCH, RANDOM))
    run(hyperband)
    run(at_random)
    first = [hyperband.trials[trial].hyperparameters.values for trial in hyperband.start_order[:12]]
    assert [tuned_recipe.rounded(values) for values in first] == [
        tuned_recipe.rounded(at_random.trials[trial].hyperparameters.values) for trial in at_random.start_order
    ]


def test_a_seed_gives_a_search_and_another_seed_another(tmp_path):
    searches = []
    for number, seed in enumerate((1, 1, 2)):
        oracle = chief(SEARCH | {"seed": seed}, tmp_path / str(number))
        run(oracle)
        searches.append(tried(oracle))
    assert searches[0] == searches[1] != searches[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    oracle = chief(SEARCH, tmp_path_factory.mktemp("alone") / "search")
    run(oracle)
    return tried(oracle)


@settings(max_examples=20)
@given(data=st.data(), workers=st.integers(2, 5))
def test_workers_share_the_search_that_one_would_have_done(data, workers, alone, tmp_path_factory):
    """In whichever order they ask and answer."""
    oracle = chief(SEARCH, tmp_path_factory.mktemp("shared") / "search")
    busy, asking = {}, {f"worker-{number}" for number in range(workers)}
    while asking or busy:
        worker = data.draw(st.sampled_from(sorted(asking | set(busy))))
        if worker in busy:
            answer(oracle, busy.pop(worker))
            asking.add(worker)
            continue
        trial = oracle.create_trial(worker)
        if trial.status == "STOPPED":
            asking.discard(worker)
        elif trial.status == "RUNNING":
            busy[worker] = trial
            asking.discard(worker)
        else:
            assert busy, "everybody waits"
    assert tried(oracle) == alone


@settings(max_examples=20)
@given(kills=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_a_chief_killed_between_any_two_writes_runs_no_finished_trial_again(kills, alone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "search"
    finished, repeated = [], 0
    original = module.write_sealed
    with pytest.MonkeyPatch.context() as patch:
        for kill in [*kills, None]:
            left = [kill]

            def write(path, value, left=left):
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] == 0:
                        raise KilledError
                original(path, value)

            patch.setattr(module, "write_sealed", write)
            begun = None
            try:
                oracle = chief(SEARCH, folder)
                while (trial := oracle.create_trial("worker-1")).status == "RUNNING":
                    assert trial.trial_id not in finished
                    begun = trial.trial_id
                    answer(oracle, trial)
                    finished.append(trial.trial_id)
                break
            except KilledError:
                # The answer may have been written, and not been heard.
                path = folder / f"trial_{begun}" / "trial.json"
                if begun and begun not in finished and json.loads(path.read_text())["status"] == "COMPLETED":
                    finished.append(begun)
                else:
                    repeated += 1
    assert tried(oracle) == alone
    assert repeated <= len(kills)


def test_the_trial_of_a_worker_that_is_gone_is_given_to_another(tmp_path):
    gone, said = set(), []
    oracle = chief(SEARCH, tmp_path / "search", alive=lambda worker: worker not in gone)
    oracle.event = said.append
    lost = oracle.create_trial("worker-1")
    other = oracle.create_trial("worker-2")
    assert other.trial_id != lost.trial_id
    answer(oracle, other)
    gone.add("worker-1")
    assert oracle.create_trial("worker-2").trial_id == lost.trial_id
    assert said == [f"worker-1 is gone: trial {lost.trial_id} goes to the next worker that asks"]


def test_a_new_chief_leaves_a_living_worker_its_trial(tmp_path):
    gone = {"worker-1"}
    first = chief(SEARCH, tmp_path / "search")
    lost, kept = first.create_trial("worker-1"), first.create_trial("worker-2")
    second = chief(SEARCH, tmp_path / "search", alive=lambda worker: worker not in gone)
    assert second.create_trial("worker-3").trial_id == lost.trial_id
    assert second.create_trial("worker-3").trial_id == lost.trial_id
    answer(second, kept)
    assert second.trials[kept.trial_id].status == "COMPLETED"
    assert second.create_trial("worker-2").trial_id not in (lost.trial_id, kept.trial_id)


def test_an_answer_counts_once(tmp_path):
    """It was heard, and the worker does not know; or the worker was taken for dead, and another did the same."""
    gone = set()
    oracle = chief(SEARCH, tmp_path / "search", alive=lambda worker: worker not in gone)
    trial = oracle.create_trial("worker-1")
    answer(oracle, trial)
    answer(oracle, trial)
    assert oracle.end_order == [trial.trial_id]
    slow = oracle.create_trial("worker-1")
    gone.add("worker-1")
    assert oracle.create_trial("worker-2").trial_id == slow.trial_id
    answer(oracle, slow)
    assert oracle.end_order == [trial.trial_id, slow.trial_id]
    assert oracle.create_trial("worker-2").trial_id != slow.trial_id


def test_an_answer_from_the_dead_is_as_good(tmp_path):
    first = chief(SEARCH, tmp_path / "search")
    slow = first.create_trial("worker-1")
    second = chief(SEARCH, tmp_path / "search", alive=lambda worker: False)
    answer(second, slow)
    assert second.create_trial("worker-2").trial_id != slow.trial_id


def test_a_failed_trial_does_not_stop_the_search(tmp_path):
    oracle = chief(SEARCH, tmp_path / "search")
    trial = oracle.create_trial("worker-1")
    trial.status, trial.message = "INVALID", "out of memory"
    oracle.end_trial(trial)
    assert oracle.trials[trial.trial_id].status == "FAILED"
    assert trial.trial_id not in run(oracle)


def test_a_search_that_is_over_sends_everybody_home(tmp_path):
    oracle = chief(SEARCH, tmp_path / "search")
    oracle.over = True
    assert oracle.create_trial("worker-1").status == "STOPPED"
    assert not list((tmp_path / "search").glob("trial_*"))


def test_a_chief_that_is_none_any_more_writes_nothing(tmp_path):
    oracle = chief(SEARCH, tmp_path / "search")
    oracle.create_trial("worker-1")
    before = (tmp_path / "search" / "oracle.json").read_bytes()

    def check():
        raise RuntimeError("another has taken over")

    oracle.check = check
    with pytest.raises(RuntimeError, match="another has taken over"):
        oracle.create_trial("worker-2")
    assert (tmp_path / "search" / "oracle.json").read_bytes() == before


def test_the_space_is_drawn_from_as_the_configuration_says():
    space = {
        "learning_rate": {"min": 1e-5, "max": 1e-2, "sampling": "log"},
        "batch_size": {"min": 32, "max": 256, "step": 32},
        "dense_units": {"values": [64, 256]},
        "dropout": {"min": 0, "max": 0.5},
        "augmentation": {"values": ["none", "d4+stain"]},
    }
    drawn = {hp.name: [hp.random_sample(n) for n in range(400)] for hp in module.hyperparameters(space).space}
    rates = drawn["learning_rate"]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    # As many in each decade.
    assert all(100 < sum(10**-n <= rate < 10 ** (1 - n) for rate in rates) < 170 for n in (3, 4, 5))
    assert set(drawn["batch_size"]) == set(range(32, 257, 32))
    assert set(drawn["dense_units"]) == {64, 256}
    assert all(0 <= rate < 0.5 for rate in drawn["dropout"])
    assert max(drawn["dropout"]) > 0.4
    assert set(drawn["augmentation"]) == {"none", "d4+stain"}


def test_a_trial_that_was_written_but_never_given_out_is_forgotten(tmp_path):
    folder = tmp_path / "search"
    oracle = chief(SEARCH, folder)
    oracle.create_trial("worker-1")
    shutil.copytree(folder / "trial_0000", folder / "trial_0001")
    path = folder / "trial_0001" / "trial.json"
    write_sealed(path, read_sealed(path) | {"trial_id": "0001"})
    assert set(chief(SEARCH, folder).trials) == {"0000"}
    assert not path.exists()


@pytest.mark.parametrize(
    "file", ["oracle.json", "trial_0000/trial.json", "trial_0000/epochs.json", "trial_0000/checkpoint"]
)
@pytest.mark.parametrize("damage", ["a digit", "gone"])
def test_a_state_that_is_damaged_is_refused(tmp_path, file, damage):
    """Of a digit less in a score nothing else would tell: another trial would be promoted."""
    oracle = chief(SEARCH, tmp_path / "search")
    trial = oracle.create_trial("worker-1")
    (tmp_path / "search/trial_0000/checkpoint").write_text("weights: 0.1")
    answer(oracle, trial)
    path = tmp_path / "search" / file
    if damage == "gone" and file != "oracle.json":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(HistobenchError, match=str(path)):
        chief(SEARCH, tmp_path / "search")
