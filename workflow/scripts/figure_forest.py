"""Rule `figure_forest`: our AUCs beside the published ones."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, performance
    from histobench.results.announcements import announcements
    from histobench.results.figures import forest, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    standing = performance.standing(performance.read(map(Path, snakemake.input.performance)), cells)
    notes = [*announcements(runs, cells), *figure_data.notes_on_published(standing)]
    figure = forest.forest(figure_data.points(standing, snakemake.params.names))
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
