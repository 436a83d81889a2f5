"""Rule `figure_cost`: AUC against the seconds of training."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, performance
    from histobench.results.announcements import announcements
    from histobench.results.figures import cost, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    table = performance.read(map(Path, snakemake.input.performance))
    figure = cost.auc_against_seconds(figure_data.against_seconds(runs, table))
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), announcements(runs, cells))
