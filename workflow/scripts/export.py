"""Rule `export`: the network of the chosen run on a data set as files that others open."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import export

    export.export(
        chosen=Path(snakemake.input.chosen),
        abouts=[Path(path) for path in snakemake.input.runs],
        data={name: Path(path) for name, path in snakemake.params.data.items()},
        weights={model: Path(path) if path else None for model, path in snakemake.params.weights.items()},
        folder=Path(snakemake.output.keras).parent,
        about=Path(snakemake.output.about),
    )
