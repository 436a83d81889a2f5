"""Rule `prepare`: upstream files to records, index and manifest."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import datasets, source_files
    from histobench.core.errors import HistobenchError
    from histobench.core.files import Remote, write_text
    from histobench.train import records

    dataset = snakemake.params.dataset
    source = dataset.source
    if source.own:
        files = source_files.read(*datasets.files(source), snakemake.threads)
    else:
        files = source_files.read(Path(source.folder), list(source.files), snakemake.threads)
    if snakemake.params.own_files not in ("", files.sha256):
        raise HistobenchError(
            f"{source.folder}: has changed since Snakemake looked at it and made its plan; start again when nothing "
            "writes there"
        )
    # Of simulated files nothing is published.
    files.verify({name: Remote() for name in source.files} if source.simulate else source.files)
    write_text(Path(snakemake.output.source_files), files.table())
    tally = datasets.Tally()
    records.write(
        Path(snakemake.output.manifest).parent,
        files.while_unchanged(datasets.read(dataset, tally)),
        tally,
        {
            "dataset": dataset.name,
            "definition": snakemake.params.definition,
            "source": source.name,
            "format": source.format,
            "patches_are": source.patches,
            "split": dataset.split,
            "leaky": dataset.leaky,
            "source_files": {
                "number": len(files.stamps),
                "bytes": sum(stamp.bytes for stamp in files.stamps.values()),
                "sha256": files.sha256,
            },
        },
        dataset.parts,
    )
