"""Rule `gather`: one result of the runs on all folds of a cross-validation, and its metrics."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import evaluation, gather

    about, predictions = Path(snakemake.output.about), Path(snakemake.output.predictions)
    members, data = ([Path(path).parent for path in snakemake.input.get(name)] for name in ("about", "manifests"))
    gather.write(about.parent, members, snakemake.params.spec, data)
    evaluation.write(predictions, Path(snakemake.output.metrics), Path(snakemake.output.replicates))
