"""Rule `table`: a table of the registry."""

from histobench.core import job

with job.start(snakemake):
    from importlib import import_module
    from pathlib import Path

    from histobench.results import printing
    from histobench.results.inputs import Inputs

    module = import_module(f"histobench.{snakemake.params.module.replace('/', '.')}")
    make = getattr(module, snakemake.params.function)
    inputs = Inputs(dict(snakemake.input.items()), snakemake.params.dataset, snakemake.params.study)
    printing.write(make(inputs), Path(snakemake.output.html).with_suffix(""), inputs.study["name"])
