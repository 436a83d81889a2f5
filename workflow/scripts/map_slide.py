"""Rule `map_slide`: the map of a slide's scores, its tiles for QuPath, and its row in the table of all slides."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import slide_scores

    target = Path(snakemake.output.map)
    slide_scores.write_map(target.parent, snakemake.wildcards.slide, target)
