"""Rule `report`: the study on one page that opens offline."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.core.files import read_sealed
    from histobench.results import report, report_content
    from histobench.results.inputs import Inputs

    study = snakemake.params.study
    inputs = Inputs(dict(snakemake.input.items()), "", study)
    manifests = {
        name: read_sealed(Path(path))
        for name, path in zip(study["run_datasets"], snakemake.input.manifests, strict=True)
    }
    report.write(
        Path(snakemake.output.page),
        title=f"Study {study['name']}",
        lead=report_content.lead(inputs.runs, inputs.cells, manifests),
        announcements=inputs.announcements(),
        sections=report_content.sections(snakemake.params.datasets, inputs.files["tables"], inputs.files["figures"]),
        facts=report_content.facts(
            inputs.runs,
            manifests,
            [read_sealed(path) for path in inputs.files["about"]],
            snakemake.params.left_out,
        ),
        configuration=snakemake.params.configuration,
    )
