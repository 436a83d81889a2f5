"""Rules `simulate_pcam` and `simulate_idc`: simulated patches as files of the upstream format."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.datasets import simulated

    writers = {"simulate_pcam": simulated.write_pcam, "simulate_idc": simulated.write_idc}
    writers[snakemake.rule](Path(snakemake.output[0]).parent, **snakemake.params.simulate)
