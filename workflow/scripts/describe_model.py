"""Rule `describe_model`: what others must know of an exported model, for programs and for people."""

from histobench.core import job

with job.start(snakemake):
    import shutil
    from pathlib import Path

    from histobench.core import prepared
    from histobench.core.files import atomic, read_sealed, write_json, write_text
    from histobench.results import announcements, collect, exported_model, model_card
    from histobench.results.cells import without_averages

    files = {name: Path(path) if path else None for name, path in snakemake.input.items()}
    runs, cells = (collect.read(files[name]) for name in ("runs", "cells"))
    cells = without_averages(cells, cells)
    folder = Path(snakemake.output.card).parent
    model = exported_model.describe(
        read_sealed(files["about"]),
        runs,
        prepared.manifest(files["manifest"].parent),
        study=snakemake.params.study,
        microns_per_pixel=snakemake.params.microns_per_pixel,
        robustness=files["robustness"],
        external=files["external"],
    )
    made = {name: files[Path(name).stem] for name in model_card.PICTURES}
    shown = [name for name in model_card.pictures(model, files["errors"]) if made[name]]
    for name, picture in made.items():
        if name in shown:
            with atomic(folder / name) as path:
                shutil.copyfile(picture, path)
        else:  # of a run that was exported before
            (folder / name).unlink(missing_ok=True)
    write_json(Path(snakemake.output.model), model)
    notes = announcements.of_run(runs, cells, model["run"])
    write_text(Path(snakemake.output.card), model_card.markdown(model, notes, shown))
