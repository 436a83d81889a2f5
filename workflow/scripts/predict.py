"""Rule `predict`: scores of a run's validation and test patches, by the weights of its best epoch."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import predict

    predict.predict(job.task(snakemake), Path(snakemake.output.predictions))
