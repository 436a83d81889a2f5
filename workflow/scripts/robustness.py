"""Rule `robustness`: scores of changed test patches of a data set, by the networks of chosen runs."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.train import robustness

    robustness.score(
        chosen=Path(snakemake.input.chosen),
        abouts=[Path(path) for path in snakemake.input.runs],
        data={name: Path(path) for name, path in snakemake.params.data.items()},
        weights={model: Path(path) if path else None for model, path in snakemake.params.weights.items()},
        output=Path(snakemake.output.scores),
    )
