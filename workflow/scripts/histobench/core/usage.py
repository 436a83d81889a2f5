"""What jobs asked for and what they took, as they have recorded it, and lines for a profile that asks for as much.

Each run, extraction and search says it in its own record (``run.json``, ``features.json``, ``search.json``), all other
jobs in the benchmarks of Snakemake, beside their logs, which ``benchmark-extended`` in ``profiles/default`` has tell
what was asked for as well. A run is known by its record since a job that restores it leaves a benchmark of seconds.
"""

import datetime
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from histobench.core import accounts, costs, features, runs
from histobench.core.cells import NAMES, Cell
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.tuning import search_files

# Of benchmarks.
SUFFIX = ".jsonl"
# Of a resource of a rule for which a block says something, to what the longest or largest job took: jobs of another
# model, or on a busier machine, take more.
TIME_MARGIN, MEMORY_MARGIN = 2, 1.5
# MB, of the two Snakemakes around each job of SLURM: measured 190 and 170 for a study of the tests; larger studies take
# more.
SNAKEMAKE = 500
# Seconds by which clocks of a cluster may differ.
CLOCKS = 60
# To which a block rounds up: minutes, as those of rules, and MB.
MINUTES, MEGABYTES = costs.STEP, 500
MB = 1e6 / 2**20  # in MiB


Key = TypeVar("Key")


class Usage(NamedTuple):
    """What a job asked for and what it took; None for what is unknown.

    Attributes
    ----------
    rule : of Snakemake.
    dataset, model, mode, recipe, device, scaling : of the job, "" for what it does not have.
    accounted : whether this is a whole job of SLURM, by its accounts, and not a job of Snakemake.
    requested_minutes, requested_mb, requested_cores : time, memory and cores that it asked for, in the try that ended.
    seconds : of a run those of all its jobs, if it was killed and went on.
    peak_memory_mib : the most memory that its processes have held.
    cores : used on average.
    peak_device_memory_mib : the most that Keras's backend held on the card.
    start_seconds : of `seconds` those besides epochs, trials or patches: of imports, building and compiling.
    slurm_job : its id.
    ended : when, in seconds since 1970.
    record : file that says so.
    """

    rule: str
    dataset: str = ""
    model: str = ""
    mode: str = ""
    recipe: str = ""
    device: str = ""
    scaling: str = ""
    accounted: bool = False
    requested_minutes: float | None = None
    seconds: float | None = None
    requested_mb: float | None = None
    peak_memory_mib: float | None = None
    requested_cores: float | None = None
    cores: float | None = None
    peak_device_memory_mib: float | None = None
    start_seconds: float | None = None
    slurm_job: str = ""
    ended: float | None = None
    record: str = ""


@dataclass(frozen=True)
class Requests:
    """What jobs ask for.

    An object, and so no reason for Snakemake to do anything anew: what a job asked for is no part of what it does.
    """

    jobs: tuple[Usage, ...]


def of_study(results: Path, logs: Path, folders: Iterable[Path], datasets: Iterable[str]) -> list[Usage]:
    """Return what the jobs of a study have recorded so far, also where that is little or nothing.

    Parameters
    ----------
    results, logs : folders of the study.
    folders : run folders, in `results`.
    datasets : names of data sets.
    """
    shared = [(rule, name) for rule in ("prepare", "audit") for name in datasets]
    found = [_of_benchmark(rule, logs.parent / rule / name, dataset=name) for rule, name in shared]
    for folder in sorted((results / "features").glob("*/*/*/*")):
        names, benchmark = folder.parts[-4:], logs.joinpath("features", *folder.parts[-4:])
        known = dict(zip(("dataset", "model", "scaling", "device"), names, strict=True))
        imported = _is_imported(folder / features.ABOUT)
        found.append(
            _of_benchmark("import_features", benchmark, **known)
            if imported
            else _of_record("extract_features", folder / features.ABOUT, benchmark, **known)
        )
    for folder in sorted((results / "searches").glob("*/*/*/*/*")):
        names, log = folder.parts[-5:], logs.joinpath("searches", *folder.parts[-5:])
        known = dict(zip(NAMES, names, strict=True))
        found.append(_of_record("tune", folder / search_files.ABOUT, log / "worker-1", **known))
        others = sorted(set(log.glob(f"worker-*{SUFFIX}")) - {log / f"worker-1{SUFFIX}"})
        found += [_of_benchmark("tune_worker", path.with_suffix(""), **known) for path in others]
    for folder in folders:
        names, log = folder.parts[-6:-1], logs.joinpath(*folder.parts[-6:])
        known = dict(zip(NAMES, names, strict=True))
        found.append(_of_record("train", folder / runs.ABOUT, log / "train", **known))
        found.append(_of_benchmark("predict", log / "predict", **known))
        found.append(_of_benchmark("evaluate", log / "evaluate", **known))
    places = {**dict.fromkeys(("predict_turned", "gather", "average_scores"), ""), "predict_external": "external/*/"}
    for rule, above in places.items():
        for path in sorted(logs.glob(f"{above}*/*/*/*/*/*/{rule}{SUFFIX}")):
            known = dict(zip(NAMES, path.parts[-7:-2], strict=True))
            found.append(_of_benchmark(rule, path.with_suffix(""), **known))
    for rule in ("controls", "explain", "robustness", "export"):
        found += [_of_benchmark(rule, logs / rule / name, dataset=name) for name in datasets]
    found.append(_of_benchmark("describe_models", logs / "describe_models"))
    return [each for each in found if each is not None]


