"""Rule `controls`: the floor that a CNN must beat, and the control that must be chance, on a data set's own split."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.datasets import prepared
    from histobench.files import write_json
    from histobench.results import controls, evaluation
    from histobench.runs import write_rows

    index = prepared.index(Path(snakemake.input.manifest).parent)
    predictions = Path(snakemake.output.predictions)
    write_rows(predictions, controls.colour_floor(index).to_dict("records"))
    evaluation.write(predictions, Path(snakemake.output.metrics), Path(snakemake.output.replicates))
    write_json(Path(snakemake.output.shuffled), controls.shuffled_labels(index))
