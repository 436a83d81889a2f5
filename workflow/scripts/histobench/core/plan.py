"""What a study will cost, said before anything is submitted: ``make plan``.

A dry run of Snakemake, which takes no lock and writes nothing, says which jobs are to be done;
:mod:`histobench.core.costs` says how long they are expected to take.
"""

import io
import math
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from histobench.core import paths, runs, submission, usage
from histobench.core.cells import Cell, Run
from histobench.core.costs import Costs, Estimate, measured
from histobench.core.errors import HistobenchError
from histobench.core.study import WRITE_TO, Study

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"
# Rules whose jobs run on the device of their run, and their columns in the plan.
ON_DEVICES = {
    "extract_features": "extract",
    "tune": "tune",
    "train": "train",
    "predict": "predict",
    "predict_turned": "predict",
    "predict_external": "predict",
}
# All other rules, by the first word of their name. Those not listed make tables, figures and the report.
STAGES = {
    "download": "download",
    "fetch": "download",
    "simulate": "simulate",
    "prepare": "prepare",
    "import": "import",
    "select": "select",
    "evaluate": "evaluate",
    "gather": "evaluate",
    "average": "evaluate",
    "controls": "evaluate",
    "audit": "audit",
    "score": "score",
}
RESULTS = "tables, figures, report"
# Of these the rules that run a CNN, which a scheduler gets, too.
WITHOUT_DEVICE = ("describe_models", "explain", "robustness", "export")
ORIGINS = ("measured", "published", "estimated")


class Job(NamedTuple):
    """A job that is to be done: its rule, and the file or folder that only this job of the rule makes.

    The further jobs of a search, whose rule is `tune_worker`, count as jobs of `tune`. The key of the first job is the
    search's folder, the key of a further one is a file in it.
    """

    rule: str
    key: str


def main() -> None:
    """Print the plan of what a call of Snakemake with these arguments would do."""
    try:
        text, configuration = summary(sys.argv[1:])
        study = Study(configuration, SCHEMA)
        jobs, given = pending(text, study), options(sys.argv[1:])
        refused = refusals(study, jobs, given)
        os.chdir(given.directory or ".")
        found = usage.of_study(
            Path(study.paths.results),
            Path(study.paths.logs),
            [paths.of(study.paths.run, run) for run in study.runs],
            study.datasets,
        )
        lines = plan(study, jobs, Costs(study, measured(study), usage.learned(found)))
        if jobs and given.executor == "slurm":
            heads = given.group_components.get(submission.HEADS, 1)
            lines += ["", f"They are submitted as {submissions(study, jobs, heads)} jobs of SLURM."]
        print("\n".join([*lines, *asked(found, Path(study.paths.requests)), *refused]))
    except HistobenchError as error:
        sys.exit(str(error))


