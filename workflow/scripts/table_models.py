"""Rule `table_models`: Table 1, published sizes beside ours under each definition."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench.results import sizes, tables

    table = sizes.compare(
        pd.read_csv(snakemake.input.sizes), pd.read_csv(snakemake.input.published), snakemake.params.names
    )
    tables.write(
        table, Path(snakemake.output.csv).with_suffix(""), f"Models, study {snakemake.params.study}", sizes.NOTES
    )
