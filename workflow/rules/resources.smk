# What jobs ask of a machine: cards, time, memory, threads. Rules speak of hardware; a profile, profiles/slurm, turns
# that into a site's partitions. Helpers only, no rules.
import math
from functools import cache

COSTS = costs.Costs(STUDY)
# Threads of a job with a card: two that read patches ahead, one that drives the card, one for TensorFlow's own. Without
# one the two of a laptop.
GPU_THREADS, CPU_THREADS = 4, 2
# MB. A head on cached features holds no CNN; of the others DenseNet201 took 3.8 GB on a CPU, and CUDA comes on top.
HEAD_MEMORY, CNN_MEMORY = 4000, 8000
# Minutes of an evaluation.
EVALUATION = 10
# Of the jobs that Snakemake runs in one job of the scheduler one at a time: a profile says `resources: [place=1]`, which
# counts in each by itself. It then asks for the most that one of them needs, not for the sum of all runs.
PLACE = {"place": 1}


# What --sdm env-modules loads for jobs on cards. One list for all: a rule's can't differ by its wildcards.
ENV_MODULES = config.get("env_modules", [])


@quick
def gpu_model(wildcards):
    """Return the card that a job is for, as the scheduler names it; nothing for a CPU."""
    return STUDY.devices[wildcards.device].get("gpu_model", "") if "device" in wildcards.keys() else ""


@quick
def cnn_threads(wildcards):
    """Return the threads of a job that runs a CNN, or a head."""
    before_first_job()  # here, too, since a profile may set all resources: see set-resources.yaml of a study
    return GPU_THREADS if gpu_model(wildcards) else CPU_THREADS


@once_for("device")
def environment(wildcards):
    """Return the environment of a run's device, from the folder of the rules."""
    return f"../../envs/{devices.environment(STUDY.devices[wildcards.device])}.yaml"


@once_for("device")
def container_of_device(wildcards):
    """Return the image in which --sdm apptainer runs a job on a device, if it has one."""
    return STUDY.devices[wildcards.device].get("container")


# Asked for every job, so only where some device has one.
container_image = container_of_device if any("container" in device for device in STUDY.devices.values()) else None


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


def of_run(wildcards):
    """Return the run of these wildcards."""
    return Run(**vars(cell(wildcards)), seed=int(wildcards.seed))


@quick
def job_of_run(wildcards):
    """Return the job of the scheduler that trains, predicts and evaluates a run; see `submission.group`."""
    if workflow.dryrun:
        return None  # a plan shows each by itself, and is quicker
    run = of_run(wildcards)
    name, kind = submission.group(STUDY, run, Path(placed(paths.of(RUN_LOG, run))))
    if kind:
        # As Snakemake notes of names with wildcards, so that a profile can say of all of them how many runs they hold.
        workflow.parent_groupids[name] = kind
    return name


def runs_at_once(wildcards):
    """Return how many runs share a job of the scheduler at most."""
    kind = submission.group(STUDY, of_run(wildcards))[1]
    return (workflow.group_settings.group_components.get(kind, 1) if workflow.group_settings else 1) if kind else 1


def no_card(wildcards):
    """Return that a job needs no card, whatever its device: only what trains, or runs a CNN, has one."""
    return ""


# Of the time that a job of the scheduler may take for a run, the most that its prediction, and its evaluation, gets.
PART = 0.2


def asked(limit, value, card, share=lambda wildcards, attempt, allowed: allowed):
    """Return a function to what a job asks for in each of its tries: more than before, up to what partitions allow.

    A run that hits its time limit goes on after its last finished epoch, so the longest partition is enough for any. Of
    memory the first try needs all that it asks for.

    limit: the partition's word for it, max_runtime (minutes) or max_mem_mb.
    value: of the first try; a number, or a function of the wildcards.
    card: a function from the wildcards to the card that the job needs.
    share: a function from the wildcards, the try and what the partitions allow to what this job may have of it.
    """

    @quick
    def ask(wildcards, attempt):
        before_first_job()
        first = value(wildcards) if callable(value) else value
        model = card(wildcards)
        allowed = max(
            (getattr(each.limits, limit) for each in partitions() if submission.has_card(each, model)),
            default=math.inf,
        )
        if limit == "max_runtime":
            allowed = share(wildcards, attempt, allowed)
        return int(min(first * attempt, max(allowed, first) if limit == "max_mem_mb" else allowed))

    return ask