def summary(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return Snakemake's summary, a line per output, and the configuration that it made of all files and arguments.

    The fields of a line, with tabs between them, are the output's file, date, rule, log, state and more.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "configuration.json"
        # Our options come first, since targets may end the arguments. Without a dry run Snakemake would leave a log.
        command = [sys.executable, "-m", "snakemake", "--summary", "--dry-run", "--nolock", *arguments]
        asking = os.environ | {WRITE_TO: str(written)}
        done = subprocess.run(command, env=asking, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HistobenchError(f"Snakemake can't plan this:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout, runs.read_json(written)


def options(arguments: Sequence[str]) -> Namespace:
    """Return the options of a call of Snakemake with these arguments, those of its profiles included."""
    from snakemake.cli import parse_args

    with redirect_stderr(io.StringIO()):  # it tells which profiles it reads, as Snakemake itself has done
        return parse_args(list(arguments))[1]  # type: ignore[no-any-return]


def refusals(study: Study, jobs: Sequence[Job], given: Namespace) -> list[str]:
    """Return lines on what a start with these options of Snakemake would refuse.

    Raises
    ------
    HistobenchError
        if the options name a partition file that is not as it should be.
    """
    devices = dict.fromkeys(_device(job) for job in jobs if job.rule in ON_DEVICES)
    found = []
    if not given.software_deployment_method and (missing := submission.environments_missing(study.devices, devices)):
        found += missing.splitlines()
    if given.executor == "slurm":
        path = given.slurm_partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")
        known = submission.read_partitions(Path(path)) if path else []
        models = [study.devices[name].get("gpu_model", "") for name in devices]
        if any(_stage(job.rule) in ("simulate", "prepare", "import", "evaluate", "audit") for job in jobs):
            models.append("")
        if known and not given.set_resources:  # by these jobs may ask for cards of other names: profiles/slurm-gres
            found += [
                f"{path}: {submission.jobs_for(model)}: {submission.no_partition(model)}"
                for model in dict.fromkeys(models)
                if not any(submission.has_card(partition, model) for partition in known)
            ]
    return ["", "A start would be refused:", *(f"  {line}" for line in found)] if found else []


def pending(text: str, study: Study) -> list[Job]:
    """Return the jobs that a summary says are to be done, see :func:`summary`; names of data sets tell them apart."""
    lines = [line.split("\t") for line in text.splitlines()]
    found = {
        Job("tune", path) if rule == "tune_worker" else Job(rule, _key(rule, path, study)): None
        for path, _, rule, *_, state in (
            (path, date, rule.removesuffix(usage.UNSPLIT), *rest)
            for path, date, rule, *rest in (fields for fields in lines if len(fields) > 3)
        )
        if state == "update pending"
    }
    return list(found)


def _key(rule: str, path: str, study: Study) -> str:
    stage = _stage(rule)
    if stage == "download":
        return path  # a job for each file
    if rule in (
        "print_tables",
        "print_robustness",
        "print_model_cards",
        "draw_figures",
        "draw_galleries",
        "draw_robustness",
    ):
        return ""  # a job for all
    if stage != RESULTS or rule in ON_DEVICES:
        return str(Path(path).parent)
    # One job, or one for each data set. Of the data sets `a` and `my_a` the longer name that fits is the right one.
    made = Path(path)
    named = [name for name in study.datasets if f"_{made.stem}".endswith(f"_{name}") or made.parent.name == name]
    return max(named, key=len, default="")


def _stage(rule: str) -> str:
    return STAGES.get(rule.partition("_")[0], RESULTS)


def plan(study: Study, jobs: Sequence[Job], costs: Costs) -> list[str]:
    """Return the lines of the plan of jobs that are to be done, see :func:`pending`."""
    devices: dict[str, list[tuple[str, Estimate]]] = defaultdict(list)
    for job in jobs:
        if job.rule in ON_DEVICES:
            devices[_device(job)].append((job.rule, _cost(job, costs)))
    others = Counter(_stage(job.rule) for job in jobs if job.rule not in ON_DEVICES)
    lines = [f"Study {study.name}: {len(jobs)} jobs to be done" if jobs else f"Study {study.name}: nothing to be done"]
    if devices:
        lines += ["", *_table(study, devices)]
    if others:
        order = [*dict.fromkeys(STAGES.values()), RESULTS]
        listed = ", ".join(f"{others[name]} {name}" for name in order if others[name])
        lines += ["", f"Jobs without a device, which take minutes each or a download's time: {listed}"]
    return lines


def submissions(study: Study, jobs: Sequence[Job], heads: int) -> int:
    """Return as how many jobs a scheduler gets these, of which up to so many heads share one."""
    runs: dict[tuple[str, str], set[Run]] = defaultdict(set)
    others = 0
    for job in jobs:
        if job.rule in submission.OF_A_RUN:
            *cell, seed = Path(job.key).parts[-6:]
            run = Run(**vars(Cell(*cell)), seed=int(seed.removeprefix("seed-")))
            runs[submission.group(study, run, paths.of(study.paths.run_log, run))].add(run)
        elif job.rule in (*ON_DEVICES, *WITHOUT_DEVICE) or _stage(job.rule) not in ("download", "select", RESULTS):
            others += 1
    return others + sum(math.ceil(len(each) / heads) if kind else 1 for (_, kind), each in runs.items())


def asked(found: Sequence[usage.Usage], block: Path) -> list[str]:
    """Return lines on how much more finished jobs have asked for than they took; none where that is not known.

    Parameters
    ----------
    found : what they asked for and took.
    block : file with resources for a profile, which may not be there yet.
    """
    times = zip(("time", "memory"), usage.share(found), strict=True)
    words = [f"{value:,.{value < 10:d}f} times the {what}" for what, value in times if value]
    if not words:
        return []
    return [
        "",
        f"Finished jobs asked for {' and '.join(words)} that they took."
        + (f" {block} has lines for a profile." if block.exists() else ""),
    ]


def _device(job: Job) -> str:
    """Return the device of a job of one of the rules `ON_DEVICES`."""
    *_, above, last = Path(job.key).parts
    in_its_folder = job.rule in ("train", "predict", "predict_turned", "predict_external") or (
        job.rule == "tune" and last.startswith("worker-")
    )
    return above if in_its_folder else last


def _cost(job: Job, costs: Costs) -> Estimate:
    """Return the cost of a job."""
    names = Path(job.key).parts
    if job.rule == "extract_features":
        return costs.extract(*names[-4:])
    if job.rule == "tune":
        if names[-1].startswith("worker-"):
            return Estimate(0.0, "estimated")  # the cost of the search stands with its first job
        return costs.tune(Cell(*names[-5:]))
    if job.rule == "predict_external":
        return costs.predict_external(Cell(*names[-6:-1]), names[-7])
    cost = {"train": costs.train, "predict": costs.predict, "predict_turned": costs.predict_turned}[job.rule]
    return cost(Cell(*names[-6:-1]))


NOTE = """\
Hours are those of jobs one after another, by what an epoch, or an extraction or prediction, takes: measured in this
folder; published, Table 2 of the paper; or estimated from that, which may be off by factors. Runs that have started, or
that may stop early, are counted whole."""


def _table(study: Study, devices: Mapping[str, Sequence[tuple[str, Estimate]]]) -> list[str]:
    """Return a table with a row for each device: its jobs by rule, and their hours by origin."""
    columns = list(dict.fromkeys(ON_DEVICES.values()))

    def row(name: str, jobs: Sequence[tuple[str, Estimate]]) -> list[str]:
        counts = Counter(ON_DEVICES[rule] for rule, _ in jobs)
        hours = [sum(cost.seconds for _, cost in jobs if cost.origin == origin) / 3600 for origin in ORIGINS]
        cells = [
            *(str(counts[name] or "") for name in columns),
            *(f"{value:,.1f}" if value else "" for value in hours),
        ]
        return [name, *cells, f"{sum(hours):,.1f}"]

    # In the order of the configuration, cards first.
    cards = [name for name in study.devices if name in devices and "gpu_model" in study.devices[name]]
    processors = [name for name in study.devices if name in devices and name not in cards]
    rows = [row(name, devices[name]) for name in cards]
    if len(cards) > 1:
        rows.append(row("all GPUs", [job for name in cards for job in devices[name]]))
    rows += [row(name, devices[name]) for name in processors]
    header = ["device", *columns, *ORIGINS, "hours"]
    align = ["left", *["right"] * (len(header) - 1)]
    # As texts, so that empty cells stay empty.
    table = str(tabulate(rows, header, tablefmt="plain", colalign=align, disable_numparse=True))
    return [*table.splitlines(), "", NOTE]


if __name__ == "__main__":
    main()
