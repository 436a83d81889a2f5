"""Rule `select_patches`: a fold of a cross-validation, or a part of the training patches."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import selections

    selections.write(
        Path(snakemake.output.manifest).parent,
        snakemake.wildcards.dataset,
        snakemake.params.selection,
        snakemake.params.definition,
    )
