"""Rule `score_slide`: scores of a slide, by an exported model."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import devices
    from histobench.scoring import score

    work = score.Job(
        Path(snakemake.params.model),
        d4=snakemake.params.d4,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=devices.card(job.device(snakemake)),
        device=snakemake.wildcards.device,
    )
    score.score_slide(
        work,
        Path(snakemake.input.slide),
        Path(snakemake.output.scores).parent,
        stride=snakemake.params.stride,
        microns_per_pixel=snakemake.params.microns_per_pixel,
    )
