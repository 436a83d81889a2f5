"""What jobs asked for and took: their records, the lines for a profile, and what SLURM's accounts say."""

import json
import math
from dataclasses import astuple
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import accounts, features, plan, runs, usage
from histobench.core.cells import Cell
from histobench.core.costs import START_UP, Costs
from histobench.core.files import write_sealed
from histobench.core.usage import MB, Usage
from support.paper import study
from support.project import program

CELL = Cell("pcam", "b2", "full", "paper", "a100")
RUN = f"{CELL}/seed-1"
RECORD = {"seconds": 100.0, "peak_memory_mib": 1500, "threads": 4, "peak_device_memory_mib": 3000, "features": None}
RECORD |= {"ended": "2026-01-02T03:04:05+00:00", "device": {"slurm_job": "17"}}
ENDED = 1767323045
REQUESTED = {"runtime": 30, "mem_mb": 8000}
BENCHMARK = {"s": 110.0, "max_rss": 1400.0, "mean_load": 150.0, "threads": 4, "resources": REQUESTED | {"gpu": 1}}


@pytest.fixture
def trained(tmp_path):
    """Return a function that writes what a run has recorded and returns what is read of its training."""

    def write(benchmark=BENCHMARK, epochs=(40.0, 30.0), **changes):
        folder, log = tmp_path / "results/s/runs" / RUN, tmp_path / "results/logs/s" / RUN
        write_sealed(folder / runs.ABOUT, RECORD | {"requested": REQUESTED} | changes)
        runs.write_rows(folder / runs.TIMING, [{"training_seconds": each, "validation_seconds": 1} for each in epochs])
        log.mkdir(parents=True, exist_ok=True)
        (log / "train.jsonl").write_text(benchmark if isinstance(benchmark, str) else json.dumps(benchmark))
        (found,) = usage.of_study(tmp_path / "results/s", tmp_path / "results/logs/s", [folder], ["pcam"])
        return found

    return write


def test_a_run_says_what_its_job_asked_for_and_what_it_took(trained):
    found = trained()
    assert (found.rule, *found[1:6]) == ("train", *astuple(CELL))
    assert (found.requested_minutes, found.requested_mb, found.requested_cores) == (30, 8000, 4)
    assert (found.peak_memory_mib, found.peak_device_memory_mib, found.cores) == (1500, 3000, 1.5)
    # That of the whole process, of which the epochs are a part.
    assert found.seconds == 110
    assert found.start_seconds == 110 - 72
    assert (found.slurm_job, found.ended) == ("17", ENDED)


def test_a_run_that_was_restored_took_what_it_took_before(trained):
    found = trained(BENCHMARK | {"s": 2.0, "resources": {"runtime": 30, "mem_mb": 16000}})
    assert (found.seconds, found.requested_mb, found.cores) == (100, 8000, None)


def test_the_process_of_a_head_may_have_trained_others(trained):
    assert trained(features={"sha256": {}}).seconds == 100


def test_an_import_says_it_in_its_benchmark(tmp_path):
    names = "pcam/uni/paper/cpu"
    folder, log = tmp_path / "results/s/features" / names, tmp_path / f"results/logs/s/features/{names}.jsonl"
    write_sealed(folder / features.ABOUT, {"embeddings": {}, "sha256": {}})
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps(BENCHMARK))
    (found,) = usage.of_study(tmp_path / "results/s", tmp_path / "results/logs/s", [], [])
    assert (found.rule, found.dataset, found.model, found.device) == ("import_features", "pcam", "uni", "cpu")
    assert (found.seconds, found.requested_minutes, found.peak_memory_mib) == (110, 30, 1400)


def test_a_run_that_went_on_took_all_its_epochs(trained):
    found = trained(epochs=[200.0] * 5)
    assert found.seconds == 5 * 201
    assert found.start_seconds is None


@pytest.mark.parametrize("benchmark", ["", "not JSON", "[]", "{}", '{"s": "NA", "mean_load": "NA"}'])
def test_a_record_of_before_and_a_damaged_benchmark_leave_gaps(trained, benchmark):
    found = trained(benchmark, requested={})
    assert (found.requested_minutes, found.requested_mb, found.cores) == (None, None, None)
    assert (found.seconds, found.peak_memory_mib) == (100, 1500)


