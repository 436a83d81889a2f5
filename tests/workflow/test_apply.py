"""Slides and patches of one's own, scored by really running Snakemake: no run, no data set, no training."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from support.project import LOCAL, copy_project, plan, snakemake
from support.slides import SIDE, export, tissue, write
from support.slides import score as expected

pytestmark = pytest.mark.slow

CONFIGURED = ("--configfile", "config/config.yaml", "apply.yaml")
APPLY = (*LOCAL, "apply", *CONFIGURED)
WARD = "results/paper/apply/ward"


def configure(project, apply):
    (project / "apply.yaml").write_text(yaml.safe_dump({"apply": apply}))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two slides that are scored, beside one without tissue and one that is cut off; and patches."""
    project = copy_project(tmp_path_factory.mktemp("apply") / "project")
    mine = project / "mine"
    export(mine / "model")
    for number, name in enumerate(("a", "case 1/b")):
        write(mine / f"slides/{name}.tif", tissue(500, 300, seed=number), microns_per_pixel=0.5)
    write(mine / "slides/blank.tif", np.full((300, 300, 3), 245, np.uint8))
    whole = write(mine / "slides/cut.tif", tissue(500, 300)).read_bytes()
    (mine / "slides/cut.tif").write_bytes(whole[: len(whole) // 2])
    (mine / "new").mkdir()
    for number, patch in enumerate(np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)):
        Image.fromarray(patch).save(mine / f"new/{number}.png")
    model = {"model": "mine/model"}
    configure(
        project, {"ward": model | {"slides": "mine/slides", "stride": 16}, "new": model | {"patches": "mine/new"}}
    )
    output = snakemake(project, *APPLY, "--cores", "2", fails=True)
    return project, output


def test_bad_slides_fail_with_what_to_do_and_the_others_are_finished(scored):
    project, output = scored
    assert re.search(r"blank\.tif: expected tissue, found none", output)
    assert re.search(r"cut\.tif: expected a slide that OpenSlide reads.*copy it anew", output)
    for name in ("a", "case 1/b"):
        folder = project / f"{WARD}/cpu/{name}"
        assert {path.name for path in folder.iterdir() if path.suffix} >= {
            *("scores.parquet", "about.json", "overview.jpg", "map.png", "scores.geojson")
        }
        table = pd.read_parquet(folder / "scores.parquet")
        assert len(table) == len(json.loads((folder / "scores.geojson").read_text())["features"])
    for name in ("blank", "cut"):
        assert not list((project / f"{WARD}/cpu/{name}").glob("[!.]*"))
    assert not (project / f"{WARD}/index.html").exists()


def test_patches_have_a_page_too(scored):
    project, _ = scored
    folder = project / "results/paper/apply/new"
    found = pd.read_parquet(folder / "cpu/scores.parquet").set_index("patch")["score"]
    for path in sorted((project / "mine/new").iterdir()):
        assert found[path.name] == pytest.approx(expected(np.asarray(Image.open(path))[None])[0], abs=1e-5)
    assert "Not for diagnosis" in (folder / "index.html").read_text()


def test_nothing_is_trained_or_downloaded_for_it(scored):
    project, _ = scored
    assert not list((project / "results").glob("d*"))
    assert not list((project / "results/paper").glob("runs"))


def test_without_the_bad_slides_the_page_is_made_and_nothing_is_left_to_do(scored):
    project, _ = scored
    for name in ("blank", "cut"):
        (project / f"mine/slides/{name}.tif").unlink()
    planned = plan(project, *APPLY)
    assert planned == {"scored_page": 1, "apply": 1, "total": 2}
    snakemake(project, *APPLY)
    assert pd.read_csv(project / f"{WARD}/scored.csv")["name"].tolist() == ["a", "case 1/b"]
    assert not plan(project, *APPLY)
    # Patches count by their content, and by it alone.
    for path in (project / "mine/new").iterdir():
        path.touch()
    assert not plan(project, *APPLY)
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(project / "mine/new/6.png")
    assert plan(project, *APPLY) == {"score_patches": 1, "scored_page": 1, "apply": 1, "total": 3}
    # Another model scores all anew.
    for path in (project / "mine/model").iterdir():
        path.unlink()
    (project / "mine/model").rmdir()
    export(project / "mine/model", threshold=0.6)
    assert plan(project, *APPLY)["score_slide"] == 2


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"model": "mine/gone", "slides": "mine/slides"}, "found 'mine/gone', where there is no folder"),
        ({"model": "pcan", "slides": "mine/slides"}, "where there is no folder; did you mean 'pcam'?"),
        ({"model": "mine/slides", "slides": "mine/slides"}, "found 'mine/slides', without model.json and model.keras"),
        ({"model": "pcam", "slides": "mine/gone"}, "apply.ward.slides: there is no mine/gone"),
        (
            {"model": "mine/model", "slides": "mine/slides", "labels": "mine/gone.csv"},
            "labels: there is no mine/gone.csv",
        ),
        ({"model": "mine/model", "patches": "mine/gone"}, "apply.ward.patches: there is no mine/gone"),
        (
            {"model": "mine/model", "patches": "mine/new", "labels": "mine/wrong.csv"},
            "apply.ward.labels: mine/wrong.csv, line 2: expected the label 1 (tumour) or 0, found 'tumor'",
        ),
    ],
)
def test_what_is_not_there_or_wrong_is_named_before_anything_is_scored(scored, block, message):
    project, _ = scored
    (project / "mine/wrong.csv").write_text("patch,label\n0.png,tumor\n")
    configure(project, {"ward": block})
    assert message in snakemake(project, *APPLY, "-n", fails=True)
    # Nothing else minds.
    assert "collect_runs" in plan(project, *LOCAL, *CONFIGURED)


def test_a_model_of_the_study_is_made_first(scored):
    project, _ = scored
    configure(project, {"ward": {"model": "pcam", "slides": "mine/slides"}})
    planned = plan(project, *APPLY)
    assert (planned["score_slide"], planned["export"], planned["describe_model"]) == (2, 1, 1)
    assert planned["train"] > 10
    assert "this study exports no model of pcam" in snakemake(
        project, *APPLY, "-n", "--config", "export=[]", fails=True
    )
    assert "nothing to score" in snakemake(project, *LOCAL, "apply", "-n", fails=True)
