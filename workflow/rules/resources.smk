# What jobs ask of a machine: cards, time, memory, threads. Rules speak of hardware; a profile, profiles/slurm, turns
# that into a site's partitions. Helpers only, no rules.
from functools import cache

COSTS = costs.Costs(STUDY)
# Threads of a job with a card: two that read patches ahead, one that drives the card, one for TensorFlow's own. Without
# one the two of a laptop.
GPU_THREADS, CPU_THREADS = 4, 2
# MB. A head on cached features holds no CNN; of the others DenseNet201 took 3.8 GB on a CPU, and CUDA comes on top.
HEAD_MEMORY, CNN_MEMORY = 4000, 8000


# What --sdm env-modules loads for jobs on cards. One list for all: a rule's can't differ by its wildcards.
ENV_MODULES = config.get("env_modules", [])


@quick
def gpu_model(wildcards):
    """Return the card that a job is for, as the scheduler names it; nothing for a CPU."""
    return STUDY.devices[wildcards.device].get("gpu_model", "") if "device" in wildcards.keys() else ""


@quick
def cnn_threads(wildcards):
    """Return the threads of a job that runs a CNN, or a head."""
    return GPU_THREADS if gpu_model(wildcards) else CPU_THREADS


@once_for("device")
def environment(wildcards):
    """Return the environment of a run's device, from the folder of the rules."""
    return f"../../envs/{STUDY.devices[wildcards.device].get('environment', 'tensorflow')}.yaml"


@once_for("device")
def container_image(wildcards):
    """Return the image in which --sdm apptainer runs a job on a device, if it has one."""
    return STUDY.devices[wildcards.device].get("container")


@cache
def read_partitions(path):
    """Return the partitions of a file, see profiles/slurm/partitions.yaml; refuse one that is not as it should be."""
    if not os.path.exists(path):
        raise WorkflowError(f"{path}: not found from {os.getcwd()}; name the file, or its profile, by the whole path")
    try:
        return submission.read_partitions(Path(path))
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def partition_file():
    """Return the file of partitions that the plugin for SLURM takes, if jobs go to a cluster and somebody has named one."""
    # Known only when jobs are about to run: a dry run, and a job itself, have no such settings.
    if not hasattr(workflow.executor_settings, "partition_config"):
        return None
    return workflow.executor_settings.partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")


def partitions():
    """Return the partitions that jobs may go to; none where they go to no cluster, or nobody said which it has."""
    path = partition_file()
    return read_partitions(path) if path else []


def no_card(wildcards):
    """Return that a job needs no card, whatever its device: only what trains, or runs a CNN, has one."""
    return ""


def asked(limit, value, card):
    """Return a function to what a job asks for in each of its tries: more than before, up to what partitions allow.

    A run that hits its time limit goes on after its last finished epoch, so the longest partition is enough for any. Of
    memory the first try needs all that it asks for.

    limit: the partition's word for it, max_runtime (minutes) or max_mem_mb.
    value: of the first try; a number, or a function of the wildcards.
    card: a function from the wildcards to the card that the job needs.
    """

    @quick
    def ask(wildcards, attempt):
        before_first_job()
        first = value(wildcards) if callable(value) else value
        model = card(wildcards)
        allowed = max(
            (getattr(each.limits, limit) for each in partitions() if submission.has_card(each, model)),
            default=first * attempt,
        )
        return int(min(first * attempt, max(allowed, first) if limit == "max_mem_mb" else allowed))

    return ask


def minutes(value, card=no_card):
    """Return the resource `runtime` of jobs that take so many minutes, a number or a function of the wildcards."""
    return asked("max_runtime", value, card)


def megabytes(value, card=no_card):
    """Return the resource `mem_mb` of jobs that take so much memory, a number or a function of the wildcards."""
    return asked("max_mem_mb", value, card)


def on_device(memory, limit):
    """Return the resources of jobs on a device, with a card if that is one: see `megabytes` and `minutes`."""
    card = {"gpu": quick(lambda wildcards: int(bool(gpu_model(wildcards)))), "gpu_model": gpu_model}
    return card | {"mem_mb": megabytes(memory, gpu_model), "runtime": minutes(limit, gpu_model)}


def time_limit(cost):
    """Return a function from a job's wildcards to its time limit in minutes; `cost` is a method of `COSTS` for cells."""
    return once_for(*cells.NAMES)(lambda wildcards: costs.minutes(cost(cell(wildcards))))


def extraction_time_limit(wildcards):
    """Return the time limit of an extraction of features in minutes."""
    return costs.minutes(COSTS.extract(wildcards.dataset, wildcards.model, wildcards.scaling, wildcards.device))


def run_memory(wildcards):
    """Return the memory of a job on a run, MB."""
    return HEAD_MEMORY if STUDY.cached(wildcards.mode, wildcards.recipe) else CNN_MEMORY
