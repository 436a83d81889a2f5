"""What a study will cost, said before anything is submitted: ``make plan``.

Which jobs are to be done says Snakemake itself, by a summary in a dry run, which takes no lock and writes nothing;
what they take is expected by :mod:`histobench.core.costs`.
"""

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tabulate import tabulate

from histobench.core.costs import Costs, Estimate, measured
from histobench.core.errors import HistobenchError
from histobench.core.study import Study

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"
CONFIG = Path("config/config.yaml")
# Of rules that run on the device of their run, as columns of the plan.
ON_DEVICES = {"extract_features": "extract", "tune": "tune", "train": "train", "predict": "predict"}
# A further job of a search, whose cost is that of `tune`.
WORKER = "tune_worker"
# Of the others, by the first word of the rule's name; what is not here makes tables, figures and the report.
STAGES = {
    "download": "download",
    "fetch": "download",
    "simulate": "simulate",
    "prepare": "prepare",
    "evaluate": "evaluate",
    "controls": "evaluate",
}
RESULTS = "tables, figures, report"
ORIGINS = ("measured", "published", "estimated")


class Job(NamedTuple):
    """A job that is to be done: its rule, and what tells it from others of that rule, the folder of a run, say.

    All jobs of a search are of `tune`: the first has the search's folder for its key, others a file in it.
    """

    rule: str
    key: str


def main() -> None:
    """Print the plan of what a call of Snakemake with these arguments would do."""
    arguments = sys.argv[1:]
    try:
        study = Study(configuration(arguments), SCHEMA)
        jobs = pending(summary(arguments), study)
        print("\n".join(plan(study, jobs, Costs(study, measured(study)))))
    except HistobenchError as error:
        sys.exit(str(error))


