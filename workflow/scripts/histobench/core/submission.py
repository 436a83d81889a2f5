"""What must hold before jobs are submitted.

The partition file of a profile for SLURM, environments of devices, and folders of patches and embeddings of one's own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from histobench.core import features, prepared
from histobench.core.cells import Run
from histobench.core.devices import card, environment
from histobench.core.errors import HistobenchError, nearest
from histobench.core.formats import Dataset
from histobench.core.study import Study, check_keys

if TYPE_CHECKING:
    from snakemake_executor_plugin_slurm.partitions import Partition

# Rules whose jobs of a run are one job of the scheduler, in their order.
OF_A_RUN = ("train", "predict", "predict_turned", "evaluate")
# What groups of heads are called in `group-components` of a profile, which says of how many runs they are at most.
HEADS = "heads"
# Characters at the end of a log among which the error stands that ended a job.
LOG_END = 4096

# Of these the plugin takes the first as the cluster of a partition; they are no limits.
CLUSTER = ("slurm_cluster", "cluster", "clusters")


def read_partitions(path: Path) -> "list[Partition]":
    """Return the partitions of a file, see profiles/slurm/partitions.yaml, as the plugin for SLURM reads them.

    Raises
    ------
    HistobenchError
        if the file is not as the plugin needs it, which itself would stop without naming file, partition and key; or
        says what the plugin would take for something else.
    """
    from snakemake_executor_plugin_slurm import partitions as plugin

    try:
        text = path.read_text(encoding="utf-8")
        content, written = yaml.safe_load(text), yaml.load(text, _AsWritten)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HistobenchError(f"{path}: expected partitions in YAML, found: {error}") from error
    check_keys(path)
    named = content.get("partitions") if isinstance(content, Mapping) else None
    if not isinstance(named, Mapping) or not named:
        raise HistobenchError(
            f"{path}: expected at least one partition below `partitions:`, found none; histobench's own "
            "profiles/slurm/partitions.yaml shows how"
        )
    kinds = get_type_hints(plugin.PartitionLimits)
    known = [*(field.name for field in fields(plugin.PartitionLimits)), *CLUSTER]
    for name, limits in named.items():
        if not isinstance(name, str) or not name.strip():
            raise HistobenchError(f"{path}: partition {name!r}: expected text as its name; write it in quotes")
        where = f"{path}: partition {name}"
        if not isinstance(limits, Mapping):
            raise HistobenchError(
                f"{where}: expected its limits, found {limits!r}; a partition without limits is `{name}: {{}}`"
            )
        for key, value in limits.items():
            if key not in known:
                raise HistobenchError(
                    f"{where}: unknown key {key!r}{nearest(str(key), known)}; known keys: {', '.join(known)}"
                )
            text = written["partitions"][name][key]
            if expected := _expected(key, value, text, kinds.get(key, str)):
                found = f"{text}, which YAML takes for {value!r}" if _is_another(value, text) else repr(value)
                raise HistobenchError(f"{where}: {key}: expected {expected}, found {found}")
        if limits.get("available_gpu_models") and not limits.get("max_gpu"):
            raise HistobenchError(
                f"{where}: available_gpu_models names cards, but without a max_gpu of 1 or more no job gets one there"
            )
        if len(clusters := [limits[key] for key in CLUSTER if key in limits]) > 1:
            raise HistobenchError(f"{where}: expected one of {', '.join(CLUSTER)}, found {clusters}")
        if not re.fullmatch(r"[\w.-]+", name):
            raise HistobenchError(
                f"{where}: expected the name of one partition, found {name!r}; the star that sinfo prints after the "
                "default one is no part of its name"
            )
    partitions = list(plugin.read_partition_file(path))
    for partition in partitions:
        wanted = next((named[partition.name][key] for key in CLUSTER if key in named[partition.name]), None)
        if partition.partition_cluster != wanted:  # the plugin takes it out of limits that an alias shares
            raise HistobenchError(
                f"{path}: partition {partition.name}: expected the cluster {wanted!r}, but the plugin reads "
                f"{partition.partition_cluster!r}; write `<<: *name` or the limits themselves in place of `*name`"
            )
    return partitions


class _AsWritten(yaml.SafeLoader):
    """Reads all values as the texts that they are written as, to see what YAML makes of them."""


_AsWritten.yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # that of merges


def _is_another(value: Any, written: Any) -> bool:
    """Say whether YAML takes the text of a number for another one: 010 for 8, 24:00:00 for its seconds, 1_0 for 10."""
    return isinstance(value, int) and not isinstance(value, bool) and str(value) != written


def _expected(key: str, value: Any, written: Any, kind: Any) -> str:
    """Return in words what a key of a partition should have been, "" where it is; `written` is the value's text."""
    if list in (get_origin(part) for part in (kind, *get_args(kind))):
        fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return "" if fits else "a list of texts, such as [a100]"
    if kind in (bool, str):
        return "" if isinstance(value, kind) else {bool: "true or false", str: "text"}[kind]
    if key == "max_runtime":
        expected = "minutes, or a time such as 24h, 2d12h or '1-12:00:00' (days-hours:minutes:seconds), in quotes"
        return "" if _is_time(value) and not _is_another(value, written) else expected
    fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool) and value >= 0
    fits = fits and not _is_another(value, written)
    unit = " of MB" if "mem_mb" in key else ""
    return "" if fits else f"a {'whole ' * (kind is int)}number{unit}, without unit or quotes"


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        # The plugin would take of `2 weeks 1d` what it knows, the day, and 12:30 for hours and minutes, where SLURM has
        # minutes and seconds.
        times = r"\d+-\d+(:\d+){0,2}|\d+(:\d+:\d+)?|(\d+(\.\d+)? *[dhms] *)+"
        return re.fullmatch(times, value.strip().lower()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def group(study: Study, run: Run, logs: Path | None = None) -> tuple[str, str]:
    """Return which job of the scheduler the jobs `OF_A_RUN` belong to: its name, and of which kind it is.

    Heads on cached features take seconds each, so those of one backbone, data set and device share jobs of the kind
    `HEADS`. Any other run has a job of its own. So has a head with a search, which others need not wait for, and one
    that failed before: what fails in a job costs all runs of the job their results.

    Parameters
    ----------
    study : of the run.
    run : which need not stand in the matrix.
    logs : folder with the run's logs, by which it is known whether it failed; None where that does not matter.
    """
    if not study.cached(run.mode, run.recipe) or study.searched(run.recipe) or (logs is not None and _failed(logs)):
        return "-".join(map(str, ("run", *vars(run).values()))), ""
    return f"{HEADS}-{study.stored(run.dataset)}-{run.model}-{run.device}", HEADS


def _failed(logs: Path) -> bool:
    """Say whether a job of a run has ended with an error, by its log, which the next try begins anew."""
    for rule in OF_A_RUN:
        try:
            with (logs / f"{rule}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - LOG_END))
                if b" ERROR " in file.read():
                    return True
        except OSError:
            continue
    return False


def has_card(partition: "Partition", model: str | None) -> bool:
    """Say whether a partition is for jobs with this card; None is for jobs with any, "" for jobs without one."""
    models = partition.limits.available_gpu_models
    return bool(partition.limits.max_gpu) == (model != "") and (not model or not models or model in models)


def cards(partition: "Partition") -> str:
    """Return in words which cards a partition has."""
    if not partition.limits.max_gpu:
        return "no cards"
    return ", ".join(partition.limits.available_gpu_models or ["any card"])


def jobs_for(model: str) -> str:
    """Return in words which jobs need a card, "" is none."""
    return f"jobs with gpu_model {model}" if model else "jobs without a card"


def no_partition(model: str | None) -> str:
    """Return in words that no partition has a card, see :func:`has_card`."""
    return f"no partition has {'it in its available_gpu_models' if model != '' else 'a max_gpu of 0, or none'}"


def environments_missing(devices: Mapping[str, Mapping[str, Any]], needed: Iterable[str]) -> str:
    """Return in words that nobody makes the environments of devices of the configuration, "" where they need none."""
    # `make install` builds what a CPU needs for JAX, too.
    built = {name: {"tensorflow"} if card(devices[name]) else {"tensorflow", "jax"} for name in needed}
    wanted = {name: own for name in needed if (own := environment(devices[name])) not in built[name]}
    return "\n".join(
        f"device {name} needs the environment envs/{own}.yaml, but all jobs would run in the one that "
        "Snakemake was started from. Say --software-deployment-method conda, or another of its ways "
        "(docs/cluster.md), or leave the device out of the matrix"
        for name, own in wanted.items()
    )


def folder_gone(dataset: Dataset, data: Path) -> str:
    """Return in words that the folder of patches of one's own is gone and what was prepared from it is used, else "".

    Parameters
    ----------
    dataset : of any format.
    data : folder of the prepared data set. Snakemake takes what is there, since nothing can make it.

    Raises
    ------
    HistobenchError
        if it was prepared for a data set of another definition.
    """
    source = dataset.source
    if source.own is None or not (data / "manifest.json").exists():
        return ""
    for key, place in (("path", source.folder), ("root", source.own.root)):
        where = f"sources.{source.name}.{key}: {place}"
        try:
            if place and not Path(place).exists():
                break
        except OSError as error:
            raise HistobenchError(f"configuration: {where}: cannot be read: {error.strerror}") from error
    else:
        return ""
    where += ": not found"
    if differences := dataset.differences(prepared.manifest(data).get("definition")):
        raise HistobenchError(
            f"configuration: {where}, and the patches in {data} were prepared otherwise: "
            f"{'; '.join(differences.values())}. Correct the path, or take the data set out of the matrix"
        )
    return f"{where}; the patches that were prepared from it before, in {data}, are used as they are"


def embeddings_gone(model: str, path: str, imported: Path) -> str:
    """Return in words that embeddings of others are gone and what was imported from them is used, else "".

    Parameters
    ----------
    model : whose embeddings they are.
    path : of these.
    imported : folder of the features. Snakemake takes what is there, since nothing can make it.
    """
    where = f"models.{model}.embeddings.path: {path}"
    try:
        if Path(path).exists() or not (imported / features.ABOUT).exists():
            return ""
    except OSError as error:
        raise HistobenchError(f"configuration: {where}: cannot be read: {error.strerror}") from error
    return f"{where}: not found; the features that were imported from it before, in {imported}, are used as they are"
