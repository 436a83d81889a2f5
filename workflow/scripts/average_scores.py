"""Rule `average_scores`: one result of all seeds of a cell, or of several cells, by the mean score of each patch."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import average_scores, evaluation

    about, predictions = Path(snakemake.output.about), Path(snakemake.output.predictions)
    average_scores.write(about.parent, [Path(path).parent for path in snakemake.input.about], snakemake.params.spec)
    evaluation.write(predictions, Path(snakemake.output.metrics), Path(snakemake.output.replicates))
