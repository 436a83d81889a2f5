"""Rules `draw_figures` and `draw_galleries`: figures of the study, in one process."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import items
    from histobench.results.figures import style

    items.make(
        snakemake.params.made,
        dict(snakemake.input.items()),
        snakemake.params.study,
        Path(snakemake.output[0]).parent,
        lambda drawn, inputs, stem: style.save(drawn[0], stem, [*inputs.announcements(*drawn[2:]), *drawn[1]]),
    )
