"""Patches of one's own: what is prepared anew when their folder changes, by content and not by dates."""

import io
import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from support.project import NOTHING, TINY, TINY_CONFIG, plan, snakemake

pytestmark = pytest.mark.slow

CONFIG = """
sources: {mine: {format: folder, path: patches, patch_size: 32}}
datasets: {mine: {source: mine}}
matrix: [{datasets: [mine], models: [mobilenet], modes: [tl], recipes: [tiny], devices: [cpu], seeds: [1]}]
"""
# The cheapest job that depends on a data set; runs and features depend on the same manifest.
CONTROL = "results/tiny/controls/mine/metrics.json"


def test_another_content_of_the_folder_is_prepared_anew_and_other_dates_are_not(project):
    (project / "mine.yaml").write_text(CONFIG)
    rng = np.random.default_rng(1)
    for split in ("train", "valid", "test"):
        for label in (0, 1):
            folder = project / "patches" / split / str(label)
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(0, 200, (32, 32, 3), np.uint8) + np.uint8(50 * label)
                Image.fromarray(pixels).save(folder / f"{number}.bmp")
    options = (*TINY_CONFIG, "mine.yaml", "--", CONTROL)
    snakemake(project, *TINY, "mine.yaml", "--", CONTROL)
    manifest = (project / "results/data/mine/manifest.json").read_text()
    assert re.search(r'"source_files": \{\s*"number": 48,\s*"bytes": \d+,\s*"sha256": "[0-9a-f]{64}"', manifest)

    for path in [project / "patches", *(project / "patches").rglob("*")]:
        os.utime(path)
    assert NOTHING in snakemake(project, "-n", *options)

    path = project / "patches/train/1/3.bmp"
    before = path.stat()
    ImageOps.invert(Image.open(path)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    planned = plan(project, *options)
    assert (planned["prepare"], planned["controls"]) == (1, 1)

    # A link that leads nowhere is named before anything runs.
    (project / "patches/train/1/x.png").symlink_to("nowhere")
    refused = snakemake(project, "-n", *options, fails=True)
    assert "patches/train/1/x.png: expected a file or a folder, found a symbolic link to nowhere" in refused
    (project / "patches/train/1/x.png").unlink()
    snakemake(project, *TINY, "mine.yaml", "--", CONTROL)

    # Snakemake takes what was prepared before, since nothing can make it.
    (project / "patches").rename(project / "elsewhere")
    gone = "sources.mine.path: patches: not found"
    assert f"{gone}; the patches that were prepared from it before" in snakemake(project, "-n", *options)
    for key, before, now in (("path", "patches", "typo"), ("patch_size", 32, 64)):
        (project / "mine.yaml").write_text(CONFIG.replace(f"{key}: {before}", f"{key}: {now}"))
        refused = snakemake(project, "-n", *options, fails=True)
        key = {"path": "folder"}.get(key, key)
        told = (
            f"the patches in results/data/mine were prepared otherwise: {key} {before!r}, now {now!r}. Correct the path"
        )
        assert told in refused
    # Of a disk that is not mounted.
    (project / "mine.yaml").write_text(CONFIG)
    (project / "patches").mkdir()
    refused = snakemake(project, *TINY, "mine.yaml", "--", CONTROL, fails=True)
    assert "patches: expected patches, found no file below this folder; is its disk mounted?" in refused
    assert (project / "results/data/mine/manifest.json").exists()
    (project / "patches").rmdir()
    # Another name of the same folder.
    (project / "elsewhere").rename(project / "patches")
    (project / "mine.yaml").write_text(CONFIG.replace("path: patches", "path: ./patches/"))
    assert NOTHING in snakemake(project, "-n", *options)


def test_of_a_table_the_files_that_it_lists_count(project):
    source = (
        "{format: table, path: list.csv, root: images.zip, patch_size: 32, labels: {tumour: [bad], normal: [good]}}"
    )
    config = CONFIG.replace("{format: folder, path: patches, patch_size: 32}", source)
    (project / "mine.yaml").write_text(config)
    rng = np.random.default_rng(1)
    lines = ["path,label,split"]
    with zipfile.ZipFile(project / "images.zip", "w") as archive:
        for number in range(24):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 200, (32, 32, 3), np.uint8)).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
            lines.append(f"{number}.png,{('good', 'bad')[number % 2]},{('train', 'valid', 'test')[number % 3]}")
    (project / "list.csv").write_text("\n".join(lines))
    snakemake(project, *TINY, "mine.yaml", "--", CONTROL)
    files = (project / "results/data/mine/source_files.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in files] == ["path", "images.zip", "list.csv"]
    for name in ("images.zip", "list.csv"):
        os.utime(project / name)
    options = (*TINY_CONFIG, "mine.yaml", "--", CONTROL)
    assert NOTHING in snakemake(project, "-n", *options)
    (project / "list.csv").write_text("\n".join(lines[:-1]))
    assert plan(project, *options)["prepare"] == 1
    (project / "images.zip").unlink()
    gone = "sources.mine.root: images.zip: not found; the patches that were prepared from it before"
    assert gone in snakemake(project, "-n", *options)


def test_a_finished_study_is_idle(project):
    """How many patches there are, and so how long jobs may take, is known only when they are prepared."""
    timing = "{epochs: 60, batch_size: 32, optimizer: {name: adam, learning_rate: 0.001}, input_scaling: paper, "
    recipes = f"{{many: {timing}best_epoch: last, timing_only: true}}}}"
    models = "{theirs: {embeddings: {format: npz, path: theirs.npz}}}"
    matrix = "[{datasets: [mine], models: [theirs], modes: [tl], recipes: [many], devices: [cpu], seeds: [1]}]"
    config = f"{CONFIG.partition('matrix')[0]}models: {models}\nrecipes: {recipes}\nmatrix: {matrix}\n"
    (project / "mine.yaml").write_text(config)
    ids, rng = [], np.random.default_rng(1)
    for number in range(24):
        name = f"{('train', 'valid', 'test')[number % 3]}/{number // 3 % 2}/{number}.bmp"
        path = project / "patches" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
        ids.append(name)
    np.savez(project / "theirs.npz", ids=ids, features=rng.normal(size=(24, 4)).astype(np.float32))
    options = (*TINY_CONFIG, "mine.yaml", "--", "results/tiny/runs.csv")
    before = plan(project, *options)
    assert before["collect_runs"] == before["train"] == 1
    snakemake(project, *TINY, "mine.yaml", "--", "results/tiny/runs.csv")
    assert NOTHING in snakemake(project, "-n", *options)
