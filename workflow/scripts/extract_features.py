"""Rule `extract_features`: features of a frozen backbone, for all heads that are trained on them."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import extract

    extract.extract(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        weights=Path(snakemake.input.weights[0]) if snakemake.input.weights else None,
        folder=Path(snakemake.output.about).parent,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=job.card(snakemake),
    )