def minutes(value, card=no_card, share=lambda wildcards, attempt, allowed: allowed):
    """Return the resource `runtime` of jobs that take so many minutes, a number or a function of the wildcards."""
    return asked("max_runtime", value, card, share)


def part_of_run(wildcards, attempt, allowed):
    """Return the time that prediction or evaluation may take, of that for all runs of a job of the scheduler."""
    return max(1, PART * allowed / runs_at_once(wildcards)) if allowed < math.inf else allowed


def rest_of_run(wildcards, attempt, allowed):
    """Return the time that training may take: what prediction and evaluation leave, since their sum is asked for."""
    if allowed == math.inf or not STUDY.scored(of_run(wildcards)):
        return allowed
    part = part_of_run(wildcards, attempt, allowed)
    return max(
        1,
        allowed / runs_at_once(wildcards)
        - sum(min(attempt * each, part) for each in (prediction_time_limit(wildcards), EVALUATION)),
    )


def megabytes(value, card=no_card):
    """Return the resource `mem_mb` of jobs that take so much memory, a number or a function of the wildcards."""
    return asked("max_mem_mb", value, card)


def on_device(memory, limit, **options):
    """Return the resources of jobs on a device, with a card if that is one: see `megabytes` and `minutes`."""
    card = {"gpu": quick(lambda wildcards: int(bool(gpu_model(wildcards)))), "gpu_model": gpu_model}
    return card | {"mem_mb": megabytes(memory, gpu_model), "runtime": minutes(limit, gpu_model, **options)}


@cache
def time_limits(cell):
    """Return the minutes that jobs of a cell ask for in their first try, by rule."""
    # Heads share one job of the scheduler, which asks for the sum of their times.
    shortest = costs.STEP if STUDY.cached(cell.mode, cell.recipe) else costs.SHORTEST
    limits = {
        "train": costs.minutes(COSTS.train(cell), shortest),
        "predict": costs.minutes(COSTS.predict(cell), shortest),
    }
    if cell.recipe in TURNED:
        limits["predict_turned"] = costs.minutes(COSTS.predict_turned(cell))
    if STUDY.searched(cell.recipe):
        limits |= dict.fromkeys(("tune", "tune_worker"), costs.minutes(COSTS.tune_job(cell)))
    return limits


def time_limit(rule):
    """Return a function from a job's wildcards to its time limit in minutes."""
    return once_for(*cells.NAMES)(lambda wildcards: time_limits(cell(wildcards))[rule])


training_time_limit, prediction_time_limit, turned_time_limit, search_time_limit = map(
    time_limit, ("train", "predict", "predict_turned", "tune")
)


@once_for(*cells.NAMES, "tested_on")
def external_time_limit(wildcards):
    """Return the time limit of a prediction of another data set's test patches in minutes."""
    return costs.minutes(COSTS.predict_external(cell(wildcards), wildcards.tested_on))


def extraction_time_limit(wildcards):
    """Return the time limit of an extraction of features in minutes."""
    return costs.minutes(COSTS.extract(wildcards.dataset, wildcards.model, wildcards.scaling, wildcards.device))


def run_memory(wildcards):
    """Return the memory of a job on a run, MB."""
    return HEAD_MEMORY if STUDY.cached(wildcards.mode, wildcards.recipe) else CNN_MEMORY


def requests(wildcards):
    """Return what jobs of the study's cells ask for in their first try.

    Of patches of one's own that is another once they are prepared and counted.
    """
    run = list(dict.fromkeys(run.cell for run in STUDY.runs))
    of_cells = [
        usage.Usage(rule, **vars(each), requested_minutes=minutes, requested_mb=run_memory(each))
        for each in run
        for rule, minutes in time_limits(each).items()
    ]
    backbones = {
        (STUDY.stored(each.dataset), each.model, recipes.scaling(STUDY.recipes[each.recipe]), each.device)
        for each in run
        if STUDY.cached(each.mode, each.recipe)
    }
    of_backbones = [
        usage.Usage(
            "extract_features",
            **dict(zip(("dataset", "model", "scaling", "device"), names)),
            requested_minutes=costs.minutes(COSTS.extract(*names)),
            requested_mb=CNN_MEMORY,
        )
        for names in sorted(backbones)
        if names[1] in CNNS
    ]
    return usage.Requests((*of_cells, *of_backbones))
