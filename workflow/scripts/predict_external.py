"""Rule `predict_external`: scores of the test patches of a data set by a run that has learned from another."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import predict_external

    predict_external.predict(
        job.task(snakemake),
        Path(snakemake.input.trained_on).parent,
        Path(snakemake.params.backbone) if snakemake.params.backbone else None,
        Path(snakemake.output.about).parent,
    )
