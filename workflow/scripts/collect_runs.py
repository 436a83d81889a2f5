"""Rule `collect_runs`: the tidy table of all runs of the study, and that of the cells that it asked for."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect

    collect.write(
        Path(snakemake.output.runs),
        folders=[Path(path).parent for path in snakemake.input.about],
        data={
            name: Path(path) for name, path in zip(snakemake.params.datasets, snakemake.input.manifests, strict=True)
        },
        controls={
            name: Path(path) for name, path in zip(snakemake.params.datasets, snakemake.input.controls, strict=True)
        },
        names=snakemake.params.names,
        timing_only=snakemake.params.timing_only,
    )
    collect.write_cells(Path(snakemake.output.cells), snakemake.params.cells)