def trained(folders: Iterable[Path]) -> list[Path]:
    """Return the run folders behind results, each once: the same, those of folds, those whose scores are averaged."""
    found = dict.fromkeys(each for folder in folders for each in _behind(folder))
    return list(found)


def _behind(folder: Path) -> Iterator[Path]:
    about = read_sealed(folder / runs.ABOUT)
    behind = about.get("members") or ([about["scored_by"]] if "scored_by" in about else [])
    for each in behind:
        yield from _behind(Path(each))
    if not behind:
        yield folder


def _is_imported(about: Path) -> bool:
    """Say whether a record of features is of those that others have computed."""
    try:
        return about.exists() and "embeddings" in read_sealed(about)
    except HistobenchError:
        return False  # it is damaged, which its readers say


def with_accounts(found: Sequence[Usage]) -> list[Usage]:
    """Return these, and what SLURM's accounts say of the jobs of SLURM that they were parts of, if there are any.

    A job with several heads stands there once, and is that of the first.
    """
    first: dict[str, Usage] = {}
    for each in found:
        if each.slurm_job:
            first.setdefault(each.slurm_job, each)
    of_jobs = []
    for job, account in accounts.of_jobs(list(first)).items():
        part = first.get(job)
        # Results that come from another cluster name jobs that here are somebody else's.
        if part and part.ended and account.started - CLOCKS <= part.ended <= account.ended + CLOCKS:
            names = {name: getattr(part, name) for name in ("rule", *NAMES, "scaling", "slurm_job", "record")}
            of_jobs.append(Usage(**names | account.usage._asdict() | {"accounted": True}))
    return [*found, *of_jobs]


def _of_benchmark(rule: str, stem: Path, **names: Any) -> Usage | None:
    """Return what the benchmark of a job says, None if it has none; `stem` is its path without suffix."""
    if not (told := _benchmark(stem)):
        return None
    resources = told.get("resources")
    resources = resources if isinstance(resources, dict) else {}
    return Usage(
        rule,
        **names,
        requested_minutes=_number(resources.get("runtime")),
        seconds=_number(told.get("s")),
        requested_mb=_number(resources.get("mem_mb")),
        peak_memory_mib=_number(told.get("max_rss")),
        requested_cores=_number(told.get("threads")),
        cores=_cores(told),
        record=str(_file(stem)),
    )


def _of_record(rule: str, path: Path, benchmark: Path, **names: Any) -> Usage | None:
    """Return what the record of a run, of features or of a search says, None if it has none."""
    if not path.exists():
        return None
    try:
        return _recorded(rule, path, read_sealed(path), _benchmark(benchmark), **names)
    except (HistobenchError, KeyError):
        return None  # it is damaged, which its readers say, or of a version that recorded less


