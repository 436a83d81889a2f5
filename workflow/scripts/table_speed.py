"""Rule `table_speed`: Table 2, seconds per epoch on each kind of GPU."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, paper, speed, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    published = paper.read(Path(snakemake.input[0]).parent).speed
    table = speed.speed(runs, cells, published)
    tables.write(
        table,
        Path(snakemake.output.html).with_suffix(""),
        f"Seconds per epoch, study {snakemake.params.study}",
        [
            *announcements(runs, speed.timed(cells), collapsed="their seconds count all the same"),
            *speed.warnings(table),
        ],
        speed.notes(table),
        grids=speed.in_print(table),
        first=speed.FIRST,
    )
