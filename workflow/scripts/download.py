"""Rule `download`: one upstream file, verified."""

from histobench.core import job

with job.start(snakemake, watched=True):
    from pathlib import Path

    from histobench.core import downloads
    from histobench.core.files import Remote

    downloads.fetch(
        snakemake.wildcards.file,
        Remote(**snakemake.params.remote),
        Path(snakemake.output[0]),
        mirror=snakemake.config.get("downloads", {}).get("mirror"),
        folder=snakemake.wildcards.source,
    )
