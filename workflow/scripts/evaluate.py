"""Rule `evaluate`: metrics of one run's predictions, with bootstrap intervals."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import evaluation

    evaluation.write(
        Path(snakemake.input.predictions), Path(snakemake.output.metrics), Path(snakemake.output.replicates)
    )
