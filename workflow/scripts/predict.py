"""Rule `predict`: scores of a run's validation and test patches, by the weights of its best epoch."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import predict

    predict.predict(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        features=Path(snakemake.input.features[0]).parent if snakemake.input.features else None,
        weights=Path(snakemake.input.weights),
        output=Path(snakemake.output.predictions),
        card=job.card(snakemake),
        tuned=Path(snakemake.input.tuned[0]) if snakemake.input.tuned else None,
    )
