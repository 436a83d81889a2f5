"""Rule `figure_searches`: the trials of all searches, and tuned against untuned."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect
    from histobench.results.announcements import announcements
    from histobench.results.figures import search, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    notes = announcements(runs, cells)
    for drawn, svg in (
        (search.trials(collect.read(Path(snakemake.input.trials))), snakemake.output.trials_svg),
        (search.tuned(collect.read(Path(snakemake.input.searches))), snakemake.output.tuned_svg),
    ):
        style.save(drawn, Path(svg).with_suffix(""), notes)
