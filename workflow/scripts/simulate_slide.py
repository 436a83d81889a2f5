"""Rule `simulate_slide`: a simulated slide, and the labels of its patches."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import simulated_slide

    output = snakemake.output
    simulated_slide.write(Path(output.slide), Path(output.labels), int(snakemake.wildcards.seed))
