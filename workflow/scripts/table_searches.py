"""Rule `table_searches`: the searches for hyperparameters, and all their trials."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, paper, performance, tables
    from histobench.results.announcements import announcements
    from histobench.tuning import search_tables

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    found = search_tables.read(Path(path).parent for path in snakemake.input.about)
    scores = performance.read(map(Path, snakemake.input.performance))
    published = paper.read(Path(snakemake.input[0]).parent)
    notes = announcements(runs, cells)
    table = search_tables.searches(cells, snakemake.params.searched, found, scores, published.tuned)
    below = [search_tables.PUBLISHED_NOTE] * bool(table["published_auc"].notna().any()) + search_tables.NOTES
    tables.write(
        table,
        Path(snakemake.output.searches).with_suffix(""),
        f"Searches for hyperparameters, study {snakemake.params.study}",
        notes,
        below,
        grids=search_tables.in_print(table),
        first=search_tables.FIRST,
    )
    trials = search_tables.trials(cells, found)
    tables.write(
        trials,
        Path(snakemake.output.trials).with_suffix(""),
        f"Trials of the searches, study {snakemake.params.study}",
        notes,
        search_tables.TRIALS_NOTES,
        grids=search_tables.trials_in_print(trials),
        first=search_tables.TRIALS_FIRST,
    )
