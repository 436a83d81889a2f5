# What is checked and done when a study starts, before anything is submitted: each fault would cost days of waiting. No
# rules.
import shutil
import subprocess

from histobench.core.job import HEADS
from histobench.core.state import ANEW, start_anew


def jobs_to_run():
    """Return the jobs that are to run, without those of a workflow that uses this one as a module."""
    return [job for job in workflow.dag.needrun_jobs() if str(job.rule.basedir) == str(WORKFLOW / "rules")]


def submissions():
    """Return the jobs that the scheduler gets, some of which are groups of jobs, each with one of its own or of the group's."""
    found = {workflow.dag.get_job_group(job) or job: job for job in jobs_to_run() if not job.is_local}
    return found.items()


def check_partitions():
    """Refuse jobs that no partition takes: the plugin would warn, and submit them to the default partition."""
    known = partitions()
    if not known:
        return
    from snakemake_executor_plugin_slurm.partitions import parse_gpu_requirements

    refused = {}
    for submitted, job in submissions():
        # By the plugin's own judgement, but for cards: it lets jobs without one go where cards are.
        count, asked_for = parse_gpu_requirements(submitted)
        model = asked_for or None if count else ""
        fitting = [partition for partition in known if submission.has_card(partition, model)]
        if any(partition.score_job_fit(submitted) is not None for partition in fitting):
            continue
        # A profile may ask for cards in a way of its own: profiles/slurm-gres sets `gpu` to 0.
        named = gpu_model(job.wildcards) if "gpu" in submitted.resources.keys() else ""
        whom = f"device {job.wildcards.device} (gpu_model {named})" if named else "jobs without a card"
        asking = " and ".join(sorted({each.rule.name for each in (submitted if submitted.is_group() else [job])}))
        if fitting:
            why = (
                f"{', '.join(partition.name for partition in fitting)}: a job of rule {asking} asks for "
                f"{submitted.resources.get('runtime')} minutes, {submitted.resources.get('mem_mb')} MB and "
                f"{submitted.threads} threads, "
                "which is more than the limits allow"
            )
        elif model in (None, named):
            why = submission.no_partition(model)
        else:
            why = (
                f"a job of rule {asking} asks for {model or 'no card'} (gres={submitted.resources.get('gres')!r}, see "
                f"set-resources in the profile), and {submission.no_partition(model)}"
            )
        refused.setdefault(whom, why)
    if refused:
        path = partition_file()
        listed = "; ".join(f"{each.name}: {submission.cards(each)}" for each in known)
        raise WorkflowError(
            "\n".join(f"{path}: {whom}: {why}" for whom, why in refused.items())
            + f"\nFound {listed}. Nothing was submitted. Edit that file, or leave these devices out of the matrix"
        )


@cache
def check_cluster():
    """Refuse a partition file that is wrong, and a machine without SLURM.

    While the plan is made, since the plugin starts before all other checks and names neither file nor cause.
    """
    if hasattr(workflow.executor_settings, "partition_config"):
        partitions()
        if absent := [name for name in ("sbatch", "scontrol", "squeue") if not shutil.which(name)]:
            raise WorkflowError(
                f"the profile submits jobs to SLURM, but {', '.join(absent)} cannot be found on this machine. Start "
                "Snakemake on the cluster's login node, or without SLURM: --profile profiles/local"
            )


def check_status_command():
    """Refuse a way to ask for jobs by which the plugin would wait for ever."""
    settings = workflow.executor_settings
    if not hasattr(settings, "status_command"):
        return
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

    age, first = get_min_job_age(), settings.init_seconds_before_status_checks
    accounting = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False)
    off = "AccountingStorageType   = accounting_storage/none" in accounting.stdout
    by_sacct = settings.status_command == "sacct"
    if by_sacct and off:
        raise WorkflowError(
            "slurm-status-command: sacct, but this cluster keeps no accounts (AccountingStorageType in `scontrol show "
            "config`), so no job would ever be seen to end. Nothing was submitted. Say squeue in the profile"
        )
    if not by_sacct and age is not None and age < 3 * first:
        raise WorkflowError(
            f"slurm-status-command: squeue, but this cluster forgets ended jobs after {age} s (MinJobAge in "
            f"`scontrol show config`), less than three times slurm-init-seconds-before-status-checks, {first}. Nothing "
            f"was submitted. Set that to {age // 3} or less in the profile" + ("" if off else ", or say sacct")
        )


