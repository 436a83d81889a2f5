"""Rule `figure_examples`: Figures 1 and 2, example patches of both classes."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.formats import FORMATS
    from histobench.core.prepared import Records, manifest
    from histobench.results import collect, figure_data
    from histobench.results.announcements import announcements
    from histobench.results.figures import patches, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    dataset = snakemake.wildcards.dataset
    notes = announcements(runs[runs["dataset"] == dataset], cells[cells["dataset"] == dataset])
    data = Path(snakemake.input.manifest).parent
    test = Records(data, "test")
    chosen = figure_data.example_positions(test.labels, patches.COLUMNS)
    figure = patches.examples(test.take(chosen), test.labels[chosen], FORMATS[manifest(data)["format"]].centre)
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
