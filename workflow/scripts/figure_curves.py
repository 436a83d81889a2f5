"""Rule `figure_curves`: ROC and precision-recall curves of the cells on a data set."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data
    from histobench.results.announcements import announcements
    from histobench.results.figures import curves, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    dataset = snakemake.wildcards.dataset
    notes = announcements(runs[runs["dataset"] == dataset], cells[cells["dataset"] == dataset])
    shown = figure_data.labelled(runs, cells, dataset)
    scores, best = figure_data.scores(shown), figure_data.best_on_validation(shown)
    for figure, path in (
        (curves.roc(scores, best), snakemake.output.roc_svg),
        (curves.precision_recall(scores, best), snakemake.output.precision_recall_svg),
    ):
        style.save(figure, Path(path).with_suffix(""), notes)
