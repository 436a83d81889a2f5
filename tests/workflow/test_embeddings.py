"""Features of others in a study: the head that is trained on them, and what imports them anew."""

import os
import shutil

import h5py
import pytest

from histobench.core import prepared
from histobench.core.runs import read_json
from support import embeddings
from support.project import NOTHING, TINY, TINY_CONFIG, plan, snakemake

pytestmark = pytest.mark.slow

# Our own cached features, as TRIDENT would have written them.
CONFIG = """
models: {theirs: {embeddings: {format: trident, path: ../theirs, encoder: Ours}}}
matrix: [{datasets: [idc-simulated], models: [theirs], modes: [tl], recipes: [tiny], devices: [cpu], seeds: [1]}]
"""
RUN = "results/tiny/runs/idc-simulated/{}/tl/tiny/cpu/seed-1"
METRICS = f"{RUN.format('theirs')}/metrics.json"
IMPORTED = "results/tiny/features/idc-simulated/theirs/paper/cpu"
OURS = "results/tiny/features/idc-simulated/mobilenet/paper/cpu"


def test_a_head_on_our_own_features_as_others_write_them_is_our_head(copy):
    index = prepared.index(copy / "results/data/idc-simulated")
    theirs = embeddings.trident(copy.parent / "theirs", index, embeddings.cached(copy / OURS, index))
    (copy / "theirs.yaml").write_text(CONFIG)
    done = snakemake(copy, *TINY, "theirs.yaml", "--", METRICS)
    assert "rule import_features:" in done
    for split in prepared.SPLITS:
        assert (copy / IMPORTED / f"{split}.npy").read_bytes() == (copy / OURS / f"{split}.npy").read_bytes()
    for name in ("predictions.csv", "metrics.json", "history.csv"):
        ours, others = ((copy / RUN.format(model) / name).read_bytes() for model in ("mobilenet", "theirs"))
        assert ours == others, name
    log = (copy / "results/logs/tiny/features/idc-simulated/theirs/paper/cpu.log").read_text()
    assert "imported 1024 features of 112 patches; 0 of 112 rows belong to none of them" in log

    options = (*TINY_CONFIG, "theirs.yaml", "--", METRICS)
    for path in (theirs, *theirs.iterdir()):
        os.utime(path)
    (theirs / "90001.txt").write_text("Nothing that belongs to the format.")
    assert NOTHING in snakemake(copy, "-n", *options)

    with h5py.File(theirs / "90001.h5", "a") as file:
        before = file["features"][0, 0]
        file["features"][0, 0] += 1
    planned = plan(copy, *options)
    assert {name: planned[name] for name in ("import_features", "train", "predict")} == dict.fromkeys(
        ("import_features", "train", "predict"), 1
    )
    # The features come out as before: the run is restored without Keras.
    with h5py.File(theirs / "90001.h5", "a") as file:
        file["features"][0, 0] = before
        file.attrs["a note"] = "of no importance"
    about = (copy / RUN.format("theirs") / "run.json").read_bytes()
    snakemake(copy, *TINY, "theirs.yaml", "--", METRICS)
    assert (copy / RUN.format("theirs") / "run.json").read_bytes() == about

    shutil.rmtree(theirs)
    gone = snakemake(copy, "-n", *options)
    assert NOTHING in gone
    assert "models.theirs.embeddings.path: ../theirs: not found; the features that were imported from it before" in gone
    shutil.rmtree(copy / IMPORTED)
    (copy / METRICS).unlink()
    shutil.rmtree(copy / RUN.format("theirs"))
    refused = snakemake(copy, "-n", *options, fails=True)
    assert "../theirs" in refused
    assert read_json(copy / "results/tiny/study.json")["models"]["theirs"]["embeddings"]["format"] == "trident"
