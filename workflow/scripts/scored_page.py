"""Rule `scored_page`: the page and the table of all slides, or of the patches, that an exported model has scored."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import scored_page

    scored_page.write(
        Path(snakemake.output.page),
        Path(snakemake.output.table),
        title=f"{snakemake.wildcards.applied}, study {snakemake.params.study}",
        folders=dict(zip(snakemake.params.names, (Path(path).parent for path in snakemake.input.scored), strict=True)),
        labels=Path(snakemake.input.labels[0]) if snakemake.input.labels else None,
    )
