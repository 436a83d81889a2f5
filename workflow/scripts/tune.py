"""Rules `tune` and `tune_worker`: a job of a search for hyperparameters."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.files import write_json
    from histobench.tuning import worker
    from histobench.tuning.search_settings import workers

    number = int(snakemake.wildcards.get("worker", 1))
    # From the configuration: as a param it would make a search that has ended out of date.
    jobs = workers(snakemake.config["recipes"][snakemake.wildcards.recipe]["search"])
    worker.run(job.task(snakemake), Path(snakemake.output[0]).parent, number, jobs)
    if number > 1:
        write_json(Path(snakemake.output[0]), {"worker": number})
