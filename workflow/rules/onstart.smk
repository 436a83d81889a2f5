# What is checked when a study starts, before anything is submitted: each of these would cost days of waiting. No rules.
import subprocess

from histobench.core.state import start_anew


def check_partitions():
    """Refuse jobs that no partition takes: the plugin would warn, and submit them to the default partition."""
    known = partitions()
    if not known:
        return
    refused = {}
    for job in workflow.dag.needrun_jobs():
        model = gpu_model(job.wildcards)
        # By the plugin's own judgement, but for cards: it lets jobs without one go where cards are.
        fitting = [partition for partition in known if has_card(partition, model)]
        if job.is_local or any(partition.score_job_fit(job) is not None for partition in fitting):
            continue
        device = job.wildcards.get("device", "cpu")
        whom = f"device {device} (gpu_model {model})" if model else "jobs without a card"
        names = ", ".join(partition.name for partition in fitting)
        why = (
            f"{names}: a job of rule {job.rule.name} asks for {job.resources.get('runtime')} minutes, "
            f"{job.resources.get('mem_mb')} MB and {job.threads} threads, which is more than the limits allow"
            if fitting
            else f"no partition has {'it in its available_gpu_models' if model else 'a max_gpu of 0, or none'}"
        )
        refused.setdefault(whom, why)
    if refused:
        path = workflow.executor_settings.partition_config
        listed = "; ".join(f"{each.name}: {cards(each)}" for each in known)
        raise WorkflowError(
            "\n".join(f"{path}: {whom}: {why}" for whom, why in refused.items())
            + f"\nFound {listed}. Nothing was submitted. Edit that file, or leave these devices out of the matrix"
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
    for job in workflow.dag.needrun_jobs():
        device = STUDY.devices.get(job.wildcards.get("device"), {})
        if (name := device.get("environment", "tensorflow")) != "tensorflow":
            raise WorkflowError(
                f"device {job.wildcards.device} needs the environment envs/{name}.yaml, but all jobs would run in the "
                "one that Snakemake was started from. Nothing was submitted. Say --software-deployment-method conda, or "
                "another of its ways (docs/cluster.md), or leave the device out of the matrix"
            )


def train_forced_jobs_anew():
    """Have jobs that the user forces set their saved state aside, from which they would restore their outputs."""
    dag, anew = workflow.dag, []
    for job in dag.needrun_jobs():
        # A run, features or a search, known by the file that tells about it: other jobs write into these folders, too.
        about = [
            Path(path) for path in job.output if Path(path).name in (runs.ABOUT, features.ABOUT, search_files.ABOUT)
        ]
        # Not by Snakemake's reason for the job, which it leaves out of jobs that come after others.
        forced = job.rule in dag.forcerules or not dag.forcefiles.isdisjoint(job.output)
        if forced and about and start_anew(about[0].parent / ".state"):
            anew.append(str(about[0].parent))
    if anew:
        logger.info(
            f"{len(anew)} forced jobs have a saved state: each sets it aside, in .state/set-aside of its folder, and starts "
            f"anew: {', '.join(anew[:3])}{', ...' if len(anew) > 3 else ''}"
        )


onstart:
    check_partitions()
    check_status_command()
    check_environments()
    train_forced_jobs_anew()
    if TRAINS:
        # For `make status`, and for whoever wonders later what ran here.
        write_json(Path(STUDY.paths.configuration), config)
