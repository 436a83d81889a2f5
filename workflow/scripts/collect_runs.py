"""Rule `collect_runs`: the tidy table of all runs of the study, and that of the cells that it asked for."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench.results import collect
    from histobench.results.columns import write_csv

    collect.write(
        Path(snakemake.output.runs),
        folders=[Path(path).parent for path in snakemake.input.about],
        data=dict(zip(snakemake.params.datasets, map(Path, snakemake.input.manifests), strict=True)),
        controls=dict(zip(snakemake.params.datasets, map(Path, snakemake.input.controls), strict=True)),
        names=snakemake.params.names,
        timing_only=snakemake.params.timing_only,
    )
    write_csv(Path(snakemake.output.cells), pd.DataFrame(snakemake.params.cells))
