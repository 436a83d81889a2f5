"""Rule `train`: one run, from records to the weights of its best epoch."""

from histobench import job

with job.start(snakemake):
    import datetime
    from pathlib import Path

    from histobench.train import hardware, provenance, run

    started = datetime.datetime.now(datetime.UTC)
    spec, gpu_model = snakemake.params.spec, snakemake.resources.gpu_model
    hardware.check(spec["run"]["device"], gpu_model)
    manifest, about = Path(snakemake.input.manifest), Path(snakemake.output.about)
    weights = Path(snakemake.input.weights[0]) if snakemake.input.weights else None
    facts = run.train(spec=spec, data=manifest.parent, weights=weights, folder=about.parent)
    provenance.write(
        about,
        spec=spec,
        facts=facts,
        code=snakemake.params.code,
        inputs={"manifest": manifest, "weights": weights},
        threads=snakemake.threads,
        gpu_model=gpu_model,
        started=started,
    )
