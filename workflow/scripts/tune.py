"""Rules `tune` and `tune_worker`: a job of a search for hyperparameters."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import searches
    from histobench.core.files import write_json
    from histobench.train import search

    worker = int(snakemake.wildcards.get("worker", 1))
    search.search(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        features=Path(snakemake.input.features[0]).parent if snakemake.input.features else None,
        weights=Path(snakemake.input.weights[0]) if snakemake.input.weights else None,
        folder=Path(snakemake.output[0]).parent,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=job.card(snakemake),
        worker=worker,
        # From the configuration: as a param it would make a search that has ended out of date.
        workers=searches.workers(snakemake.config["recipes"][snakemake.wildcards.recipe]["search"]),
    )
    if worker > 1:
        write_json(Path(snakemake.output[0]), {"worker": worker})
