"""Rule `table_performance`: Tables 3 and 4, loss, accuracy and AUC of every cell on a data set."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench.results import collect, paper, performance, tables
    from histobench.results.announcements import announcements

    dataset = snakemake.wildcards.dataset
    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    replicates = {str(Path(path).parent): pd.read_csv(path) for path in snakemake.input.replicates}
    published = paper.read(Path(snakemake.input[0]).parent).performance
    table = performance.performance(dataset, runs, cells, replicates, published)
    shown = cells[(cells["dataset"] == dataset) & ~cells["timing_only"]]
    tables.write(
        table,
        Path(snakemake.output.html).with_suffix(""),
        f"Performance on the test set of {dataset}, study {snakemake.params.study}",
        announcements(runs[runs["dataset"] == dataset], shown),
        performance.NOTES if table["published_auc"].notna().any() else [],
        first=performance.first(table),
    )
