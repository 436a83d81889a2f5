"""Rule `fetch_weights`: one file of pretrained weights, verified."""

from histobench.core import job

with job.start(snakemake, watched=True):
    from pathlib import Path

    from histobench.core import downloads
    from histobench.core.files import Remote

    remote, mirror = Remote(**snakemake.params.remote), snakemake.config.get("downloads", {}).get("mirror")
    if remote.url and "://" not in remote.url:
        # A path of one's own: its folder is the mirror of this one file. A bare name is looked for in the mirror.
        folder = Path(remote.url).parent
        mirror = mirror if mirror and folder == Path() else str(folder)
    downloads.fetch(snakemake.wildcards.file, remote, Path(snakemake.output[0]), mirror=mirror, folder="weights")
