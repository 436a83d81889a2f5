"""Rule `table_best`: the best model of each data set."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import best, collect, performance, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    table = best.best(runs, performance.read(map(Path, snakemake.input.performance)))
    tables.write(
        table,
        Path(snakemake.output.html).with_suffix(""),
        f"Best model of each data set, study {snakemake.params.study}",
        announcements(runs, cells[~cells["timing_only"]]),
        [best.NOTE],
        grids=best.in_print(table),
    )