def _recorded(rule: str, path: Path, about: Mapping[str, Any], told: Mapping[str, Any], **names: Any) -> Usage:
    """Return what a record and the benchmark beside it say."""
    requested = about.get("requested", {})
    seconds = about["seconds"]  # without the imports before
    whole = _number(told.get("s")) or 0.0
    own = whole >= seconds  # else of a job that restored the run, or whose head another's process trained
    if own and not about.get("features"):  # the process of a head may have trained others
        seconds = whole
    work = _work(path.parent, about)
    return Usage(
        rule,
        **names,
        requested_minutes=_number(requested.get("runtime")),
        seconds=max(seconds, work),
        requested_mb=_number(requested.get("mem_mb")),
        peak_memory_mib=about["peak_memory_mib"],
        requested_cores=about["threads"],
        cores=_cores(told) if own else None,
        peak_device_memory_mib=about["peak_device_memory_mib"],
        # A run that was killed and went on has started several times.
        start_seconds=seconds - work if seconds > work else None,
        slurm_job=about["device"]["slurm_job"] or "",
        ended=datetime.datetime.fromisoformat(about["ended"]).timestamp(),
        record=str(path),
    )


def _work(folder: Path, about: Mapping[str, Any]) -> float:
    """Return the seconds of what all jobs together have done, of which the record of the last one knows its own."""
    if extraction := about.get("extraction_seconds"):
        return math.fsum(extraction.values())
    if spent := about.get("spent"):
        return float(spent["seconds"]) / max(1, len(about["workers"]))
    return math.fsum(costs.epoch_seconds(folder))


def _file(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}{SUFFIX}")


def _benchmark(stem: Path) -> dict[str, Any]:
    """Return the content of a benchmark, nothing of one that is not there, or damaged."""
    with suppress(OSError, ValueError, IndexError):
        told = json.loads(_file(stem).read_text(encoding="utf-8").splitlines()[0])
        return told if isinstance(told, dict) else {}
    return {}


def _cores(benchmark: Mapping[str, Any]) -> float | None:
    percent = _number(benchmark.get("mean_load"))
    return None if percent is None else percent / 100


