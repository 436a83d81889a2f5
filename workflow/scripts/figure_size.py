"""Rule `figure_size`: Figure 3, AUC of full runs against depth and against parameters."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, figure_data, paper, performance, sizes
    from histobench.results.announcements import announcements
    from histobench.results.figures import size, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    published, names = paper.read(Path(snakemake.input[0]).parent).sizes, snakemake.params.names
    standing = performance.standing(performance.read(map(Path, snakemake.input.performance)), cells)
    counted = sizes.read(Path(snakemake.input.sizes[0]) if snakemake.input.sizes else None, published, names)
    standing = standing[standing["mode"] == "full"]
    points = figure_data.points(standing).merge(
        sizes.in_short(counted, published).rename(columns={"model": "key", "all_layers": "layers"}), on="key"
    )
    notes = [*announcements(runs, cells), *figure_data.notes_on_published(standing)]
    style.save(size.auc_against_size(points), Path(snakemake.output.svg).with_suffix(""), notes)
