"""What is made of scores: rows, maps, tiles for QuPath, the page, and what labels say of them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results import labelled_scores, scored_page, slide_scores

MODEL = {
    "study": "tiny", "dataset": "pcam", "run": "results/tiny/runs/x", "model_name": "B2", "mode": "full",
    "recipe": "paper", "patch_size": 32, "microns_per_pixel": 1.0, "threshold": 0.4, "sha256": "ab" * 32,
    "patches_are": "published",
}  # fmt: skip


def about(*, stride=64, **changes):
    told = {
        "slide": "a.tif", "width": 1300, "height": 900, "slide_microns_per_pixel": 0.5, "patch_width_in_level_0": 64.0,
        "stride_in_level_0": float(stride), "columns": (1300 - 64) // stride + 1, "rows": (900 - 64) // stride + 1,
        "without_tissue": 7, "scored": 60, "d4": False, "model": MODEL,
    }  # fmt: skip
    return told | changes


def scores(*, stride=64, n=60, seed=0):
    rng = np.random.default_rng(seed)
    told = about(stride=stride)
    places = rng.choice(told["rows"] * told["columns"], n, replace=False)
    frame = pd.DataFrame({"column": places % told["columns"], "row": places // told["columns"]}, dtype=np.int32)
    return frame.assign(x=frame["column"] * stride, y=frame["row"] * stride, score=rng.random(n, np.float32))


def test_a_row_tells_the_share_above_the_threshold_and_the_mean_of_the_highest():
    found = scores(n=150)
    row = slide_scores.summary("a", found, about())
    values = np.sort(found["score"].to_numpy(float))
    assert (row["scored"], row["left_out"]) == (150, 7)
    assert row["above"] == pytest.approx((values > 0.4).mean())
    assert row["highest"] == pytest.approx(values[-2:].mean())  # of 1.5 patches
    assert row["mean_score"] == pytest.approx(values.mean())
    assert slide_scores.summary("a", found.head(3), about())["highest"] == pytest.approx(found["score"].head(3).max())
    assert slide_scores.threshold(about(model=MODEL | {"threshold": None})) == 0.5
    of_patches = {"left_out": {"not 32x32 px": 3, "not an image": 2}, "model": MODEL}
    assert slide_scores.summary("a", found, of_patches)["left_out"] == 5


@pytest.mark.parametrize("stride", [64, 20, 100])
def test_tiles_are_a_feature_collection_as_qupath_writes_it(tmp_path, stride):
    """File > Object data > Export as GeoJSON: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html."""
    found, told = scores(stride=stride), about(stride=stride)
    slide_scores.write_geojson(tmp_path / "a.geojson", found, told)
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(found)
    width = min(stride, 64)
    for feature, row in zip(collection["features"], found.itertuples(), strict=True):
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "tile"
        assert feature["properties"]["measurements"] == {"Tumour probability": pytest.approx(row.score)}
        assert (feature["properties"].get("classification", {}).get("name") == "Tumor") == (row.score > 0.4)
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        corners = np.array(ring[:4])
        # In pixels of the slide at full resolution, in the middle of the patch, as wide as the way to the next.
        assert (corners.mean(axis=0) == [row.x + 32, row.y + 32]).all()
        assert (np.ptp(corners, axis=0) == width).all()


@pytest.mark.parametrize("stride", [20, 100])
def test_the_map_shows_each_score_at_its_place(stride):
    found, told = scores(stride=stride), about(stride=stride)
    overview = np.full((450, 650, 3), 240, np.uint8)
    figure = slide_scores.draw("a", found, told, overview)
    left, right = figure.axes[:2]
    assert left.get_xlim() == right.get_xlim() == (0, 1300)
    assert left.get_ylim() == right.get_ylim() == (900, 0)
    heat = right.images[1]
    first, last, below, above = heat.get_extent()
    values = heat.get_array()
    for row in found.itertuples():
        # The middle of the patch, in the pixel of the heat map that is drawn there.
        column = int((row.x + 32 - first) / (last - first) * values.shape[1])
        line = int((row.y + 32 - above) / (below - above) * values.shape[0])
        assert values[line, column] == pytest.approx(row.score)
        assert first + (column + 0.5) / values.shape[1] * (last - first) == pytest.approx(row.x + 32)
        assert above + (line + 0.5) / values.shape[0] * (below - above) == pytest.approx(row.y + 32)
    assert values.count() == len(found)
    assert [text.get_text() for text in left.texts] == ["100 µm"]
    (bar,) = left.lines
    assert np.ptp(bar.get_xdata()) * 0.5 == pytest.approx(100)


def test_the_name_of_a_slide_is_no_formula():
    figure = slide_scores.draw(r"a$\nothing{$", scores(), about(), np.full((45, 65, 3), 240, np.uint8))
    figure.canvas.draw()
    assert figure.axes[0].get_title() == r"a$\nothing{$"


def test_gridded_scores_are_nan_where_there_are_none():
    found = scores()
    grid = slide_scores.grid(found, about())
    assert np.isfinite(grid).sum() == len(found)
    assert grid[found["row"], found["column"]] == pytest.approx(found["score"].to_numpy())


def slides(folder, names=("a", "b/c"), **changes):
    """Write what jobs leave of some slides."""
    folders = {}
    for number, name in enumerate(names):
        place = folder / "cpu" / name
        place.mkdir(parents=True)
        scores(seed=number).to_parquet(place / "scores.parquet")
        (place / "about.json").write_text(json.dumps(about(**changes)))
        Image.fromarray(np.full((45, 65, 3), 240, np.uint8)).save(place / "overview.jpg")
        folders[name] = place
    return folders


def write(folder, folders, labels=None):
    scored_page.write(folder / "index.html", folder / "scored.csv", title="ward7", folders=folders, labels=labels)
    return (folder / "index.html").read_text(encoding="utf-8"), pd.read_csv(folder / "scored.csv")


def test_the_page_has_a_row_and_a_map_for_each_slide_and_claims_nothing(tmp_path):
    folders = slides(tmp_path)
    for name, folder in folders.items():
        slide_scores.write_map(folder, name, folder / "map.png")
    page, table = write(tmp_path, folders)
    assert table["name"].tolist() == ["a", "b/c"]
    for name, row in zip(folders, table.to_dict("records"), strict=True):
        assert row == pytest.approx(slide_scores.summary(name, *slide_scores.read(folders[name])))
    assert "Not for diagnosis. Nobody has said whether these scores are right." in page
    assert not re.search(r"AUC|sensitivity|accuracy", page, re.IGNORECASE)
    assert "32 x 32 px of 1 µm, one every 32 px" in page
    assert table["microns_per_pixel"].tolist() == [0.5, 0.5]
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (tmp_path / link).exists(), link
    assert page.count("<img ") == 2
    assert "simulated" not in page
    assert "simulated patches" in write(tmp_path, slides(tmp_path / "s", model=MODEL | {"patches_are": "simulated"}))[0]


def labels(folder, table):
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_labels_of_patches_give_the_usual_metrics(tmp_path):
    folders = slides(tmp_path, [f"s{number}" for number in range(4)])
    found = {name: scores(seed=number) for number, name in enumerate(folders)}
    known = pd.concat([frame.assign(slide=name) for name, frame in found.items()]).sample(120, random_state=1)
    known["label"] = (known["score"] + np.random.default_rng(2).normal(0, 0.3, 120) > 0.5).astype(int)
    page, _ = write(tmp_path, folders, labels(tmp_path, known[["slide", "x", "y", "label"]]))
    row = labelled_scores.worth(labelled_scores.labelled(tmp_path / "labels.csv", found, pd.DataFrame()), 0.4)
    truth, values = known["label"] == 1, known["score"].to_numpy(float)
    assert (row["n"], row["positives"], row["unit"]) == (120, truth.sum(), "patch")  # of four slides
    assert row["auc"] == pytest.approx(roc_auc_score(truth, values))
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert row["sensitivity"] == pytest.approx((values > 0.4)[truth].mean())
    assert row["specificity"] == pytest.approx((values <= 0.4)[~truth].mean())
    assert row["accuracy"] == pytest.approx(((values > 0.4) == truth).mean())
    assert row["balanced_accuracy"] == pytest.approx((row["sensitivity"] + row["specificity"]) / 2)
    assert f"{row['auc']:.3f}" in page
    assert "Of what has no label nobody has said whether its score is right." in page
    assert "Against the labels, decisions at 0.4<" in page


def test_only_where_a_patch_has_no_label_does_the_page_say_so(tmp_path):
    for name, left_out in (("all", 0), ("part", 1)):
        folders = slides(tmp_path / name, ["a"])
        known = scores(seed=0).assign(slide="a", label=0)[["slide", "x", "y", "label"]]
        page, _ = write(tmp_path / name, folders, labels(tmp_path / name, known.iloc[left_out:]))
        assert ("Of what has no label" in page) == bool(left_out)
        assert "Not for diagnosis." in page
        assert "Nobody has said" not in page


def test_patches_that_are_labelled_but_not_scored_are_told(tmp_path):
    """They may be the tumours of little tissue: what is left would flatter the model."""
    folders = slides(tmp_path, ["a"])
    places = scores(seed=0)[["x", "y"]].head(4)
    # As tables of other programs write them.
    lines = [f"a, {x}.0 ,{y},{number % 2}" for number, (x, y) in enumerate(places.to_numpy().tolist())]
    text = "\ufeffslide,x, y,label\n" + "\n".join([*lines, "a,7,7,1", "b,0,0,1", "b,64,0,0"]) + "\n\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-16")
    page, _ = write(tmp_path, folders, tmp_path / "labels.csv")
    assert "Without a score: 3 of 7 labelled patches, 2 of them tumour." in page
    assert "too little tissue. The first is slide a, x 7, y 7." in page
    assert "Patches of one slide are alike" in page


def test_labels_of_patches_by_their_names(tmp_path):
    scored = {"new": pd.DataFrame({"patch": ["a.png", "b.png"], "score": [0.9, 0.2]})}
    (tmp_path / "labels.csv").write_text("slide,patch,label\n1,a.png,1\n1,b.png,0\n1,c.png,0\n")
    known = labelled_scores.labelled(tmp_path / "labels.csv", scored, pd.DataFrame())
    assert (known.what, labelled_scores.worth(known, 0.5)["auc"]) == ("patches", 1)
    assert known.unscored["patch"].tolist() == ["c.png"]
    (tmp_path / "labels.csv").write_text("slide,label\nnew,1\n")
    with pytest.raises(HistobenchError, match="the columns label and patch; found slide, label"):
        labelled_scores.labelled(tmp_path / "labels.csv", scored, pd.DataFrame())
    (tmp_path / "labels.csv").write_text("patch,label\na,1\n")
    with pytest.raises(HistobenchError, match=r"as in scores\.parquet, such as patch a\.png, found patch a$"):
        labelled_scores.labelled(tmp_path / "labels.csv", scored, pd.DataFrame())


def test_of_patches_without_a_score_no_tissue_is_told(tmp_path):
    told = {"patches": "new", "scored": 2, "left_out": {}, "d4": False, "model": MODEL}
    pd.DataFrame({"patch": ["a.png", "b.png"], "score": [0.9, 0.2]}).to_parquet(tmp_path / "scores.parquet")
    (tmp_path / "about.json").write_text(json.dumps(told))
    (tmp_path / "labels.csv").write_text("patch,label\na.png,1\nb.png,0\nc.png,0\n")
    page, _ = write(tmp_path, {"new": tmp_path}, tmp_path / "labels.csv")
    assert "Without a score: 1 of 3 labelled patches, 0 of them tumour. No patch of such a name was scored." in page
    assert "The first is patch c.png." in page
    assert "Of what has no label" not in page
    assert "tissue" not in page


def test_a_threshold_that_the_model_does_not_have_is_not_said_to_be_chosen(tmp_path):
    assert "chosen on validation patches" in write(tmp_path, slides(tmp_path / "a"))[0]
    page, _ = write(tmp_path, slides(tmp_path / "b", model=MODEL | {"threshold": None}))
    assert "0.5, since the model has none of its own" in page


def test_labels_of_slides_are_held_against_the_highest_scores(tmp_path):
    names = [f"s{number}" for number in range(6)]
    folders = slides(tmp_path, names)
    table = pd.DataFrame({"slide": [*names, "elsewhere"], "label": [0, 1, 0, 1, 1, 0, 1]})
    page, summaries = write(tmp_path, folders, labels(tmp_path, table))
    row = labelled_scores.worth(labelled_scores.labelled(tmp_path / "labels.csv", {}, summaries), None)
    assert (row["n"], row["unit"]) == (6, "slide")
    assert "Without a score: 1 of 7 labelled slides, 1 of them tumour." in page
    assert "No slide of such a name was scored. The first is slide elsewhere." in page
    assert "Of what has no label" in page  # the patches
    assert row["auc"] == pytest.approx(roc_auc_score([0, 1, 0, 1, 1, 0], summaries["highest"]))
    assert "sensitivity" not in row
    assert "for which the model has no threshold" in page
    assert "Against the labels<" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "slide,kind\na,1\n",
            "with commas between them, the columns label and slide, or label, slide, x and y; found slide, kind",
        ),
        ("slide,label\na,tumour\n", r"labels\.csv, line 2: expected the label 1 \(tumour\) or 0, found 'tumour'"),
        (
            "slide,label\na,1\n\na,0\n",
            "line 4: expected each slide or patch once, found slide a again, .* line 2; keep",
        ),
        ("slide,x,y,label\na,1,2,1\na,01,2.0,0\n", "line 3: expected .* once, found slide a, x 1, y 2 again"),
        ("slide,label,label\na,1,0\n", "columns label and slide, .*; found slide, label, label"),
        ("slide,label\na,1,0\n", r"labels\.csv, line 2: expected 2 values, as in the header, found 3"),
        ("slide,label\n", "expected a label in each line below the header, found no line"),
        ("", "the columns label and slide, .*; found none"),
        ("slide;label\na;1\n", "with commas between them, .* found slide;label"),
        ("patch,label\na,1\n", "label and slide, or label, slide, x and y; found patch, label"),
        ("slide,x,label\na,0,1\n", "label and slide, or label, slide, x and y; found slide, x, label"),
        ("slide,label\n\na,1\n\nb/c,\n", r"labels\.csv, line 5: expected the label 1 \(tumour\) or 0, found ''"),
        ("slide,x,y,label\na,1e3,0,1\n", r"labels\.csv, line 2: expected a whole number of pixels, found '1e3'"),
        (
            "slide,label\nz,1\n",
            "none of its .* expected names of slides as in scored.csv, such as slide a, found slide z$",
        ),
        (
            "slide,x,y,label\na,7,7,1\n",
            r"expected places as in scores\.parquet, such as slide a, x \d+, y \d+, found .* y 7",
        ),
    ],
)
def test_labels_that_do_not_go_with_the_scores_are_refused_and_nothing_is_written(tmp_path, text, message):
    folders = slides(tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(HistobenchError, match=message):
        write(tmp_path, folders, tmp_path / "labels.csv")
    assert not (tmp_path / "index.html").exists()
    assert not (tmp_path / "scored.csv").exists()
