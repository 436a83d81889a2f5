"""Random damage to every file that a job reads: the clean result, or an error that names the file, nothing by halves.

Each case damages one file of a small study (two where they are exchanged), runs the job that reads it, mends the file
and runs the job again, which must give the clean result. It ends in one of:

- "same": the job did not need what was damaged, or noticed it and did without: the result is the clean one;
- "refused": an error for users that names the file;
- "told": the file is the user's own and nobody knows what it should hold. It was taken for other data, and the record
  of the result says so.

A case is drawn by its stage and number alone. To repeat one::

    HISTOBENCH_FAULT="train: state/17" python -m pytest tests/faults/test_corruptions_long.py
"""

import fnmatch
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from histobench.core import prepared, runs, source_files
from histobench.core.errors import for_user
from histobench.core.lease import HolderLookup, Intervals, held
from histobench.core.lease.lease import Lease
from histobench.core.plan import SCHEMA
from histobench.core.status import report
from histobench.core.study import Study, check_keys
from histobench.tuning.tuner import Tuner
from support import fault_study as study
from support.corruption import KINDS, corrupt
from support.fault_study import FULL, HEAD, TUNED
from support.processes import weights
from support.project import TINY, copy_project, snakemake
from support.rules import Jobs
from support.stops import Stopped, stopped_at

SEED = 16
# What Snakemake says of a file before it reads a line of the workflow. It names no file.
BY_SNAKEMAKE = "Snakemake's own error"
SECONDS = 120  # after which a case hangs

# A lease that cannot be read counts as another job's until it has been silent for ten minutes: here for half a second.
QUICK = Intervals(beat=0.05, patience=0.5, look=0.05)

Result = dict[str, str]
Job = Callable[[Jobs], Result]


def _digests(paths: list[str]) -> Result:
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


# What jobs give that does not depend on when and how often they ran.


def prepare(dataset: str) -> Job:
    return lambda jobs: _digests(
        [
            path
            for path in jobs.prepare(dataset)
            if "." in path and "manifest" not in path and "source_files" not in path
        ]
    )


def read(jobs: Jobs) -> Result:
    """Read all patches of a data set, as any job reads some of them."""
    folder, result = jobs.data("own"), {}
    for split in prepared.SPLITS:
        part = prepared.Records(folder, split)
        values = (part.take(np.arange(len(part))), part.labels, part.ids, part.groups)
        result[split] = hashlib.sha256(repr([np.asarray(each).tolist() for each in values]).encode()).hexdigest()
    return result | {"index": prepared.index(folder).to_csv()}


def extract(model: str) -> Job:
    return lambda jobs: _digests(jobs.extract("own", model)[:3])


def train(run: study.Run) -> Job:
    def job(jobs: Jobs) -> Result:
        folder = Path(jobs.train(run).history).parent
        arrays = weights(folder)
        return _digests([str(folder / runs.HISTORY)]) | {
            "weights": hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest(),
            "best epoch": str(runs.read_json(folder / runs.ABOUT)["best_epoch"]),
        }

    return job


def predict(run: study.Run) -> Job:
    return lambda jobs: _digests(jobs.predict(run))


def evaluate(run: study.Run) -> Job:
    return lambda jobs: _digests(jobs.evaluate(run))


def controls(jobs: Jobs) -> Result:
    return _digests(jobs.controls("own"))


def collect_runs(jobs: Jobs) -> Result:
    return _digests(jobs.collect_runs(["own"]))


def tune(jobs: Jobs) -> Result:
    outputs = jobs.tune(TUNED)
    same = ("learning_rate", "dense_units", "first_epoch", "last_epoch", "status", "score")
    rows = sorted(tuple(row[name] for name in same) for row in runs.read_rows(Path(outputs.trials)))
    return _digests([outputs.recipe]) | {"trials": str(rows)}


