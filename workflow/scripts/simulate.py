"""Rules `simulate_pcam` and `simulate_idc`: simulated patches as files of the upstream format."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import simulation, source_files

    write = getattr(simulation, f"write_{snakemake.params.format}")
    write(Path(snakemake.output[0]).parent, **snakemake.params.simulate)
    for path in snakemake.output:
        source_files.record(Path(path))
