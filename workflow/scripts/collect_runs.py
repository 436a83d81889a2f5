"""Rule `collect_runs`: the tidy tables of all runs of the study, of the cells that it asked for, and of its jobs."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    import pandas as pd

    from histobench.core import usage
    from histobench.core.files import write_text
    from histobench.results import collect
    from histobench.results.columns import write_csv

    folders = [Path(path).parent for path in snakemake.input.about]
    collect.write(
        Path(snakemake.output.runs),
        folders=folders,
        data=dict(zip(snakemake.params.datasets, map(Path, snakemake.input.manifests), strict=True)),
        controls=dict(zip(snakemake.params.datasets, map(Path, snakemake.input.controls), strict=True)),
        names=snakemake.params.names,
        timing_only=snakemake.params.timing_only,
        encoders=snakemake.params.encoders,
        subsets=snakemake.params.subsets,
    )
    write_csv(Path(snakemake.output.cells), pd.DataFrame(snakemake.params.cells))
    results, logs = Path(snakemake.output.jobs).parent, Path(snakemake.log[0]).parent
    jobs = usage.of_study(results, logs, usage.trained(folders), snakemake.params.prepared)
    write_text(Path(snakemake.output.requests), usage.block([*jobs, *snakemake.params.requests.jobs]))
    collect.write_jobs(Path(snakemake.output.jobs), usage.with_accounts(jobs))
