"""Rule `surest_errors`: the test patches that the best run on the validation patches gets wrong, and is surest of."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data
    from histobench.results.cells import without_averages
    from histobench.results.columns import write_csv
    from histobench.results.figures import gallery

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    shown = figure_data.labelled(without_averages(runs, cells), cells, snakemake.wildcards.dataset)
    write_csv(Path(snakemake.output.errors), figure_data.surest_errors(shown, gallery.PER_ROW))
