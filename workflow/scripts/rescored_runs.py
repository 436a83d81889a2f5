"""Rule `rescored_runs`: the runs on a data set whose networks score changed test patches."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, robustness
    from histobench.results.cells import without_averages
    from histobench.results.columns import write_csv

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    shown = figure_data.labelled(without_averages(runs, cells), cells, snakemake.wildcards.dataset)
    chosen = robustness.chosen(
        shown, snakemake.params.named, networks=snakemake.params.networks, best=snakemake.params.best
    )
    write_csv(Path(snakemake.output.rescored), chosen)
