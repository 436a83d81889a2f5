"""Rule `figure_modes`: Figure 4, AUC by mode."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, performance
    from histobench.results.announcements import announcements
    from histobench.results.figures import modes, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    standing = performance.standing(performance.read(map(Path, snakemake.input.performance)), cells)
    notes = [*announcements(runs, cells), *figure_data.notes_on_published(standing)]
    figure = modes.auc_by_mode(figure_data.points(standing, snakemake.params.names))
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
