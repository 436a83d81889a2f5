"""Rules `tune` and `tune_worker`: a job of a search for hyperparameters."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.files import write_json
    from histobench.tuning import worker
    from histobench.tuning.search_settings import workers

    number = int(snakemake.wildcards.get("worker", 1))
    worker.run(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        features=Path(snakemake.input.features[0]).parent if snakemake.input.features else None,
        weights=Path(snakemake.input.weights[0]) if snakemake.input.weights else None,
        folder=Path(snakemake.output[0]).parent,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=job.card(snakemake),
        worker=number,
        # From the configuration: as a param it would make a search that has ended out of date.
        workers=workers(snakemake.config["recipes"][snakemake.wildcards.recipe]["search"]),
    )
    if number > 1:
        write_json(Path(snakemake.output[0]), {"worker": number})