def test_a_record_that_is_damaged_or_says_less_hides_no_other(trained, tmp_path):
    folder = tmp_path / "results/s/runs" / RUN
    trained()
    for content in ({"seconds": 1.0}, {}):
        write_sealed(folder / runs.ABOUT, content)
        assert usage.of_study(tmp_path / "results/s", tmp_path / "results/logs/s", [folder], []) == []
    (folder / runs.ABOUT).write_text("{")
    assert usage.of_study(tmp_path / "results/s", tmp_path / "results/logs/s", [folder], []) == []


def test_other_jobs_are_known_by_their_benchmarks(tmp_path):
    logs = tmp_path / "results/logs/s"
    shared = ("prepare/pcam", "audit/pcam")
    of_run = (f"s/{RUN}/predict", f"s/{RUN}/evaluate", f"s/external/idc/{RUN}/predict_external")
    for place in (*shared, "s/controls/pcam", "s/describe_models", *of_run):
        path = logs.parent / f"{place}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(BENCHMARK))
    found = usage.of_study(tmp_path / "results/s", logs, [tmp_path / "results/s/runs" / RUN], ["pcam", "idc"])
    of_networks = ["predict", "evaluate", "predict_external"]
    assert [each.rule for each in found] == ["prepare", "audit", *of_networks, "controls", "describe_models"]
    assert len({(each.dataset, each.model, each.device) for each in found if each.rule in of_networks}) == 1
    assert {(each.requested_minutes, each.seconds, each.requested_cores, each.cores) for each in found} == {
        (30, 110, 4, 1.5)
    }
    assert usage.of_study(tmp_path / "elsewhere", tmp_path / "logs", [], []) == []


def test_runs_behind_averages_count_once(tmp_path):
    def made(name, **behind):
        (tmp_path / name).mkdir()
        write_sealed(tmp_path / name / "run.json", behind)
        return tmp_path / name

    one, two = made("one"), made("two")
    turned = made("turned", scored_by=str(one))
    mean = made("mean", members=[str(one), str(two)])
    ensemble = made("ensemble", members=[str(mean), str(turned)])
    assert usage.trained([one, turned, mean, ensemble]) == [one, two]


DAMAGED = [
    *('{"s": NaN, "resources": {"runtime": 30}}', '{"s": Infinity, "resources": {"runtime": 30}}'),
    *('{"s": -5, "resources": {"runtime": 30}}', '{"s": 5, "resources": null}', '{"s": 5, "resources": [30]}'),
]


@pytest.mark.parametrize("benchmark", DAMAGED)
def test_numbers_that_make_no_sense_count_as_unknown(tmp_path, benchmark):
    """A benchmark has no digest, and must hide neither the plan nor the results of a study."""
    path = tmp_path / "results/logs/prepare/pcam.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(benchmark)
    (found,) = usage.of_study(tmp_path / "results/s", tmp_path / "results/logs/s", [], ["pcam"])
    assert found.seconds is None or found.requested_minutes is None
    assert usage.block([found]) == usage.NOTHING
    assert usage.share([found]) == (None, None)


JOBS = st.builds(
    Usage,
    rule=st.sampled_from(["train", "extract_features", "evaluate"]),
    **{name: st.sampled_from(["a", "b"]) for name in (*vars(CELL), "scaling")},
    requested_minutes=st.none() | st.integers(1, 3000),
    seconds=st.none() | st.floats(0.1, 3e5),
    requested_mb=st.none() | st.integers(500, 32_000),
    peak_memory_mib=st.none() | st.floats(50, 40_000),
    accounted=st.just(False),
)
PARTS = {"runtime": ("requested_minutes", "seconds", 1 / 60), "mem_mb": ("requested_mb", "peak_memory_mib", 1 / MB)}


def value(expression, job, attempt: int) -> int:
    """Return what Snakemake makes of an expression in a profile."""
    return eval(expression, {"wildcards": job, "attempt": attempt})


@given(st.lists(JOBS, max_size=12))
def test_what_the_lines_ask_for_is_enough_and_no_more_than_before(jobs):
    said = (yaml.safe_load(usage.block(jobs)) or {}).get("set-resources", {})
    for name, (asked, took, unit) in PARTS.items():
        for rule in {job.rule for job in jobs}:
            known = [job for job in jobs if job.rule == rule and getattr(job, asked) and getattr(job, took)]
            expression = said.get(rule, {}).get(name)
            if expression is None:
                continue
            assert "{" not in expression
            most = max(getattr(job, asked) or 0 for job in jobs if job.rule == rule)
            for job in known:
                first, second = (value(expression, job, attempt) for attempt in (1, 2))
                used = getattr(job, took) * unit
                if name == "runtime" and rule in usage.GO_ON:  # in another job, if need be
                    used = min(used, getattr(job, asked))
                assert first >= used
                assert second >= max(first, getattr(job, asked))
                if all(getattr(each, took) * unit <= getattr(each, asked) for each in known):
                    assert second <= most
            # A kind of jobs of which nothing is known.
            other = SimpleNamespace(**dict.fromkeys((*vars(CELL), "scaling"), "new"))
            if rule != "evaluate":
                assert value(expression, other, 1) >= most


