"""Rule `prepare`: upstream files to records, index and manifest."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import datasets
    from histobench.core.files import digest
    from histobench.train import records

    dataset = snakemake.params.dataset
    tally = datasets.Tally()
    records.write(
        Path(snakemake.output.manifest).parent,
        datasets.read(dataset, tally),
        tally,
        {
            "dataset": dataset.name,
            "source": dataset.source.name,
            "format": dataset.source.format,
            "patches_are": dataset.source.patches,
            "split": dataset.split,
            "leaky": dataset.leaky,
            "source_sha256": {Path(path).name: digest(Path(path)) for path in snakemake.input if Path(path).is_file()},
        },
    )
