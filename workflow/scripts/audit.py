"""Rule `audit`: what a data set holds twice, and on both sides of its split."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import audit

    folds = [Path(path).parent for path in snakemake.input.get("folds", [])]
    audit.write(Path(snakemake.input.manifest).parent, snakemake.params.downsample, folds)
