"""Rule `report`: the study on one page that opens offline."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core import runs as run_folder
    from histobench.results import collect, report, report_content
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    manifests = {
        name: run_folder.read_json(Path(path))
        for name, path in zip(snakemake.params.run_datasets, snakemake.input.manifests, strict=True)
    }
    report.write(
        Path(snakemake.output.page),
        title=f"Study {snakemake.params.study}",
        lead=report_content.lead(runs, cells, manifests),
        announcements=announcements(runs, cells),
        sections=report_content.sections(
            snakemake.params.study,
            snakemake.params.datasets,
            map(Path, snakemake.input.tables),
            map(Path, snakemake.input.figures),
            snakemake.params.captions,
        ),
        facts=report_content.facts(
            runs,
            manifests,
            [run_folder.read_json(Path(path)) for path in snakemake.input.about],
            snakemake.params.left_out,
        ),
        configuration=snakemake.params.configuration,
    )