def record(jobs: Jobs) -> Result:
    """Record the digests of simulated files, as the rules that simulate do. Those below without have none."""
    for file in jobs.study.sources["simulated-plain"].files:
        source_files.record(Path("results/simulated/simulated-plain", file))
    return {}


def plan(jobs: Jobs) -> Result:
    """Look at a folder of one's own while a plan is made."""
    digest = source_files.content(Path("own"), Path("results/downloads/.digests/own.json"), print)
    return {"digest": digest}


def configure(jobs: Jobs) -> Result:
    """Read the configuration as Snakemake and the Snakefile do, and what every run depends on."""
    try:
        config = load_configfile(study.CONFIGURATION)
    except Exception as error:
        raise WorkflowError(f"{BY_SNAKEMAKE}: {error}") from error
    check_keys(Path(study.CONFIGURATION))
    asked = Study(config, SCHEMA)
    for run in asked.runs:
        asked.specification(run)
    asked.asked_for({})
    return {"configuration": json.dumps(config, sort_keys=True)}


def status(jobs: Jobs) -> Result:
    """Say how far the study is, as `make status` does, of whatever there is."""
    assert report(jobs.study, HolderLookup(), 100, 100)
    return {}


def download(source: str) -> Job:
    return lambda jobs: _digests(jobs.download(source))


def fetch_weights(model: str) -> Job:
    return lambda jobs: _digests(jobs.fetch_weights(model))


# Where a record says that data were other ones.


def configuration() -> Any:
    return json.dumps(load_configfile(study.CONFIGURATION), sort_keys=True)


def manifest(dataset: str) -> Callable[[], Any]:
    return lambda: prepared.manifest(Path(f"results/data/{dataset}"))["source_files"]["sha256"]


