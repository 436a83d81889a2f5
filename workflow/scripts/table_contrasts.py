"""Rule `table_contrasts`: paired contrasts of cells on the same test patches."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench.results import collect, contrasts, evaluation, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    tables.write(
        contrasts.contrasts(
            runs,
            cells,
            {str(Path(path).parent): pd.read_csv(path) for path in snakemake.input.replicates},
            {str(Path(path).parent): evaluation.read(Path(path)) for path in snakemake.input.predictions},
        ),
        Path(snakemake.output.html).with_suffix(""),
        f"Paired contrasts of the AUC, study {snakemake.params.study}",
        announcements(runs, cells),
        contrasts.NOTES,
        first=contrasts.FIRST,
    )
