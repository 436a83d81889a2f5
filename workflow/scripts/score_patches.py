"""Rule `score_patches`: scores of patches of one's own, by an exported model."""

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
    score.score_patches(
        work,
        Path(snakemake.input.patches),
        Path(snakemake.output.scores).parent,
        snakemake.params.content,
    )
