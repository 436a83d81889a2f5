"""Rule `figure`: a figure of the registry."""

from histobench.core import job

with job.start(snakemake):
    from importlib import import_module
    from pathlib import Path

    from histobench.results.figures import style
    from histobench.results.inputs import Inputs

    module = import_module(f"histobench.{snakemake.params.module.replace('/', '.')}")
    make = getattr(module, snakemake.params.function)
    inputs = Inputs(dict(snakemake.input.items()), snakemake.params.dataset, snakemake.params.study)
    figure, notes = make(inputs)
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), [*inputs.announcements(), *notes])
