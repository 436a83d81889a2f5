"""Rule `predict`: scores of a run's validation and test patches, by the weights of its best epoch."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import predict

    predict.predict(
        spec=snakemake.params.spec,
        data=Path(snakemake.input.manifest).parent,
        weights=Path(snakemake.input.weights),
        output=Path(snakemake.output.predictions),
    )
