"""Rule `table_claims`: the paper's claims, checked over its own tables and over ours."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import claims, collect, paper, performance, sizes, speed, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    published, names = paper.read(Path(snakemake.input[0]).parent), snakemake.params.names
    table = performance.read(map(Path, snakemake.input.performance))
    counted = sizes.read(Path(snakemake.input.sizes[0]) if snakemake.input.sizes else None, published.sizes, names)
    seconds, epoch = speed.for_claims(collect.read(Path(snakemake.input.speed)))
    ours = claims.of_the_study(
        standing=performance.standing(table, cells),
        tuned=performance.tuned(table, cells),
        speed=seconds,
        epoch=epoch,
        sizes=sizes.in_short(counted, published.sizes),
        names=names,
        public=snakemake.params.public,
    )
    tables.write(
        claims.compare(claims.of_the_paper(published, snakemake.params.all_names), ours),
        Path(snakemake.output.html).with_suffix(""),
        f"Claims of the paper, study {snakemake.params.study}",
        announcements(runs, cells),
        [claims.ROUNDING],
    )
