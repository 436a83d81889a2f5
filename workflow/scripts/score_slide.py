"""Rule `score_slide`: scores of a slide, by an exported model."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.scoring import score

    score.score_slide(
        score.job_of(snakemake),
        Path(snakemake.input.slide),
        Path(snakemake.output.scores).parent,
        stride=snakemake.params.stride,
        microns_per_pixel=snakemake.params.microns_per_pixel,
    )
