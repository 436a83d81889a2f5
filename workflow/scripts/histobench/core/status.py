"""How far a study is, from its run folders alone: ``make status``.

Reads while jobs write, and writes nothing. It knows nothing of Snakemake and its queue: a job that waits there is one
that has not started.
"""

import argparse
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from histobench.core import features, lease, recipes, runs
from histobench.core.costs import Costs, epoch_seconds, measured, run_folder, settled
from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.core.plan import SCHEMA
from histobench.core.prepared import SPLITS
from histobench.core.study import Run, Study
from histobench.tuning import search_files, search_settings

RESULTS = Path("results")
LOCKS = Path(".snakemake/locks")
STATES = ("done", "running", "waiting", "stopped", "failed")
# Lines of a list, unless all are wanted.
SHOWN = 10
# Of a line of `events`: date, machine, process and SLURM job stand before what happened.
EVENT = re.compile(r"\S+ \S+ pid \d+ job \S+: (.*)")
NOT_SCORED = "trained, not scored yet"


@dataclass(frozen=True)
class Job:
    """How far the job of a folder is.

    Attributes
    ----------
    state : one of `STATES`.
    why : of a finished run whose result can't enter, the reason; of a failed job, its error.
    holder : who is at work on it, if anybody is.
    """

    state: str
    why: str = ""
    holder: lease.Holder | None = None


def look(folder: Path, gap: str, watch: lease.HolderLookup) -> Job:
    """Return how far the job of a folder is.

    Parameters
    ----------
    folder : the folder that it writes into.
    gap : why it has no result, see :func:`histobench.core.runs.gap`; "" where it has.
    watch : tells who is at work.
    """
    if not gap:
        return Job("done")
    if holder := watch.holder(folder / ".state"):
        return Job("running", holder=holder)
    state = folder / ".state"
    if not state.is_dir():
        return Job("waiting")
    last = _last_event(state)
    if last.startswith(lease.FAILED):
        return Job("failed", last.removeprefix(lease.FAILED))
    if (state / "outputs").exists():  # it has finished
        return Job("waiting", gap if gap.startswith(("out of date", "its")) else NOT_SCORED)
    return Job("stopped")


def _last_event(state: Path) -> str:
    try:
        lines = (state / "events").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    match = EVENT.fullmatch(lines[-1]) if lines else None
    return match[1] if match else ""


