"""Rule `score_patches`: scores of patches of one's own, by an exported model."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.scoring import score

    score.score_patches(
        score.job_of(snakemake),
        Path(snakemake.input.patches),
        Path(snakemake.output.scores).parent,
        snakemake.params.content,
    )
