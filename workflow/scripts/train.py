"""Rule `train`: one run, from records to the weights of its best epoch."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import heads

    heads.train(job.task(snakemake), Path(snakemake.output.about).parent)