@dataclass(frozen=True)
class Stage:
    """A job, and the files to damage before it runs.

    Attributes
    ----------
    cases : how many.
    targets : patterns of files by what they are called in the table.
    needs : files and folders that the job is given, of the finished study; of the halves what is named so.
    half : which stopped job's files are laid over them.
    record : what is recorded of where the data came from, for files that nobody knows what they should hold.
    remake : jobs that make the file anew where it is deleted, as the error advises.
    names : what an error may name instead of the file.
    first : a job that is run before the damage.
    """

    name: str
    cases: int
    targets: dict[str, list[str]]
    job: Job
    needs: list[str]
    half: str = ""
    record: Callable[[], Any] | None = None
    remake: list[Callable[[Jobs], Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    first: Job | None = None


RUN = {run: f"results/faults/runs/own/{run.model}/{run.mode}/{run.recipe}/cpu/seed-1" for run in (FULL, HEAD, TUNED)}
SEARCH = "results/faults/searches/own/saved/tl/tuned/cpu"
FEATURES = "results/faults/features/own/saved/paper/cpu"
DATA = "results/data/own"
CONTROLS = "results/faults/controls/own"
REMAKE_DATA = [lambda jobs: jobs.prepare("own")]
STATE = {
    "epochs of a run": ["epoch-*/*"],
    "digests of the state": ["*/sha256.json"],
    "identity, lease and events": ["identity", "lease-*", "events"],
}


def _state(folder: str, targets: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [f"{folder}/.state/{pattern}" for pattern in patterns] for name, patterns in targets.items()}


def _upstream(dataset: str, cases: int, targets: dict[str, list[str]], name: str = "", **options: Any) -> Stage:
    place = "simulated" if dataset.startswith("simulated") else "downloads"
    folder = f"results/{place}/{dataset}"
    patterns = {name: [f"{folder}/{pattern}" for pattern in each] for name, each in targets.items()}
    return Stage(f"prepare: {name or dataset}", cases, patterns, prepare(dataset), [folder, "mirror"], **options)


PCAM_FILES = {"PCam x": ["*_x.h5*"], "PCam y": ["*_y.h5*"], "PCam meta.csv": ["*.csv"]}
IDC_FILES = {"IDC zip": ["*.zip"], "IDC lists": ["*.txt"]}
PINS = {"records of downloads": [".pins/*"]}

STAGES = [
    _upstream("pcam", 70, PCAM_FILES, remake=[lambda jobs: jobs.download("pcam")]),
    _upstream("unpacked", 60, PCAM_FILES | PINS, remake=[lambda jobs: jobs.download("unpacked")]),
    _upstream("idc", 60, IDC_FILES | PINS, remake=[lambda jobs: jobs.download("idc")]),
    *(
        _upstream(f"simulated-{layout}", cases, PCAM_FILES, record=manifest(f"simulated-{layout}"))
        for layout, cases in {"stream": 120, "chunks": 100, "plain": 100, "plain-chunks": 100}.items()
    ),
    _upstream("simulated-plain", 40, PCAM_FILES | PINS, "simulated", first=record),
    _upstream("simulated-idc", 160, IDC_FILES, record=manifest("simulated-idc")),
    Stage(
        "prepare: own",
        220,
        {f"own {suffix}": [f"own/*/*/*.{suffix}"] for suffix in study.IMAGES},
        prepare("own"),
        ["own"],
        record=manifest("own"),
    ),
    Stage("plan: own", 40, {"cache of digests": ["results/downloads/.digests/*"]}, plan, ["own"], first=plan),
    Stage(
        "read: own",
        200,
        {"shards": [f"{DATA}/*.tfrecord"], "index": [f"{DATA}/*.parquet"], "manifest": [f"{DATA}/*.json"]},
        read,
        [DATA, "own"],
        remake=REMAKE_DATA,
    ),
    Stage(
        "controls: own",
        16,
        {"index": [f"{DATA}/*.parquet"], "manifest": [f"{DATA}/*.json"]},
        controls,
        [DATA, "own"],
        remake=REMAKE_DATA,
    ),
    *(
        Stage(
            f"extract: weights {model}",
            50,
            {f"weights {''.join(Path(file).suffixes)}": [f"results/downloads/weights/{file}"]},
            extract(model),
            [DATA, "results/downloads/weights", "mirror"],
            remake=[lambda jobs, model=model: jobs.fetch_weights(model)],
        )
        for model, file in study.WEIGHTS.items()
    ),
    Stage(
        "extract: patches",
        40,
        {"shards": [f"{DATA}/*.tfrecord"]},
        extract("saved"),
        [DATA, "own", "results/downloads/weights"],
        remake=REMAKE_DATA,
    ),
    Stage(
        "extract: state",
        80,
        _state(FEATURES, {"parts of features": ["*/part.npz"]} | {k: v for k, v in STATE.items() if "epochs" not in k}),
        extract("saved"),
        [DATA, "results/downloads/weights"],
        half="extract",
    ),
    Stage("train: patches", 24, {"shards": [f"{DATA}/*.tfrecord"]}, train(FULL), [DATA, "own"], remake=REMAKE_DATA),
    Stage("train: state", 50, _state(RUN[FULL], STATE), train(FULL), [DATA], half="train"),
    Stage(
        "train: features",
        60,
        {"features": [f"{FEATURES}/*.npy"], "features.json": [f"{FEATURES}/*.json"]},
        train(HEAD),
        [DATA, FEATURES, "results/downloads/weights"],
        remake=[lambda jobs: jobs.extract("own", "saved")],
    ),
    Stage("train: state of a head", 60, _state(RUN[HEAD], STATE), train(HEAD), [DATA, FEATURES], half="head"),
    Stage(
        "train: outputs",
        60,
        {
            "outputs of a run": [f"{RUN[HEAD]}/*.*"],
            **_state(RUN[HEAD], {"outputs in the state": ["outputs/*"]}),
        },
        train(HEAD),
        [DATA, FEATURES, RUN[HEAD]],
    ),
    Stage(
        "train: recipe",
        12,
        {"recipe of a search": [f"{SEARCH}/recipe.yaml"]},
        train(TUNED),
        [DATA, FEATURES, SEARCH],
        remake=[lambda jobs: jobs.tune(TUNED)],
    ),
    Stage(
        "predict: run",
        100,
        {
            "best.weights.h5": [f"{RUN[HEAD]}/*.h5"],
            "run.json": [f"{RUN[HEAD]}/run.json"],
            "features": [f"{FEATURES}/*.npy"],
        },
        predict(HEAD),
        [DATA, FEATURES, RUN[HEAD], "results/downloads/weights"],
        remake=[lambda jobs: jobs.extract("own", "saved"), lambda jobs: jobs.train(HEAD)],
    ),
    Stage(
        "evaluate: run",
        80,
        {"predictions.csv": [f"{RUN[HEAD]}/predictions.csv"], "digests of tables": [f"{RUN[HEAD]}/.predictions*"]},
        evaluate(HEAD),
        [DATA, FEATURES, RUN[HEAD]],
        remake=[lambda jobs: jobs.predict(HEAD)],
    ),
    Stage(
        "collect: runs",
        120,
        {
            "run.json": ["results/faults/runs/**/run.json"],
            "timing.csv": ["results/faults/runs/**/timing.csv"],
            "metrics.json": ["results/faults/runs/**/metrics.json", f"{CONTROLS}/metrics.json"],
            "manifest": [f"{DATA}/manifest.json"],
        },
        collect_runs,
        [DATA, FEATURES, SEARCH, "own", *RUN.values(), CONTROLS, "results/downloads/weights"],
    ),
    Stage(
        "tune: state",
        24,
        {
            "trials of a search": [f"{SEARCH}/.state/search/trial_*/*"],
            "oracle of a search": [f"{SEARCH}/.state/search/oracle.json"],
            "identity, lease and events": [
                *(f"{SEARCH}/.state/{name}" for name in ("identity", "lease-*", "events")),
                f"{SEARCH}/.worker-1/*",
            ],
        },
        tune,
        [DATA, FEATURES],
        half="tune",
    ),
    Stage(
        "status",
        80,
        _state(RUN[FULL], STATE)
        | {
            "outputs of a run": [f"{RUN[HEAD]}/*.*"],
            "manifest": [f"{DATA}/*.json"],
            "features.json": [f"{FEATURES}/*.json"],
        },
        status,
        [DATA, FEATURES, RUN[HEAD]],
        half="train",
    ),
    Stage(
        "configuration",
        260,
        {"configuration": [study.CONFIGURATION]},
        configure,
        [],
        record=configuration,
        names=("configuration: ", BY_SNAKEMAKE),
    ),
    Stage(
        "download: mirror",
        60,
        {"files of a mirror": ["mirror/idc/*"], "records of downloads": ["results/downloads/idc/.pins/*"]},
        download("idc"),
        ["mirror", "results/downloads/idc/.pins"],
    ),
    Stage(
        "fetch_weights: download",
        40,
        {"weights at their download": ["results/downloads/weights/saved*", "results/downloads/weights/.pins/saved*"]},
        fetch_weights("saved"),
        ["mirror", "results/downloads/weights"],
    ),
]
COUNTS: dict[tuple[str, str], Counter[str]] = {}


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Hang(BaseException):
    """Ends a case that takes too long."""


def _hang(*_: Any) -> None:
    raise Hang


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Path]:
    """The finished study, and beside it what stopped jobs have left, by name."""
    root = tmp_path_factory.mktemp("faults")
    folder = root / "finished"
    folder.mkdir()
    quick = pytest.MonkeyPatch()
    quick.setattr(held.__wrapped__, "__defaults__", (QUICK,))
    quick.setattr(Lease.__init__, "__defaults__", (QUICK,))
    quick.setattr(source_files, "RACY", -(10**9))  # files of this very moment are settled
    quick.setattr("tqdm.std.tqdm.display", lambda *_, **__: None)
    with working_in(folder):
        study.write()
        jobs = study.jobs()
        plan(jobs)
        study.run_all(jobs)
        os.utime("own")
    _halves(root, folder)
    signal.signal(signal.SIGALRM, _hang)
    yield folder
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    quick.undo()


def _halves(root: Path, finished: Path) -> None:
    """Stop jobs on their way, each in a copy of what it reads."""
    for name, job, step, result in (
        ("extract", extract("saved"), "test-00000", FEATURES),
        ("train", train(FULL), "epoch-0002", RUN[FULL]),
        ("head", train(HEAD), "epoch-0002", RUN[HEAD]),
    ):
        with _copied(finished, root / "aside", [DATA, FEATURES, "results/downloads/weights"]):
            if name == "extract":
                shutil.rmtree(FEATURES)
            with stopped_at(step, "before" if name == "extract" else "after"):
                job(study.jobs())
            shutil.copytree(result, root / name / result)
    with _copied(finished, root / "aside", [DATA, FEATURES]), _stopped_search():
        tune(study.jobs())
    shutil.copytree(root / "aside" / SEARCH, root / "tune" / SEARCH)


@contextmanager
def _stopped_search() -> Iterator[None]:
    """Stop a search when it begins its fourth trial."""
    original, begun = Tuner.on_trial_begin, []

    def on_trial_begin(self: Tuner, trial: Any) -> None:
        original(self, trial)
        begun.append(trial)
        if len(begun) == 4:
            raise Stopped

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Tuner, "on_trial_begin", on_trial_begin)
        yield