def test_there_are_lines_only_where_there_is_something_to_say():
    tight = Usage("evaluate", requested_minutes=10, seconds=400, requested_mb=2000, peak_memory_mib=1800)
    for jobs in ([], [tight], [Usage("train", seconds=5)], [tight._replace(accounted=True, seconds=1)]):
        assert yaml.safe_load(usage.block(jobs)) is None
    assert list(yaml.safe_load(usage.block([tight._replace(seconds=10, requested_minutes=60)]))["set-resources"]) == [
        "evaluate"
    ]


def test_a_run_that_went_on_in_further_jobs_asks_for_no_more_than_a_partition_allows():
    long = Usage("train", **vars(CELL), requested_minutes=2880, seconds=60 * 6000)
    assert yaml.safe_load(usage.block([long])) is None
    expression = yaml.safe_load(usage.block([long._replace(rule="predict")]))["set-resources"]["predict"]["runtime"]
    assert value(expression, long, 1) > 6000


def test_heads_do_not_ask_for_the_time_of_cnns():
    head = Usage("train", **vars(CELL) | {"mode": "tl"}, requested_minutes=10, seconds=3)
    cnn = Usage("train", **vars(CELL), requested_minutes=3000, seconds=50_000)
    expression = yaml.safe_load(usage.block([head, cnn]))["set-resources"]["train"]["runtime"]
    assert value(expression, head, 1) == value(expression, head, 2) == 10
    assert 50_000 / 60 < value(expression, cnn, 1) < 3000


def test_a_network_that_has_not_finished_asks_for_its_own_time():
    small = Usage("train", **vars(CELL), requested_minutes=60, seconds=900, requested_mb=8000, peak_memory_mib=1000)
    large = Usage("train", **vars(CELL) | {"model": "vgg19"}, requested_minutes=2150, requested_mb=8000)
    said = yaml.safe_load(usage.block([small, large]))["set-resources"]["train"]
    assert [value(said["runtime"], large, attempt) for attempt in (1, 2)] == [2150, 2150]
    assert value(said["runtime"], small, 1) < 60
    unknown = small._replace(model="another")
    assert value(said["runtime"], unknown, 1) == 2150
    # Memory must be there at once, so that a third try has more than any before.
    assert [value(said["mem_mb"], small, attempt) for attempt in (1, 2, 3)] == [2500, 8000, 16000]


@given(st.lists(JOBS, max_size=12))
def test_a_plan_says_how_much_more_was_asked_for(jobs):
    time, memory = usage.share(jobs)
    known = [(60 * job.requested_minutes, job.seconds) for job in jobs if job.requested_minutes and job.seconds]
    if known:
        ratios = [asked / took for asked, took in known]
        assert min(ratios) * 0.999 <= time <= max(ratios) * 1.001
    else:
        assert time is None
    # What SLURM says of the same jobs is no other job.
    assert usage.share([*jobs, *(job._replace(accounted=True, seconds=1.0) for job in jobs)]) == (time, memory)


def test_a_plan_names_the_lines_where_there_are_any(tmp_path):
    job = Usage("train", requested_minutes=60, seconds=600, requested_mb=8000, peak_memory_mib=8000 * MB / 4)
    path = tmp_path / "set-resources.yaml"
    assert plan.asked([], path) == []
    (_, line) = plan.asked([job], path)
    assert line == "Finished jobs asked for 6.0 times the time and 4.0 times the memory that they took."
    path.touch()
    assert plan.asked([job], path)[1].endswith(f" {path} has lines for a profile.")


def test_a_plan_learns_from_finished_jobs():
    made = study()
    cell = Cell("pcam", "b2", "full", "paper", "a100")
    other = Cell("idc", "b2", "full", "paper", "a100")
    known = {"dataset": "pcam", "model": "inceptionv3", "device": "a100"}
    found = [
        *(Usage("train", **vars(cell), seconds=500, start_seconds=seconds) for seconds in (20.0, 30.0, 90.0)),
        Usage("train", **vars(cell), seconds=500, start_seconds=None),
        Usage("predict", **vars(cell), seconds=44.0),
        Usage("extract_features", **known, scaling="paper", seconds=77.0),
        Usage("extract_features", **known, scaling="paper", seconds=9999.0, accounted=True),
    ]
    before, after = Costs(made), Costs(made, learned=usage.learned(found))
    assert after.predict(cell) == (44.0, "measured")
    assert after.extract("pcam", "inceptionv3", "paper", "a100") == (77.0, "measured")
    for each in (cell, other):  # of the same model, mode and device
        assert before.train(each).seconds - after.train(each).seconds == pytest.approx(START_UP - 30)
    assert after.predict(other).origin != "measured"
    assert after.extract("idc", "inceptionv3", "paper", "a100").origin != "measured"


