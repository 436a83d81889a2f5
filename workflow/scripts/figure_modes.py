"""Rule `figure_modes`: Figure 4, AUC by mode, and our AUCs beside the published ones, model by model."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, performance
    from histobench.results.announcements import announcements
    from histobench.results.figures import forest, modes, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    standing = performance.standing(performance.read(map(Path, snakemake.input.performance)), cells)
    notes = [*announcements(runs, cells), *figure_data.notes_on_published(standing)]
    points = figure_data.points(standing)
    for figure, path in (
        (modes.auc_by_mode(points), snakemake.output.auc_by_mode_svg),
        (forest.forest(points), snakemake.output.forest_svg),
        (forest.forest(points, narrow=True), snakemake.output.forest_narrow_svg),
    ):
        style.save(figure, Path(path).with_suffix(""), notes)
