"""Rule `map_slide`: the map of a slide's scores, and its tiles for QuPath."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import slide_scores

    target = Path(snakemake.output.map)
    slide_scores.write_map(target.parent, snakemake.wildcards.slide, target)
