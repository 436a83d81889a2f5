"""Rule `download`: one upstream file, verified."""

from histobench.core import job

with job.start(snakemake, watched=True):
    from pathlib import Path

    from histobench.core import downloads

    downloads.fetch(
        snakemake.wildcards.file,
        snakemake.params.remote,
        Path(snakemake.output[0]),
        mirror=snakemake.config.get("downloads", {}).get("mirror"),
        folder=snakemake.wildcards.source,
    )