def main() -> None:
    """Print how far the studies of this folder are."""
    parser = argparse.ArgumentParser(prog="make status", description="how far studies are, from their run folders")
    parser.add_argument("studies", nargs="*", help="their names; by default all that have started here")
    parser.add_argument("--all", action="store_true", help="every line of long lists")
    given = parser.parse_args()
    paths = [RESULTS / name / "study.json" for name in given.studies] or sorted(RESULTS.glob("*/study.json"))
    shown = sys.maxsize if given.all else SHOWN
    width = max(80, shutil.get_terminal_size((100, 24)).columns)
    print("\n".join(_locks()))
    if not paths:
        print(f"No study has started here: there is no {RESULTS}/*/study.json")
    watch, failed = lease.HolderLookup(), False
    for path in paths:
        try:
            study = Study(_configuration(path), SCHEMA)
            print("\n".join(["", *report(study, watch, shown, width)]))
        except HistobenchError as error:
            print(f"\n{path}: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)


def _configuration(path: Path) -> dict[str, object]:
    try:
        return runs.read_json(path)
    except (OSError, ValueError) as error:
        known = ", ".join(found.parent.name for found in sorted(RESULTS.glob("*/study.json"))) or "none"
        raise HistobenchError(
            f"expected the configuration of a study that has started here, found: {error}; studies here: {known}"
        ) from error


def _locks() -> list[str]:
    """Return whether a Snakemake seems to be at work; its lock is only looked at."""
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        return [f"A Snakemake is at work in this folder, or was killed: {LOCKS} holds its lock."]
    return ["No Snakemake is at work in this folder."]


def jobs_of(study: Study, watch: lease.HolderLookup) -> dict[Run, Job]:
    """Return how far every run of a study is."""
    manifests: dict[str, str | None] = {}
    for name in {run.dataset for run in study.runs}:
        data = RESULTS / "data" / name
        there = (data / "index.parquet").exists() and (data / "manifest.json").exists()
        manifests[name] = digest(data / "manifest.json") if there else None
    found = {}
    for run in study.runs:
        folder = run_folder(study, run, RESULTS)
        gap = runs.gap(folder, study.specification(run), manifests[run.dataset], scored=study.scored(run))
        found[run] = look(folder, gap, watch)
    return found


def report(study: Study, watch: lease.HolderLookup, shown: int, width: int) -> list[str]:
    """Return the lines on a study.

    Parameters
    ----------
    study : the study.
    watch : tells who is at work.
    shown : most lines of a list.
    width : of the terminal, in characters.
    """
    jobs = jobs_of(study, watch)
    costs = Costs(study, measured(study, RESULTS))
    left = {run: _seconds_left(study, costs, run, job) for run, job in jobs.items()}
    return [
        f"Study {study.name}: {sum(job.state == 'done' for job in jobs.values())} of {len(jobs)} runs done",
        "",
        *_totals(jobs),
        *_extractions(study, watch),
        *_searches(study, watch),
        *_section("Running", [_running(study, run, job, left[run]) for run, job in _in(jobs, "running")], shown),
        *_section("Failed", [_failure(study, run, job, width) for run, job in _in(jobs, "failed")], shown),
        *_section("Stopped, to be gone on with", [_stopped(study, run) for run, _ in _in(jobs, "stopped")], shown),
        *_reasons(jobs),
        *_time_left(jobs, left),
    ]


def _in(jobs: Mapping[Run, Job], state: str) -> list[tuple[Run, Job]]:
    return [(run, job) for run, job in jobs.items() if job.state == state]


def _seconds_left(study: Study, costs: Costs, run: Run, job: Job) -> float:
    """Return the seconds of the epochs that a run still has to do."""
    if job.state == "done" or job.why == NOT_SCORED:
        return 0.0
    # An epoch of a run that is out of date does not count.
    own = epoch_seconds(run_folder(study, run, RESULTS)) if job.state != "waiting" else []
    each = settled(own) if own else costs.epoch(run.dataset, run.model, run.mode, run.recipe, run.device).seconds
    return each * max(0, int(study.recipes[run.recipe]["epochs"]) - len(own))


def _totals(jobs: Mapping[Run, Job]) -> list[str]:
    """Return a table: how many runs are in which state, by device."""
    devices = {run.device: Counter[str]() for run in jobs}
    for run, job in jobs.items():
        devices[run.device][job.state] += 1
    rows = [[name, *(counts[state] for state in STATES)] for name, counts in devices.items()]
    if len(rows) > 1:
        rows.append(["all", *(sum(counts[state] for counts in devices.values()) for state in STATES)])
    return str(tabulate(rows, ["device", *STATES], tablefmt="plain")).splitlines()


def _extractions(study: Study, watch: lease.HolderLookup) -> list[str]:
    """Return a line on the features of frozen backbones, and one for each that is at work."""
    wanted = {
        (run.dataset, run.model, recipes.scaling(study.recipes[run.recipe]), run.device): None
        for run in study.runs
        if study.cached(run.mode, run.recipe)
    }
    lines, done = [], 0
    for names in wanted:
        folder = RESULTS.joinpath(study.name, "features", *names)
        if (folder / features.ABOUT).exists():
            done += 1
        elif holder := watch.holder(folder / ".state"):
            parts = sum(1 for split in SPLITS for _ in (folder / ".state").glob(f"{split}-*"))
            lines.append(f"  {'/'.join(names)}: {parts} parts; {_where(holder)}")
    return ["", f"Features: {done} of {len(wanted)} extracted", *lines] if wanted else []


def _searches(study: Study, watch: lease.HolderLookup) -> list[str]:
    """Return a line on the searches for hyperparameters, and one for each that is at work."""
    cells = {(run.dataset, run.model, run.mode, run.recipe, run.device): None for run in study.runs}
    wanted = [names for names in cells if study.searched(names[3])]
    lines, done = [], 0
    for names in wanted:
        folder = RESULTS.joinpath(study.name, "searches", *names)
        if (folder / search_files.RECIPE).exists():
            done += 1
            continue
        search = study.recipes[names[3]]["search"]
        workers = map(search_files.worker_name, range(1, 1 + search_settings.workers(search)))
        holders = [holder for name in workers if (holder := watch.holder(folder / search_files.worker_folder(name)))]
        if holders:
            ended = len(list((folder / ".state" / search_files.PROJECT).glob(f"trial_*/{search_files.TRIAL}")))
            where = ", ".join(map(_where, holders))
            lines.append(f"  {'/'.join(names)}: {ended} of {search_settings.budget(search)[0]} trials; {where}")
    return ["", f"Searches: {done} of {len(wanted)} ended", *lines] if wanted else []


def _running(study: Study, run: Run, job: Job, left: float) -> str:
    done = epoch_seconds(run_folder(study, run, RESULTS))
    epochs = study.recipes[run.recipe]["epochs"]
    epoch = f"epoch {min(len(done) + 1, epochs)} of {epochs}"
    pace = f", {_duration(settled(done))} each" if done else ""
    return f"{run.path}: {epoch}{pace}, {_duration(left)} left; {_where(job.holder)}"


def _where(holder: lease.Holder | None) -> str:
    if holder is None:
        return "nobody"
    return f"SLURM job {holder.job} on {holder.host}" if holder.job else f"pid {holder.pid} on {holder.host}"


def _failure(study: Study, run: Run, job: Job, width: int) -> str:
    log = RESULTS / "logs" / study.name / run.path / "train.log"
    return f"{run.path}\n    {textwrap.shorten(job.why, width - 4, placeholder=' ...')}\n    {log}"


def _stopped(study: Study, run: Run) -> str:
    done = len(epoch_seconds(run_folder(study, run, RESULTS)))
    return f"{run.path}: {done} of {study.recipes[run.recipe]['epochs']} epochs done"


def _reasons(jobs: Mapping[Run, Job]) -> list[str]:
    """Return a line for each reason why runs wait that are there in a way."""
    counts = Counter(job.why for job in jobs.values() if job.state == "waiting" and job.why)
    return ["", *(f"{number} waiting: {why}" for why, number in counts.items())] if counts else []


def _section(title: str, lines: Sequence[str], shown: int) -> list[str]:
    if not lines:
        return []
    more = len(lines) - shown
    rest = [f"  and {more} more; --all shows them"] if more > 0 else []
    return ["", f"{title} ({len(lines)})", *(f"  {line}" for line in lines[:shown]), *rest]


def _time_left(jobs: Mapping[Run, Job], left: Mapping[Run, float]) -> list[str]:
    """Return how long the epochs that are left will take, as far as that can be known."""
    if not any(left.values()):
        return []
    devices = list(dict.fromkeys(run.device for run in jobs))
    hours = {name: sum(seconds for run, seconds in left.items() if run.device == name) for name in devices}
    at_once = {name: sum(run.device == name for run, _ in _in(jobs, "running")) for name in devices}
    longest = max(hours[name] / max(at_once[name], 1) for name in devices)
    each = ", ".join(f"{name} {_duration(hours[name])}" for name in devices if hours[name])
    return [
        "",
        f"Training left, one run after another: {each}.",
        f"With as many at a time on each device as now, at least one: {_duration(longest)}. Queues are not counted.",
    ]


def _duration(seconds: float) -> str:
    """Return a duration in words, in the unit that says enough."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"


if __name__ == "__main__":
    main()
