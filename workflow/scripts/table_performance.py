"""Rule `table_performance`: loss, accuracy and AUC of every cell, as CSV, Markdown and HTML."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench import runs as run_folder
    from histobench.results import collect, tables

    runs = collect.read(Path(snakemake.input.runs))
    replicates = {folder: pd.read_csv(Path(folder) / run_folder.REPLICATES) for folder in runs["folder"]}
    tables.write(
        tables.performance(runs, replicates),
        Path(snakemake.output.csv).with_suffix(""),
        f"Performance on the test set, study {snakemake.params.study}",
        [*tables.notes(runs), *snakemake.params.left_out],
    )
