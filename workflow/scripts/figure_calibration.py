"""Rule `figure_calibration`: reliability diagrams of the cells on a data set."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data
    from histobench.results.announcements import announcements
    from histobench.results.figures import calibration, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    dataset = snakemake.wildcards.dataset
    notes = announcements(runs[runs["dataset"] == dataset], cells[cells["dataset"] == dataset])
    shown = figure_data.labelled(runs, cells, dataset)
    figure = calibration.calibration(figure_data.scores(shown))
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
