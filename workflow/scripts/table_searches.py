"""Rule `table_searches`: the searches for hyperparameters, and all their trials."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, paper, performance, searching, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    found = searching.read(Path(path).parent for path in snakemake.input.about)
    scores = performance.read(map(Path, snakemake.input.performance))
    published = paper.read(Path(snakemake.input[0]).parent)
    notes = announcements(runs, cells)
    for html, table, title, footnotes in (
        (
            snakemake.output.searches,
            searching.searches(cells, snakemake.params.searched, found, scores, published.tuned),
            "Searches for hyperparameters",
            searching.NOTES,
        ),
        (snakemake.output.trials, searching.trials(cells, found), "Trials of the searches", searching.TRIALS_NOTES),
    ):
        stem = Path(html).with_suffix("")
        tables.write(table, stem, f"{title}, study {snakemake.params.study}", notes, footnotes)
