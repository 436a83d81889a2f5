"""Rule `table_searches`: the searches for hyperparameters, and all their trials."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, paper, performance, searching, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    found = searching.read(Path(path).parent for path in snakemake.input.about)
    scores = performance.read(map(Path, snakemake.input.performance))
    published = paper.read(Path(snakemake.input[0]).parent)
    notes = announcements(runs, cells)
    table = searching.searches(cells, snakemake.params.searched, found, scores, published.tuned)
    below = [searching.PUBLISHED_NOTE] * bool(table["published_auc"].notna().any()) + searching.NOTES
    tables.write(
        table,
        Path(snakemake.output.searches).with_suffix(""),
        f"Searches for hyperparameters, study {snakemake.params.study}",
        notes,
        below,
        grids=searching.in_print(table),
        first=searching.FIRST,
    )
    trials = searching.trials(cells, found)
    tables.write(
        trials,
        Path(snakemake.output.trials).with_suffix(""),
        f"Trials of the searches, study {snakemake.params.study}",
        notes,
        searching.TRIALS_NOTES,
        grids=searching.trials_in_print(trials),
        first=searching.TRIALS_FIRST,
    )
