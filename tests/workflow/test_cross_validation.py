"""Cross-validation and parts of training patches, by really running Snakemake on simulated patients."""

import json
from collections import Counter

import pandas as pd
import pytest

from histobench.core import prepared
from support.project import NOTHING, TINY, TINY_CONFIG, plan, snakemake

pytestmark = pytest.mark.slow

CONFIG = """
datasets:
  cv: {source: idc-simulated, split: {by: group, folds: 3, seed: 1}}
  half: {subset_of: cv, train_fraction: 0.5}
matrix:
  - {datasets: [cv, half], models: [b2], modes: [full], recipes: [tiny], devices: [cpu], seeds: [1]}
  - {datasets: [cv], models: [mobilenet], modes: [tl], recipes: [tiny], devices: [cpu], seeds: [1]}
"""
RESULT = "results/tiny/runs/cv/b2/full/tiny/cpu/seed-1"
LEAKS = "results/tiny/tables/leaks_cv.csv"
FIGURE = "results/tiny/figures/auc_against_training_data.png"


def test_folds_are_trained_apart_and_are_one_row(project):
    (project / "cv.yaml").write_text(CONFIG)
    options = (*TINY_CONFIG, "cv.yaml", "--", "results/tiny/runs.csv", FIGURE, LEAKS)
    planned = Counter(plan(project, *options))
    assert planned["train"] == planned["predict"] == 9
    assert (planned["prepare_unsplit"], planned["extract_features_unsplit"]) == (1, 1)
    assert (planned["gather"], planned["evaluate"], planned["select_patches"]) == (3, 0, 6)
    snakemake(project, *TINY, "cv.yaml", "--", "results/tiny/runs.csv", FIGURE, LEAKS)

    runs = pd.read_csv(project / "results/tiny/runs.csv").set_index(["dataset", "model"])
    assert len(runs) == 3
    whole = prepared.manifest(project / "results/data/cv")["patches"]["all"]
    assert set(runs["n_test"]) == {whole["n"]}
    halves = [len(prepared.index(project / f"results/data/half.seed-1.fold-{k}", split="train")) for k in (1, 2, 3)]
    folds = [len(prepared.index(project / f"results/data/cv.fold-{k}", split="train")) for k in (1, 2, 3)]
    assert halves == [round(0.5 * number) for number in folds]
    assert runs.loc[("half", "b2"), "n_train"] == round(sum(halves) / 3)
    # The result is of the scores that the folds gave, each patch by the model that had not seen its patient.
    gathered = pd.read_csv(project / RESULT / "predictions.csv").query("split == 'test'").set_index("patch_id")
    for fold in (1, 2, 3):
        folder = project / RESULT.replace("/cv/", f"/cv.fold-{fold}/")
        own = pd.read_csv(folder / "predictions.csv").query("split == 'test'").set_index("patch_id")
        index = prepared.index(project / f"results/data/cv.fold-{fold}")
        assert set(own.index) == set(index.loc[index["split"] == "test", "patch_id"])
        assert gathered.loc[own.index, "score"].equals(own["score"])
        assert not set(own["group"]) & set(index.loc[index["split"] != "test", "group"])
        assert not (folder / "metrics.json").exists()
    about = json.loads((project / RESULT / "run.json").read_text())
    assert [name.split("/")[3] for name in about["members"]] == [f"cv.fold-{fold}" for fold in (1, 2, 3)]

    # Folds are the parts that the audit looks at.
    audit = json.loads((project / "results/data/cv/audit.json").read_text())
    assert {row["part"] for row in audit["counts"]} == {"fold-1", "fold-2", "fold-3"}
    assert sum(row["patches"] for row in audit["counts"] if row["part"] == row["beside"]) == whole["n"]
    leaks = pd.read_csv(project / LEAKS)
    assert leaks["n"].iloc[0] == whole["n"]

    # What would be the same for a subset is shown once.
    page = snakemake(project, "-n", *TINY_CONFIG, "cv.yaml")
    for name in ("figures/examples_{}.svg", "tables/contradicted_{}.csv", "figures/contradicted_patches_{}.svg"):
        assert name.format("cv") in page
        assert name.format("half") not in page
    assert "figures/gallery_half.svg" in page

    # A reader of results alone gathers what is there, and trains nothing.
    (project / RESULT / "metrics.json").unlink()
    gaps = Counter(
        plan(project, "--config", "missing_runs=gap", *TINY_CONFIG, "cv.yaml", "--", f"{RESULT}/metrics.json")
    )
    assert (gaps["gather"], gaps["train"]) == (1, 0)
    # Other folds train anew; the patches stay as they are.
    (project / "cv.yaml").write_text(CONFIG.replace("seed: 1}}", "seed: 2}}"))
    planned = Counter(plan(project, *options))
    assert (planned["prepare_unsplit"], planned["extract_features_unsplit"], planned["train"]) == (0, 0, 9)
    (project / "cv.yaml").write_text(CONFIG)
    snakemake(project, *TINY, "cv.yaml", "--", f"{RESULT}/metrics.json")
    assert NOTHING in snakemake(project, "-n", *options)
