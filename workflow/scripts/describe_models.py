"""Rule `describe_models`: layers, parameters and multiply-adds of every model of the study."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.runs import write_rows
    from histobench.train import model_size

    sides = snakemake.params.sides
    rows = [{"model": spec["key"]} | model_size.describe(spec, sides) for spec in snakemake.params.specs]
    write_rows(Path(snakemake.output.sizes), rows)