@contextmanager
def _copied(finished: Path, folder: Path, needs: list[str], half: str = "") -> Iterator[None]:
    """Copy files of the study, with their dates and links, to a folder and work there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    subprocess.run(["cp", "-a", "--parents", "-t", folder, study.CONFIGURATION, *needs], cwd=finished, check=True)
    if half:
        subprocess.run(["cp", "-a", f"{finished.parent / half}/.", folder], check=True)
    with working_in(folder):
        yield


def _files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


# What may be there after a failed job: states, which the next job reads or clears, what a download keeps, and the list
# of what was read, which is whole and which Snakemake deletes.
KEPT = (
    *("*/.state/*", "*/.worker-1/*", "*.bad", "*.part", "*.part.origin", "*/.pins/*", "*/.digests/*"),
    f"*/{prepared.SOURCE_FILES}",
)


def _half_written(before: dict[str, bytes], finished: Path, *, failed: bool) -> list[str]:
    """Return what a job has left that it should not have."""
    now = _files()
    temporary = [
        path for path in now if fnmatch.fnmatch(Path(path).name, ".tmp-*") and not (failed and "/.state/" in path)
    ]
    if not failed:
        return temporary
    return temporary + [
        path
        for path, content in now.items()
        if before.get(path) != content
        and not any(fnmatch.fnmatch(path, kept) for kept in KEPT)
        and not ((whole := finished / path).exists() and whole.read_bytes() == content)
    ]


def _found(pattern: str) -> list[Path]:
    """Return the files of a pattern, hidden folders only where it names them."""
    paths = glob.glob(pattern, recursive=True)  # noqa: PTH207  # those of Path enter hidden folders, too
    return [path for path in map(Path, paths) if path.is_file()]


def _names(path: Path) -> list[str]:
    """Return by what an error may name a file: a digest also by the file that it is of."""
    if path.parent.name == ".pins":
        return [str(path), str(path.parent.parent / path.stem)]
    if path.suffix == ".sha256":  # of a table
        return [str(path), str(path.with_name(path.stem.removeprefix(".")))]
    return [str(path)]


class FindingError(AssertionError):
    """What a case must not end in."""


def _run(stage: Stage, finished: Path, before: dict[str, bytes]) -> tuple[Result | None, str]:
    """Return the result of the job, or the message of its error."""
    signal.alarm(SECONDS)
    try:
        result = stage.job(study.jobs() if stage.name != "configuration" else None)
    except Hang:
        raise FindingError(f"hangs for {SECONDS} s") from None
    except (Exception, SystemExit) as error:
        signal.alarm(0)
        known = error if isinstance(error, WorkflowError) else for_user(error)
        if known is None:
            raise FindingError(f"{type(error).__name__}: {str(error)[:600]}") from error
        if left := _half_written(before, finished, failed=True):
            raise FindingError(f"left behind after an error: {left}") from error
        return None, str(known)
    finally:
        signal.alarm(0)
    if left := _half_written(before, finished, failed=False):
        raise FindingError(f"left behind: {left}")
    return result, ""


def _case(stage: Stage, number: int, finished: Path, clean: Result, record: Any) -> tuple[str, str]:
    """Return target and outcome of a case."""
    rng = Random(f"{SEED}/{stage.name}/{number}")
    target = rng.choice(list(stage.targets))
    described = target
    with _copied(finished, finished.parent / "case", stage.needs, stage.half):
        if stage.first:
            stage.first(study.jobs())
        files = sorted({path for pattern in stage.targets[target] for path in _found(pattern)})
        assert files, f"{stage.name}: no files for {target}"
        changed: list[Path] = []
        whole = _files()
        while not changed:
            path, kind = rng.choice(files), rng.choices(list(KINDS), list(KINDS.values()))[0]
            others = [each for each in files if each != path and each.suffix == path.suffix]
            if kind == "exchange" and not others:
                continue
            changed = corrupt(path, others, kind, rng)
        described = f"{target}: {kind} of {', '.join(map(str, changed))}"
        before = _files()
        try:
            result, error = _run(stage, finished, before)
            if result == clean:
                return target, "same"
            if result is not None:
                outcome = "told"
                if stage.record is None or stage.record() == record:
                    raise FindingError("another result without a word")
            else:
                outcome = "refused"
                if not any(name in error for path in changed for name in (*_names(path), *stage.names)):
                    raise FindingError(f"the error names another file: {error}")
            advice = bool(stage.remake) and rng.random() < 0.5
            for each in changed:
                each.unlink(missing_ok=True)
                if not advice:
                    each.write_bytes(whole[str(each)])
            try:
                if advice:
                    for make in stage.remake:
                        make(study.jobs())
                again, error = _run(stage, finished, _files())
            except FindingError as found:
                raise FindingError(f"once mended{' as advised' * advice}: {found}") from found
            if again != clean:
                raise FindingError(f"once mended{' as advised' * advice}, another result than the clean one: {error}")
        except FindingError as found:
            raise FindingError(f"{described}: {found}") from found
    return target, outcome


@pytest.mark.parametrize("stage", [pytest.param(stage, id=stage.name) for stage in STAGES])
def test_damage(stage: Stage, finished: Path) -> None:
    only = os.environ.get("HISTOBENCH_FAULT", "")
    if only and only.rpartition("/")[0] != stage.name:
        pytest.skip(f"only {only} is asked for")
    numbers = [int(only.rpartition("/")[2])] if only else range(stage.cases)
    with _copied(finished, finished.parent / "case", stage.needs, stage.half):
        clean, error = _run(stage, finished, _files())
        assert clean is not None, error
        record = stage.record() if stage.record else None
    findings = []
    for number in numbers:
        try:
            target, outcome = _case(stage, number, finished, clean, record)
        except FindingError as found:
            if only:
                raise
            findings.append(f'HISTOBENCH_FAULT="{stage.name}/{number}": {found}')
            print(findings[-1])
            continue
        COUNTS.setdefault((stage.name, target), Counter())[outcome] += 1
    assert not findings, f"{len(findings)} of {stage.cases} cases:\n" + "\n".join(findings)


def test_the_campaign_is_large_and_ends_as_it_should(capsys) -> None:
    assert sum(stage.cases for stage in STAGES) >= 2000
    table = [("stage", "target", "same", "refused", "told")]
    table += [(*key, *(str(counts[name]) for name in ("same", "refused", "told"))) for key, counts in COUNTS.items()]
    total: Counter[str] = sum(COUNTS.values(), Counter())
    with capsys.disabled():
        print()
        for row in table:
            print(f"{row[0]:28}{row[1]:32}" + "".join(f"{value:>9}" for value in row[2:]))
        print(f"{total.total()} cases: {dict(total)}")
    if {stage for stage, _ in COUNTS} == {stage.name for stage in STAGES}:  # none was deselected
        assert total.total() >= 2000


# By really running Snakemake: the message reaches the user, and the same command ends as if nothing had been.

TINY_RUNS = "results/tiny/runs"
PCAM_RUN, HEAD_RUN, TUNED_RUN = (
    f"{TINY_RUNS}/{cell}/cpu/seed-1"
    for cell in (
        "pcam-simulated/b2/full/tiny",
        *("idc-simulated/mobilenet/tl/tiny", "idc-simulated/mobilenet/tl/tiny-tuned"),
    )
)
TINY_FEATURES = "results/tiny/features/idc-simulated/mobilenet/paper/cpu"
TINY_SEARCH = "results/tiny/searches/idc-simulated/mobilenet/tl/tiny-tuned/cpu"
# Files that are damaged at once, of which none keeps the message of another from being printed.
AT_ONCE = [
    {
        "results/simulated/pcam-simulated/camelyonpatch_level_2_split_train_x.h5.gz": "flip a bit",
        "results/simulated/idc-simulated/IDC_regular_ps50_idx5.zip": "truncate",
    },
    {
        f"{PCAM_RUN}/best.weights.h5": "flip bytes",
        f"{TINY_FEATURES}/test.npy": "swap blocks",
        f"{TINY_SEARCH}/recipe.yaml": "truncate",
    },
    {
        "results/data/idc-simulated/valid-00002-of-00004.tfrecord": "zero a block",
        "results/data/pcam-simulated/index.parquet": "truncate",
    },
    {"results/data/idc-simulated/manifest.json": "HTML", f"{PCAM_RUN}/predictions.csv": "flip a bit"},
    {f"{TUNED_RUN}/metrics.json": "flip a bit"},
    {f"{HEAD_RUN}/timing.csv": "double a block"},
]


def _scores(folder: Path) -> dict[str, bytes]:
    names = (runs.HISTORY, runs.PREDICTIONS, runs.METRICS, runs.REPLICATES)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in folder.glob(f"{TINY_RUNS}/*/*/*/*/*/*/{name}")
    }


@pytest.mark.parametrize("damage", AT_ONCE, ids=lambda damage: " and ".join(Path(path).name for path in damage))
def test_damage_in_a_study_that_snakemake_runs(once, tmp_path, damage):
    finished = once("finished", lambda folder: snakemake(copy_project(folder), *TINY))
    copy = Path(shutil.copytree(finished, tmp_path / "study", symlinks=True))
    for path, kind in damage.items():
        assert corrupt(copy / path, [], kind, Random(f"{SEED}/{path}"))
    printed = snakemake(copy, *TINY, fails=True)
    for path in damage:
        assert f"ERROR {path}" in printed, printed[-6000:]
    assert "Traceback" not in printed
    assert not [path for path in copy.rglob(".tmp-*") if ".state" not in path.parts]
    for path in damage:
        shutil.copyfile(finished / path, copy / path)
    snakemake(copy, *TINY)
    assert len(_scores(copy)) == 16
    assert _scores(copy) == _scores(finished)
    assert not list(copy.rglob(".tmp-*"))