def check_environments():
    """Refuse jobs on a card that the TensorFlow of this environment has no code for, where Snakemake makes no other."""
    if workflow.deployment_settings.deployment_method:
        return
    devices = {job.wildcards["device"]: None for job in jobs_to_run() if "device" in job.wildcards.keys()}
    if missing := submission.environments_missing(STUDY.devices, devices):
        raise WorkflowError(missing)


def tell_heads():
    """Tell the processes of this job of the scheduler which heads it is to train, so that the first trains them all."""
    heads = [
        {
            "spec": specification(job.wildcards),
            "folder": os.path.dirname(job.output.about),
            "data": os.path.dirname(job.input.manifest),
            "features": os.path.dirname(job.input.features[0]),
        }
        for job in jobs_to_run()
        if job.rule.name == "train" and submission.group(STUDY, of_run(job.wildcards))[1] == submission.HEADS
    ]
    # A job of several is a Snakemake for each in one for all, and that knows them.
    os.environ.setdefault(HEADS, json.dumps(heads))


def let_sbatch_wait():
    """Put our `sbatch` first on the path, which waits while SLURM cannot take a job; see bin/sbatch."""
    if hasattr(workflow.executor_settings, "partition_config"):
        os.environ.update(
            HISTOBENCH_SBATCH_LOG=os.path.abspath(placed(f"{LOGS}/sbatch.log")),
            PATH=os.pathsep.join((str(WORKFLOW / "bin"), *os.get_exec_path())),
        )


def write_configuration():
    """Write the configuration for `make status`, and for whoever wonders later what ran here."""
    if TRAINS:
        write_json(Path(placed(STUDY.paths.configuration)), config)


def is_forced(job):
    """Say whether the user forces a job. Snakemake also forces those whose outputs a killed start left incomplete."""
    settings = workflow.dag_settings
    named = [*settings.forcerun, *(settings.targets if settings.forcetargets else [])]
    return job.rule in workflow.dag.forcerules or not set(map(os.path.relpath, named)).isdisjoint(job.output)


def train_forced_jobs_anew():
    """Have jobs that the user forces set their saved state aside, from which they would restore their outputs."""
    if workflow.touch:
        return
    forced, others = {}, {}
    for job in jobs_to_run():
        for path in map(Path, job.output):
            # A run, features or a search, known by the file that tells about it: other jobs write into these folders, too.
            told = path.name in (runs.ABOUT, features.ABOUT, search_files.ABOUT)
            (forced if told and is_forced(job) else others)[path.parent] = None
    for folder in others.keys() - forced.keys():
        # Of a start that forced it, and was stopped before the job had begun.
        (folder / ".state" / ANEW).unlink(missing_ok=True)
    for job in jobs_to_run():
        if job.rule.name in MADE_BY and is_forced(job):
            folder, stems = MADE_BY[job.rule.name]
            for stem in stems:
                shutil.rmtree(Path(placed(folder)) / ".state" / stem, ignore_errors=True)
    anew = [str(folder) for folder in forced if start_anew(folder / ".state")]
    if anew:
        logger.info(
            f"{len(anew)} forced jobs have a saved state: each sets it aside, in .state/set-aside of its folder, and starts "
            f"anew: {', '.join(anew[:3])}{', ...' if len(anew) > 3 else ''}"
        )


# In this order, when jobs are about to run; in a dry run the checks alone, whose errors are warnings then.
CHECKS = [check_partitions, check_status_command, check_environments]
AT_START = [*CHECKS, let_sbatch_wait, train_forced_jobs_anew, write_configuration]
BEGUN = []


def before_first_job():
    """Do once what is to be done at the start.

    From `onstart`, and from a resource of the first job that is looked at: a dry run, and a workflow that uses this one
    as a module, know no `onstart`.
    """
    if BEGUN or workflow.execution_settings is None or not (workflow.is_main_process or workflow.remote_exec):
        return
    BEGUN.append(True)
    if workflow.remote_exec:
        tell_heads()
        return
    if not workflow.dryrun:
        for function in AT_START:
            function()
        return
    for check in CHECKS:
        try:
            check()
        except WorkflowError as error:
            logger.warning(f"Would be refused at the start: {error}")


onstart:
    before_first_job()
