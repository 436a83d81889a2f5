"""Rule `predict_turned`: scores of a run's validation and test patches, averaged over their flips and turns."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import predict_turned

    predict_turned.predict(job.task(snakemake), Path(snakemake.output.about).parent)
