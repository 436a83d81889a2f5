"""Rule `choose_runs`: the runs on a data set whose networks a part of the study goes on with."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import chosen_runs, collect, figure_data
    from histobench.results.cells import without_averages
    from histobench.results.columns import write_csv

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    shown = figure_data.labelled(without_averages(runs, cells), cells, snakemake.wildcards.dataset)
    chosen = chosen_runs.chosen(
        shown, snakemake.params.named, networks=snakemake.params.networks, best=snakemake.params.best
    )
    write_csv(Path(snakemake.output.chosen), chosen)
