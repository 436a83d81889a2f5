"""Rule `controls`: the floor that a CNN must beat, and the control that must be chance, on a data set's own split."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import prepared
    from histobench.core.files import write_sealed
    from histobench.core.runs import write_predictions
    from histobench.results import controls, evaluation

    folds = [prepared.index(Path(path).parent, controls.COLUMNS) for path in snakemake.input.manifest]
    predictions = Path(snakemake.output.predictions)
    write_predictions(predictions, controls.colour_floor(*folds).itertuples(index=False, name=None))
    evaluation.write(predictions, Path(snakemake.output.metrics), Path(snakemake.output.replicates))
    write_sealed(Path(snakemake.output.shuffled), controls.shuffled_labels(*folds))
