"""How far a study is, from its run folders alone: ``make status``.

It reads while jobs write, and writes nothing. It does not look at the queues of Snakemake and SLURM: jobs that wait
there have not started.
"""

import argparse
import re
import shutil
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from histobench.core import features, lease, paths, recipes, runs
from histobench.core.cells import Run
from histobench.core.costs import Costs, epoch_seconds, measured, typical
from histobench.core.errors import HistobenchError
from histobench.core.plan import SCHEMA
from histobench.core.prepared import SPLITS, WHOLE
from histobench.core.study import Study
from histobench.tuning import search_files, search_settings

LOCKS = Path(".snakemake/locks")
# The configurations of all studies that have started here.
STARTED = paths.StudyPaths("*").configuration
STATES = ("done", "running", "waiting", "stopped", "failed")
# Those whose runs are listed, and the titles of the lists.
LISTED = {"running": "Running", "failed": "Failed", "stopped": "Stopped, to be continued"}
# Lines of a list that are shown without --all.
SHOWN = 10
# A line of `events`: date, machine, process and SLURM job, then what happened.
EVENT = re.compile(r"\S+ \S+ pid \d+ job \S+: (.*)")
NOT_SCORED = "trained, not scored yet"


class Job(NamedTuple):
    """How far a run is.

    Attributes
    ----------
    state : one of `STATES`.
    note : who works on a running one; the error of a failed one; why a trained one has no result yet.
    """

    state: str
    note: str = ""


def job_state(folder: Path, gap: str, watch: lease.HolderLookup) -> Job:
    """Return how far a run is, by its folder and why it has no result, see :func:`histobench.core.runs.gap`."""
    state = folder / ".state"
    if not gap:
        return Job("done")
    if holder := watch.holder(state):
        return Job("running", _where(holder))
    if not state.is_dir():
        return Job("waiting")
    last = _last_event(state)
    if last.startswith(lease.FAILED):
        return Job("failed", last.removeprefix(lease.FAILED))
    if (state / "outputs").exists():  # it has been trained
        return Job("waiting", gap if gap.startswith(("out of date", "its", "damaged")) else NOT_SCORED)
    return Job("stopped")


