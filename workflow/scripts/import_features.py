"""Rule `import_features`: features that others have computed, for all heads that are trained on them."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.embeddings import importing

    importing.write(
        Path(snakemake.output.about).parent,
        Path(snakemake.input.manifest).parent,
        Path(snakemake.input.embeddings),
        snakemake.params.spec,
        snakemake.params.content,
        snakemake.params.code,
    )