def _number(value: Any) -> float | None:
    """Return a number; None for what is none, as "NA" for a job too short to be looked at, and what makes no sense."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return value if known else None


def learned(found: Iterable[Usage]) -> costs.Learned:
    """Return the seconds by which a plan knows better than by estimates: medians over finished jobs."""
    start: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    predict: dict[Cell, list[float]] = defaultdict(list)
    extract: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for each in found:
        if each.accounted or each.seconds is None:
            continue
        if each.rule == "train" and each.start_seconds is not None:
            start[each.model, each.mode, each.device].append(each.start_seconds)
        elif each.rule == "predict":
            predict[Cell(*(getattr(each, name) for name in NAMES))].append(each.seconds)
        elif each.rule == "extract_features":
            extract[each.dataset, each.model, each.scaling, each.device].append(each.seconds)
    return costs.Learned(_medians(start), _medians(predict), _medians(extract))


def _medians(by_key: Mapping[Key, Sequence[float]]) -> dict[Key, float]:
    return {key: statistics.median(values) for key, values in by_key.items()}


class Share(NamedTuple):
    """How many times what they took jobs have asked for, all together: of time, and of memory; None if unknown."""

    time: float | None
    memory: float | None


def share(found: Iterable[Usage]) -> Share:
    """Return how much more jobs have asked for than they took."""
    jobs = [each for each in found if not each.accounted]
    time = [(60 * job.requested_minutes, job.seconds) for job in jobs if job.requested_minutes and job.seconds]
    memory = [(MB * job.requested_mb, job.peak_memory_mib) for job in jobs if job.requested_mb and job.peak_memory_mib]
    return Share(*(sum(each[0] for each in part) / sum(each[1] for each in part) if part else None
                   for part in (time, memory)))  # fmt: skip


# Wildcards that tell kinds of a rule's jobs apart.
KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("extract_features", "import_features"), ("dataset", "model", "scaling", "device")),
    **dict.fromkeys(("train", "predict", "predict_turned", "predict_external", "tune", "tune_worker"), NAMES),
}

# Rules of which there is a second one, with this at its end, for data sets that are cross-validated.
OF_PARTS, UNSPLIT = ("prepare", "extract_features", "import_features"), "_unsplit"

# Rules whose jobs go on with what those before them have done: for these no time is too short.
GO_ON = ("train", "extract_features", "tune", "tune_worker")

HEAD = f"""\
# By what the finished jobs of a study took, to paste into a profile. If that has `set-resources` already, as
# profiles/slurm-gres does, join the two, rule by rule: of a key that stands twice Snakemake takes the last alone.
# First tries ask for {TIME_MARGIN} times the longest time, and for {MEMORY_MARGIN} times the most memory
# and {SNAKEMAKE} MB for Snakemake, rounded up; second ones for what was asked for here, further ones for more memory.
# Jobs of this study that have not finished ask for what they would ask for anyway, jobs of other models and data sets
# for the most of all: take these lines anew before a study of larger ones. Threads stay as they are, since the last
# bits of a result depend on them.
"""
NOTHING = """\
# Nothing to say: no finished job has told both what it asked for and what it took, or none asked for much more or less.
"""


def block(found: Iterable[Usage]) -> str:
    """Return `set-resources` for a profile of Snakemake, by what finished jobs have shown to be enough, in YAML.

    Rules whose jobs took about what they asked for are left out.

    Parameters
    ----------
    found : jobs that have finished, and what others of the study would ask for; of other kinds of jobs, see `KINDS`,
        nothing is known, so these ask for the most of all.
    """
    by_rule: dict[str, list[Usage]] = defaultdict(list)
    for each in found:
        if not each.accounted:
            by_rule[each.rule].append(each)
    lines = []
    for rule, jobs in by_rule.items():
        names = KINDS.get(rule, ())
        kinds: dict[str, list[Usage]] = defaultdict(list)
        for job in jobs:
            kinds["/".join(getattr(job, name) for name in names)].append(job)
        told = [
            line
            for resource, tries in (("mem_mb", _memory), ("runtime", _time))
            for line in _lines(resource, names, {kind: tries(some) for kind, some in kinds.items()})
        ]
        for name in (rule, f"{rule}{UNSPLIT}") if rule in OF_PARTS else (rule,):
            lines += [f"  {name}:", *told] if told else []
    return "\n".join([f"{HEAD}set-resources:", *lines, ""]) if lines else NOTHING


def _lines(resource: str, names: Sequence[str], tries: Mapping[str, tuple[int, int] | None]) -> list[str]:
    """Return the lines of a resource, none where there is nothing to say.

    Parameters
    ----------
    resource : its name.
    names : of the wildcards that tell kinds of jobs apart.
    tries : what those of each kind should ask for, see :func:`_tries`, by the values of these wildcards.
    """
    known = {key: value for key, value in tries.items() if value}
    # A run goes on where it was cut off, so that no time is too short; more may be more than a partition has.
    of_try = "[attempt > 1]" + (" * max(1, attempt - 1)" if resource == "mem_mb" else "")
    if all(first == later for first, later in known.values()):
        return []
    if not names:
        return [f'    {resource}: "{known[""]}{of_try}"']
    most = max(map(max, known.values()))
    entries = [f"      ({key!r}, {value})," for key, value in known.items() if value != (most, most)]
    of_job = f"'/'.join([{', '.join(f'wildcards.{name}' for name in names)}])"
    # Without braces, over which Snakemake 9.27 stumbles in a time.
    last = f"      ]).get({of_job}, {(most, most)}){of_try}"
    return [f"    {resource}: >-", "      dict([", *entries, last]


def _memory(jobs: Sequence[Usage]) -> tuple[int, int] | None:
    """Return the MB that the first try should ask for, and further ones; None if unknown."""
    took = [job.peak_memory_mib / MB for job in jobs if job.requested_mb and job.peak_memory_mib]
    asked = [job.requested_mb for job in jobs if job.requested_mb]
    return _tries(asked, took, lambda largest: _up(MEMORY_MARGIN * largest + SNAKEMAKE, MEGABYTES))


def _time(jobs: Sequence[Usage]) -> tuple[int, int] | None:
    """Return the same for minutes."""
    took = [
        min(job.seconds / 60, job.requested_minutes if job.rule in GO_ON else math.inf)
        for job in jobs
        if job.requested_minutes and job.seconds
    ]
    asked = [job.requested_minutes for job in jobs if job.requested_minutes]
    return _tries(asked, took, lambda longest: _up(TIME_MARGIN * longest, MINUTES))


def _tries(asked: Sequence[float], took: Sequence[float], enough_for: Callable[[float], int]) -> tuple[int, int] | None:
    """Return what the first try and further ones should ask for, by what jobs of a kind asked for and took."""
    if not asked:
        return None
    most = int(max(asked))
    if not took:
        return most, most
    enough = enough_for(max(took))
    # More than a job has asked for is only said where that was too little.
    return (enough, 2 * enough) if max(took) > most else (min(enough, most), most)


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step
