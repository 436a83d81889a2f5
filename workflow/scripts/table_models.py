"""Rule `table_models`: Table 1, published sizes beside ours under each definition."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import paper, sizes, tables

    published = paper.read(Path(snakemake.input[0]).parent).sizes
    names = snakemake.params.names
    ours = sizes.read(Path(snakemake.input.sizes[0]) if snakemake.input.sizes else None, published, names)
    tables.write(
        sizes.compare(ours, published, names),
        Path(snakemake.output.html).with_suffix(""),
        f"Models, study {snakemake.params.study}",
        footnotes=sizes.NOTES,
        first=sizes.FIRST,
    )