def configuration(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that Snakemake makes of its arguments, those of profiles included."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path)
    parser.add_argument("--config", "-C", nargs="*")
    given = parser.parse_known_args(arguments)[0]
    told: dict[str, Any] = {}
    for name in given.profile:
        told |= _profile(name)  # the later ones replace whole entries of the earlier
    overlays = told.get("configfile", told.get("configfiles", [])) if given.configfile is None else given.configfile
    values = told.get("config", []) if given.config is None else given.config
    config: dict[str, Any] = {}
    for path in [CONFIG, *([overlays] if isinstance(overlays, str) else overlays)]:
        _lay_over(config, _read(Path(path)))
    _lay_over(config, values if isinstance(values, Mapping) else _values(values))
    return config


def _profile(name: str) -> dict[str, Any]:
    """Return what a profile says: a folder, or the name of one among the user's."""
    places = [Path(name), Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "snakemake" / name]
    for path in (place / file for place in places for file in ("profile.yaml", "config.yaml")):
        if path.is_file():
            return _read(path)
    raise HistobenchError(
        f"--profile {name}: expected a folder with a config.yaml, found none at {' or '.join(map(str, places))}; name "
        "one of profiles/, or install one by `make install-profile`"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise HistobenchError(f"{path}: expected a YAML file, found: {error}; mend it or name another") from error
    if not isinstance(found, dict):
        raise HistobenchError(f"{path}: expected a mapping, found {type(found).__name__}; mend it or name another")
    return found


def _values(entries: Iterable[str]) -> dict[str, Any]:
    """Return what ``--config`` says, its values read as Snakemake reads them: in YAML only what has parts."""
    found = {}
    for entry in entries:
        key, _, text = entry.partition("=")
        found[key] = _value(text)
    return found


def _value(text: str) -> Any:
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    return yaml.load(text, Loader=yaml.BaseLoader)


def _lay_over(config: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Lay one configuration over another, in place: mappings key by key, all else is replaced."""
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            below = config.get(key)
            config[key] = dict(below) if isinstance(below, Mapping) else {}
            _lay_over(config[key], value)
        else:
            config[key] = value


def summary(arguments: Sequence[str]) -> str:
    """Return Snakemake's summary: a line per output, tabs between rule, state and the like."""
    # First, since targets may end the arguments. Without a dry run it would leave a log behind.
    command = [sys.executable, "-m", "snakemake", "--summary", "--dry-run", "--nolock", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HistobenchError(f"Snakemake can't plan this:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def pending(text: str, study: Study) -> list[Job]:
    """Return the jobs that a summary says are to be done.

    Parameters
    ----------
    text : see :func:`summary`.
    study : of which it is, whose data sets tell the jobs of a rule apart.
    """
    found: dict[Job, None] = {}
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("output_file\t")), len(lines))
    for line in lines[start + 1 :]:
        path, _, rule, *_, state = line.split("\t")
        if state == "update pending":
            job = Job("tune", path) if rule == WORKER else Job(rule, _key(rule, path, study))
            found[job] = None
    return list(found)


def _key(rule: str, path: str, study: Study) -> str:
    stage = STAGES.get(_word(rule))
    if stage == "download":
        return path  # a job for each file
    if stage or rule in ON_DEVICES:
        return str(Path(path).parent)
    # A job for each data set, or a single one. Of data sets `a` and `my_a` it is the longer name.
    named = [name for name in study.datasets if f"_{Path(path).stem}".endswith(f"_{name}")]
    return max(named, key=len, default="")


def _word(rule: str) -> str:
    return rule.partition("_")[0]


@dataclass
class Row:
    """What is to be done on a device: `jobs` by rule, `seconds` by origin."""

    jobs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ORIGINS, 0.0))

    def add(self, other: "Row") -> None:
        """Add what is to be done on another device."""
        self.jobs.update(other.jobs)
        for origin, seconds in other.seconds.items():
            self.seconds[origin] += seconds


def plan(study: Study, jobs: Sequence[Job], costs: Costs) -> list[str]:
    """Return the lines of the plan.

    Parameters
    ----------
    study : the study.
    jobs : see :func:`pending`.
    costs : of the study.
    """
    devices: dict[str, Row] = {}
    others: Counter[str] = Counter()
    for job in jobs:
        if job.rule not in ON_DEVICES:
            others[STAGES.get(_word(job.rule), RESULTS)] += 1
            continue
        device, cost = _cost(job, costs)
        row = devices.setdefault(device, Row())
        row.jobs[job.rule] += 1
        row.seconds[cost.origin] += cost.seconds
    lines = [f"Study {study.name}: {len(jobs)} jobs to be done" if jobs else f"Study {study.name}: nothing to be done"]
    if devices:
        lines += ["", *_table(study, devices)]
    if others:
        order = [*dict.fromkeys(STAGES.values()), RESULTS]
        told = ", ".join(f"{others[name]} {name}" for name in order if others[name])
        lines += ["", f"Jobs without a device, which take minutes each or a download's time: {told}"]
    return lines


def _cost(job: Job, costs: Costs) -> tuple[str, Estimate]:
    """Return the device of a job, and its cost."""
    names = Path(job.key).parts
    if job.rule == "extract_features":
        dataset, model, scaling, device = names[-4:]
        return device, costs.extract(dataset, model, scaling, device)
    if job.rule == "tune":
        if names[-1].startswith("worker-"):
            return names[-2], Estimate(0.0, "estimated")
        dataset, model, mode, recipe, device = names[-5:]
        return device, costs.tune(dataset, model, mode, recipe, device)
    dataset, model, mode, recipe, device, _ = names[-6:]
    cost = costs.train if job.rule == "train" else costs.predict
    return device, cost(dataset, model, mode, recipe, device)


NOTE = """\
Hours are those of jobs one after another, by what an epoch takes: measured in this folder; published, Table 2 of the
paper; or estimated from that, which may be off by factors. Runs that have started are counted whole."""


def _table(study: Study, devices: Mapping[str, Row]) -> list[str]:
    header = ["device", *ON_DEVICES.values(), *ORIGINS, "hours"]

    def cells(name: str, row: Row) -> list[str]:
        hours = [row.seconds[origin] / 3600 for origin in ORIGINS]
        counts = [str(row.jobs[rule] or "") for rule in ON_DEVICES]
        return [name, *counts, *(f"{value:,.1f}" if value else "" for value in hours), f"{sum(hours):,.1f}"]

    # In the order of the configuration, cards first.
    names = sorted(devices, key=lambda name: ("gpu_model" not in study.devices[name], list(study.devices).index(name)))
    cards = [name for name in names if "gpu_model" in study.devices[name]]
    rows = [cells(name, devices[name]) for name in names]
    if len(cards) > 1:
        both = Row()
        for name in cards:
            both.add(devices[name])
        rows.insert(len(cards), cells("all GPUs", both))
    # As texts: empty cells stay empty.
    align = ["left", *["right"] * (len(header) - 1)]
    table = str(tabulate(rows, header, tablefmt="plain", colalign=align, disable_numparse=True))
    return [*table.splitlines(), "", NOTE]


if __name__ == "__main__":
    main()