def _where(holder: lease.Holder) -> str:
    return f"{f'SLURM job {holder.job}' if holder.job else f'pid {holder.pid}'} on {holder.host}"


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
    started = sorted(Path().glob(STARTED))
    configurations = [Path(paths.StudyPaths(name).configuration) for name in given.studies] or started
    shown = sys.maxsize if given.all else SHOWN
    width = max(80, shutil.get_terminal_size((100, 24)).columns)
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        print(f"A Snakemake is at work in this folder, or was killed: {LOCKS} holds its lock.")
    else:
        print("No Snakemake is at work in this folder.")
    if not configurations:
        print(f"No study has started here: there is no {STARTED}")
    watch, failed = lease.HolderLookup(), False
    for path in configurations:
        try:
            print("\n".join(["", *report(_study(path, started), watch, shown, width)]))
        except HistobenchError as error:
            print(f"\n{path}: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)


def _study(path: Path, started: Sequence[Path]) -> Study:
    try:
        configuration = runs.read_json(path)
    except (OSError, ValueError) as error:
        known = ", ".join(found.parent.name for found in started) or "none"
        raise HistobenchError(
            f"expected the configuration of a study that has started here, found: {error}; studies here: {known}"
        ) from error
    try:
        return Study(configuration, SCHEMA)
    except HistobenchError as error:
        raise HistobenchError(f"{error}\nIf an earlier version wrote this file, start the study again") from error


def report(study: Study, watch: lease.HolderLookup, shown: int, width: int) -> list[str]:
    """Return the lines on a study: lists are `shown` lines long at most, errors `width` characters wide."""
    jobs = {run: job_state(paths.of(study.paths.run, run), study.gap(run), watch) for run in study.runs}
    costs = Costs(study, measured(study))
    left = {run: _seconds_left(study, costs, run, job) for run, job in jobs.items()}
    listed = {
        state: [_line(study, run, job, left[run], width) for run, job in jobs.items() if job.state == state]
        for state in LISTED
    }
    return [
        f"Study {study.name}: {sum(job.state == 'done' for job in jobs.values())} of {len(jobs)} runs done",
        "",
        *_totals(jobs),
        *_extractions(study, watch),
        *_searches(study, watch),
        *(line for state, lines in listed.items() for line in _section(LISTED[state], lines, shown)),
        *_reasons(jobs),
        *_time_left(jobs, left),
    ]


def _seconds_left(study: Study, costs: Costs, run: Run, job: Job) -> float:
    """Return the seconds of the epochs that a run still has to do."""
    if job.state == "done" or job.note == NOT_SCORED:
        return 0.0
    # An epoch of a run that is out of date does not count.
    own = epoch_seconds(paths.of(study.paths.run, run)) if job.state != "waiting" else []
    each = typical(own) if own else costs.epoch(run.cell).seconds
    return each * max(0, recipes.epochs(study.recipes[run.recipe]) - len(own))


def _totals(jobs: Mapping[Run, Job]) -> list[str]:
    """Return a table: how many runs are in which state, by device."""
    counts = Counter((run.device, job.state) for run, job in jobs.items())
    devices = dict.fromkeys(run.device for run in jobs)
    rows = [[name, *(counts[name, state] for state in STATES)] for name in devices]
    if len(rows) > 1:
        rows.append(["all", *(sum(counts[name, state] for name in devices) for state in STATES)])
    return str(tabulate(rows, ["device", *STATES], tablefmt="plain")).splitlines()


def _extractions(study: Study, watch: lease.HolderLookup) -> list[str]:
    """Return a line on the features of frozen backbones, and one for each job that extracts some."""
    wanted = {
        (study.stored(run.dataset), run.model, recipes.scaling(study.recipes[run.recipe]), run.device): None
        for run in study.runs
        if study.cached(run.mode, run.recipe)
    }
    lines, done = [], 0
    for names in wanted:
        dataset, model, scaling, device = names
        folder = paths.of(study.paths.features, dataset=dataset, model=model, scaling=scaling, device=device)
        if (folder / features.ABOUT).exists():
            done += 1
        elif holder := watch.holder(folder / ".state"):
            parts = sum(1 for split in (*SPLITS, WHOLE) for _ in (folder / ".state").glob(f"{split}-*"))
            lines.append(f"  {'/'.join(names)}: {parts} parts; {_where(holder)}")
    return ["", f"Features: {done} of {len(wanted)} ready", *lines] if wanted else []


def _searches(study: Study, watch: lease.HolderLookup) -> list[str]:
    """Return a line on the searches for hyperparameters, and one for each that is at work."""
    wanted = [cell for cell in dict.fromkeys(run.cell for run in study.runs) if study.searched(cell.recipe)]
    lines, done = [], 0
    for cell in wanted:
        folder = paths.of(study.paths.search, cell)
        if (folder / search_files.RECIPE).exists():
            done += 1
            continue
        search = study.recipes[cell.recipe]["search"]
        workers = map(search_files.worker_name, range(1, 1 + search_settings.workers(search)))
        if holders := [each for name in workers if (each := watch.holder(folder / search_files.worker_folder(name)))]:
            ended = len(list((folder / ".state" / search_files.PROJECT).glob(f"trial_*/{search_files.TRIAL}")))
            where = ", ".join(map(_where, holders))
            lines.append(f"  {cell}: {ended} of {search_settings.budget(search)[0]} trials; {where}")
    return ["", f"Searches: {done} of {len(wanted)} ended", *lines] if wanted else []


def _line(study: Study, run: Run, job: Job, left: float, width: int) -> str:
    """Return what is said of a run that runs, has failed or has stopped."""
    if job.state == "failed":
        log = paths.of(study.paths.run_log, run) / "train.log"
        return f"{run}\n    {textwrap.shorten(job.note, width - 4, placeholder=' ...')}\n    {log}"
    done, epochs = epoch_seconds(paths.of(study.paths.run, run)), recipes.epochs(study.recipes[run.recipe])
    if job.state == "stopped":
        return f"{run}: {len(done)} of {epochs} epochs done"
    pace = f", {_duration(typical(done))} each" if done else ""
    return f"{run}: epoch {min(len(done) + 1, epochs)} of {epochs}{pace}, {_duration(left)} left; {job.note}"


def _reasons(jobs: Mapping[Run, Job]) -> list[str]:
    """Return a line for each reason why trained runs have no result yet."""
    counts = Counter(job.note for job in jobs.values() if job.state == "waiting" and job.note)
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
    seconds: dict[str, float] = defaultdict(float)
    for run in jobs:
        seconds[run.device] += left[run]
    running = Counter(run.device for run, job in jobs.items() if job.state == "running")
    longest = max(total / max(running[name], 1) for name, total in seconds.items())
    each = ", ".join(f"{name} {_duration(total)}" for name, total in seconds.items() if total)
    return [
        "",
        f"Training left, one run after another: {each}.",
        f"With as many at a time on each device as now, at least one: {_duration(longest)}.",
        "Queues and starts of jobs are not counted.",
    ]


def _duration(seconds: float) -> str:
    """Return a duration in words, in the unit that says enough; it is an estimate."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"


if __name__ == "__main__":
    main()