# As sacct of SLURM 22.05 prints it, with times as seconds since 1970.
ANSWER = f"""\
17|600|60|8000M||4|10:00.500|{ENDED - 590}|{ENDED + 10}
17.batch|600|||150.50M|4|00:02.000|{ENDED - 590}|{ENDED + 10}
17.extern|600|||0|4|00:00.000|{ENDED - 590}|{ENDED + 10}
17.0|295|||1849.50M|4|05:58.500|{ENDED - 585}|{ENDED - 290}
17.1|300|||1500.00M|4|04:00.000|{ENDED - 290}|{ENDED + 10}
18|0|60|8000M||4|00:00:00|Unknown|Unknown
"""


def test_accounts_are_those_of_whole_jobs():
    found = accounts.read(ANSWER)
    assert list(found) == ["17"]  # the other waits
    assert found["17"].usage == (60, 600, 8000, 2000, 4, 600.5 / 600)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784), ("00:00:01.5", 1.5), ("03:04.250", 184.25), ("", None), ("INVALID", None)],
)
def test_times_of_accounts(text, seconds):
    assert accounts._seconds(text) == seconds


@pytest.mark.parametrize(("text", "mb"), [("8000M", 8000), ("8000Mn", 8000), ("2000Mc", 8000), ("", None)])
def test_memory_of_accounts_of_old_and_new_slurms(text, mb):
    assert accounts.read(ANSWER.replace("8000M", text))["17"].usage.requested_mb == mb


@pytest.fixture
def sacct(tmp_path, monkeypatch):
    """Return a function that makes a stand-in for `sacct` of a shell script."""
    monkeypatch.setattr(accounts, "TIMEOUT", 0.5)

    def stand_in(script: str) -> None:
        for name, path in program(tmp_path / "bin" / "sacct", f"#!/bin/sh\n{script}").items():
            monkeypatch.setenv(name, path)

    return stand_in


PART = Usage("train", **vars(CELL), seconds=100, slurm_job="17", ended=ENDED, record="run.json")


def test_accounts_have_a_row_for_each_job_of_slurm(sacct, tmp_path):
    (tmp_path / "answer").write_text(ANSWER)
    sacct(f'echo "$@" >> {tmp_path}/asked; cat {tmp_path}/answer')
    head = PART._replace(mode="tl")
    one, two, account = usage.with_accounts([head, PART])
    assert (one, two) == (head, PART)
    assert account.accounted
    assert (account.rule, account.mode, account.slurm_job) == ("train", "tl", "17")
    assert (account.requested_minutes, account.seconds, account.peak_memory_mib) == (60, 600, 2000)
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith("--jobs=17")
    # Results of another cluster, whose job had the same number, and of a machine without SLURM.
    for other in (PART._replace(ended=ENDED + 1e6), PART._replace(slurm_job="")):
        assert usage.with_accounts([other]) == [other]


@pytest.mark.parametrize(
    "script", ["echo 'Slurm accounting storage is disabled' >&2; exit 1", "exec sleep 60", "echo x"]
)
def test_without_accounts_there_are_none(sacct, script):
    sacct(script)
    assert usage.with_accounts([PART]) == [PART]


def test_without_sacct_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert usage.with_accounts([PART]) == [PART]


def test_slurm_is_asked_about_many_jobs_at_a_time_until_it_does_not_answer(sacct, tmp_path):
    jobs = [str(number) for number in range(2 * accounts.AT_A_TIME + 1)]
    sacct(f"echo >> {tmp_path}/asked")
    assert accounts.of_jobs(jobs) == {}
    assert (tmp_path / "asked").read_text().count("\n") == math.ceil(len(jobs) / accounts.AT_A_TIME)
    (tmp_path / "asked").unlink()
    sacct(f"echo >> {tmp_path}/asked; exit 1")
    assert accounts.of_jobs(jobs) == {}
    assert (tmp_path / "asked").read_text().count("\n") == 1
