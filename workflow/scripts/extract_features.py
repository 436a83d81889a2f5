"""Rule `extract_features`: features of a frozen backbone, for all heads that are trained on them."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import extract

    extract.extract(job.task(snakemake), Path(snakemake.output.about).parent)
