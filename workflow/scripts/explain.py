"""Rule `explain`: heat maps of the errors of a data set's chosen run, where the network looked."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import explain

    explain.explain(
        errors=Path(snakemake.input.errors),
        abouts=[Path(path) for path in snakemake.input.runs],
        data=Path(snakemake.input.manifest).parent,
        weights={model: Path(path) if path else None for model, path in snakemake.params.weights.items()},
        output=Path(snakemake.output.heatmaps),
    )
