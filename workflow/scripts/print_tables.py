"""Rule `print_tables`: all tables of the study, in one process."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import items, printing

    items.make(
        snakemake.params.made,
        dict(snakemake.input.items()),
        snakemake.params.study,
        Path(snakemake.output[0]).parent,
        lambda table, inputs, stem: printing.write(table, stem, inputs.study["name"]),
    )
