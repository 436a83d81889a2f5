"""Rule `train`: one run, from records to the weights of its best epoch."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import run

    run.train(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        features=Path(snakemake.input.features[0]).parent if snakemake.input.features else None,
        weights=Path(snakemake.input.weights[0]) if snakemake.input.weights else None,
        folder=Path(snakemake.output.about).parent,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=job.card(snakemake),
        tuned=Path(snakemake.input.tuned[0]) if snakemake.input.tuned else None,
    )
