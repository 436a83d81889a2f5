"""Rule `table_tests`: transfer learning against full training, by the paper's test and by the paired one."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, mode_tests, paper, performance, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    published = paper.read(Path(snakemake.input[0]).parent)
    ours = performance.standing(performance.read(map(Path, snakemake.input.performance)), cells)
    table = mode_tests.tests(published, ours)
    tables.write(
        table,
        Path(snakemake.output.html).with_suffix(""),
        f"Transfer learning against full training, AUC, study {snakemake.params.study}",
        announcements(runs, cells),
        mode_tests.NOTES,
        first=mode_tests.FIRST,
    )
    mode_tests.check(table, published)
