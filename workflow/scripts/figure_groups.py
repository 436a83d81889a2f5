"""Rule `figure_groups`: accuracy of the cells on a data set, slide by slide or patient by patient."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data
    from histobench.results.announcements import announcements
    from histobench.results.figures import groups, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    dataset = snakemake.wildcards.dataset
    notes = announcements(runs[runs["dataset"] == dataset], cells[cells["dataset"] == dataset])
    shown = figure_data.labelled(runs, cells, dataset)
    without = (
        figure_data.NO_RUN if shown.empty else "The slides or patients of some or all of these patches are unknown."
    )
    figure = groups.per_group(figure_data.groups(shown), without)
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
