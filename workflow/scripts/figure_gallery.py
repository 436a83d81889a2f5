"""Rule `figure_gallery`: the surest errors of the best run on a data set, and where it looked."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from histobench.core.prepared import Records
    from histobench.results import collect, figure_data
    from histobench.results.announcements import announcements
    from histobench.results.cells import MODE_NAMES
    from histobench.results.figures import gallery, style

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    dataset = snakemake.wildcards.dataset
    notes = announcements(runs[runs["dataset"] == dataset], cells[cells["dataset"] == dataset])
    errors = pd.read_csv(
        snakemake.input.errors, dtype={"patch_id": str, "group": str, "run": str}, keep_default_na=False
    )
    test = Records(Path(snakemake.input.manifest).parent, "test")
    position = {patch: place for place, patch in enumerate(test.ids)}
    images = test.take(np.array([position[patch] for patch in errors["patch_id"]], np.int64))
    maps = {}
    if snakemake.input.heatmaps:
        with np.load(snakemake.input.heatmaps[0]) as file:
            if set(errors["run"]) == {str(file["run"])}:  # not those of an earlier choice
                maps = dict(zip(file["patch_id"].tolist(), file["heatmap"], strict=True))
    if any(heatmap.size == 1 for heatmap in maps.values()):
        maps = {}
        notes.append("Without Grad-CAM: the last feature map of this network is a single value for a whole patch.")
    if figure_data.labelled(runs, cells, dataset).empty:
        notes.append(figure_data.NO_RUN)
    for run in runs[runs["folder"].isin(errors["run"])].itertuples():
        notes.append(f"{run.name}, {MODE_NAMES[run.mode]}, seed {run.seed}: the best run on the validation patches.")
    figure = gallery.gallery(figure_data.errors_with_patches(errors, images, maps))
    style.save(figure, Path(snakemake.output.svg).with_suffix(""), notes)
