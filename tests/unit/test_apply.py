"""What an exported model makes of slides and patches of one's own: scores at their places, also after a kill."""

import json
import os
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from histobench.core import applied
from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.scoring import models, score
from histobench.scoring.ahead import read_ahead
from support.paper import study
from support.slides import SIDE, export, tissue, write
from support.slides import score as expected_score
from support.stops import MOMENTS, stopped_at

BLOCK = {
    "datasets": ["pcam"], "models": ["b2"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"], "seeds": [1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({}, "either `slides` or `patches`, found neither"),
        ({"slides": "a", "patches": "b"}, "either `slides` or `patches`, found slides and patches"),
        ({"patches": "b", "stride": 5}, "apply.ward: stride is for slides; patches are scored as they are"),
        ({"slides": "a", "device": "a1000"}, "apply.ward.device: 'a1000' is not defined; did you mean 'a100'"),
        ({"slides": "a", "device": "k80"}, "k80 trains in an environment of its own"),
        ({"slides": "a", "strides": 5}, "apply.ward: unknown key 'strides'; did you mean 'stride'"),
        ({"slides": "a", "average_scores": ["seeds"]}, "apply.ward.average_scores item 1"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(block, message):
    with pytest.raises(HistobenchError, match=message):
        study(matrix=[BLOCK], apply={"ward": {"model": "pcam"} | block})


def block(path, **said):
    return study(matrix=[BLOCK], apply={"ward": {"model": "pcam", "slides": str(path)} | said}).applied["ward"]


def test_slides_are_known_by_their_paths_without_a_suffix(tmp_path):
    for name in ("a.svs", "case 1/b.TIF", "case 1/b.txt", "mirax.mrxs", "mirax/Data0001.dat", ".hidden.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(HistobenchError, match=r"mirax\.mrxs and a folder have one name"):
        (tmp_path / "mirax/other.svs").touch()
        applied.slides(block(tmp_path))
    (tmp_path / "mirax/other.svs").unlink()
    assert applied.slides(block(tmp_path)) == {
        name: f"{tmp_path}/{file}"
        for name, file in {"a": "a.svs", "case 1/b": "case 1/b.TIF", "mirax": "mirax.mrxs"}.items()
    }
    assert applied.slides(block(tmp_path / "a.svs")) == {"a": f"{tmp_path}/a.svs"}
    (tmp_path / "a.png").touch()
    with pytest.raises(HistobenchError, match=r"a\.png and .*a\.svs have one name, a, under which both would be"):
        applied.slides(block(tmp_path))
    for before, name in (("a.png", "a{x}.png"), ("a{x}.png", "a<x>.png")):
        (tmp_path / before).rename(tmp_path / name)
        with pytest.raises(HistobenchError, match="characters that Snakemake reads otherwise; rename it"):
            applied.slides(block(tmp_path))
    with pytest.raises(HistobenchError, match="expected a path without braces or angle brackets"):
        block("/data/<x>")
    with pytest.raises(HistobenchError, match=r"apply\.ward\.slides: there is no .*gone; expected a slide"):
        applied.slides(block(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(HistobenchError, match=r"expected slides in .*empty, found none; they end in \.bif, \.bmp"):
        applied.slides(block(tmp_path / "empty"))


def job(folder, **options):
    return score.Job(folder, **({"d4": False, "code": "c", "threads": 1, "device": "cpu"} | options))


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide of 0.5 µm per pixel, for a model of 1 µm: each patch of 32 px covers 64."""
    folder = tmp_path_factory.mktemp("apply")
    export(folder / "model")
    write(folder / "a.tif", tissue(1300, 900), microns_per_pixel=0.5)
    return folder


def scored(slide, target, *, stride=None, model=None, **options):
    score.score_slide(
        job(model or slide / "model", **options), slide / "a.tif", target, stride=stride, microns_per_pixel=None
    )
    return pd.read_parquet(target / "scores.parquet"), json.loads((target / "about.json").read_text())


@pytest.mark.parametrize("stride", [None, 20])
def test_scores_of_a_slide_are_those_of_its_patches_at_their_places(slide, tmp_path, stride):
    found, about = scored(slide, tmp_path / "out", stride=stride)
    step = 2 * (stride or SIDE)
    assert (about["stride_in_level_0"], about["patch_width_in_level_0"]) == (step, 2 * SIDE)
    assert (about["columns"], about["rows"]) == ((1300 - 64) // step + 1, (900 - 64) // step + 1)
    assert about["scored"] + about["without_tissue"] == about["columns"] * about["rows"]
    assert (found["x"] == found["column"] * step).all()
    assert (found["y"] == found["row"] * step).all()
    assert found[["row", "column"]].apply(tuple, axis=1).is_monotonic_increasing
    image = tissue(1300, 900)
    half = image.reshape(450, 2, 650, 2, 3).mean(axis=(1, 3)).round()
    places = found[["x", "y"]].to_numpy() // 2
    patches = np.stack([half[y : y + SIDE, x : x + SIDE] for x, y in places])
    np.testing.assert_allclose(found["score"], expected_score(patches), atol=1e-5)
    assert found["score"].std() > 0.1
    # Tissue is on the left half alone; what touches it by less than a tenth is left out.
    assert found["x"].max() <= 650 - 6
    assert found["x"].max() >= 650 - 64


def test_averages_over_flips_and_turns_are_means_of_eight(slide, tmp_path):
    """Of a model that looks at colours alone they are the same; one that looks at the upper half gives another mean."""
    import keras

    patches = keras.Input((SIDE, SIDE, 3), name="patches")
    upper = keras.layers.Cropping2D(((0, SIDE // 2), (0, SIDE // 2)))(patches)
    dense = keras.layers.Dense(1, "sigmoid")
    model = keras.Model(patches, dense(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 64)(upper))))
    dense.set_weights([np.array([[-1.0], [1.0], [0.3]], np.float32), np.zeros(1, np.float32)])
    some = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    some[:, :16] //= 2
    exported = models.Exported(tmp_path, {"patch_size": SIDE}, model, d4=True)
    single = models.Exported(tmp_path, {"patch_size": SIDE}, model, d4=False)
    each = [
        single.scores(np.ascontiguousarray(np.stack([np.rot90(patch[:, ::flip], turn) for patch in some])))
        for flip in (1, -1)
        for turn in range(4)
    ]
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(exported.scores(some), np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_job_goes_on_to_the_same_bytes(slide, tmp_path, moment, monkeypatch):
    monkeypatch.setattr(score, "CHUNK", 60)
    whole, _ = scored(slide, tmp_path / "whole")
    assert len(whole) > 120
    with stopped_at("part-000001", moment):
        scored(slide, tmp_path / "out")
    done = sorted(path.name for path in (tmp_path / "out/.state").glob("part-*"))
    assert done == ["part-000000", "part-000001"][: 2 if moment == "after" else 1]
    read = []
    monkeypatch.setattr(
        models, "opened", lambda *args, original=models.opened, **kw: read.append(1) or original(*args, **kw)
    )
    scored(slide, tmp_path / "out")
    for name in ("scores.parquet", "about.json", "overview.jpg"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (tmp_path / "out/scores.parquet").unlink()
    scored(slide, tmp_path / "out")  # from its state
    assert len(read) == 1
    there, parts = len(done), -(-len(whole) // 60)
    told = f"{there} of {parts} parts are there; {parts - there} to go" if there else "starting"
    assert told in (tmp_path / "out/.state/events").read_text()
    assert (tmp_path / "out/scores.parquet").read_bytes() == (tmp_path / "whole/scores.parquet").read_bytes()


def test_another_model_or_stride_scores_anew(slide, tmp_path):
    first, _ = scored(slide, tmp_path / "out")
    again, _ = scored(slide, tmp_path / "out", stride=16)
    assert len(again) > len(first)
    other = export(tmp_path / "other", side=16)
    assert len(scored(slide, tmp_path / "out", model=other)[0]) > len(first)


def test_a_slide_that_was_written_anew_is_scored_anew(slide, tmp_path):
    """Also where neither the size of its file tells, nor its coarsest level, of which OpenSlide takes the digest."""
    path = tmp_path / "a.tif"
    image = tissue(1300, 900)
    with tifffile.TiffWriter(path) as file:
        for level, page in enumerate((image, image[::4, ::4])):
            file.write(
                page, tile=(64, 64), photometric="rgb", subfiletype=level, resolution=(2e4 / 4**level,) * 2,
                resolutionunit="CENTIMETER", metadata=None,
            )  # fmt: skip
    first, _ = scored(tmp_path, tmp_path / "out", model=slide / "model")
    content = path.read_bytes()
    start = content.index(image[64:128, 64:128].tobytes())
    path.write_bytes(content[:start] + bytes((150, 30, 150)) * 64**2 + content[start + 64 * 64 * 3 :])
    again, _ = scored(tmp_path, tmp_path / "out", model=slide / "model")
    # Beside it some pixels at the edge are means with its own.
    changed = again[(first["score"] - again["score"]).abs() > 0.05]
    assert changed[["column", "row"]].to_numpy().tolist() == [[1, 1]]


def test_a_slide_that_is_written_while_it_is_scored_gives_no_scores(slide, tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes((slide / "a.tif").read_bytes())
    whole = score._scores

    def copying(*args):
        os.utime(path, (1, 1))
        return whole(*args)

    monkeypatch.setattr(score, "_scores", copying)
    with pytest.raises(HistobenchError, match=r"a\.tif: expected a slide that stays as it is"):
        scored(tmp_path, tmp_path / "out", model=slide / "model")
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_a_slide_without_tissue_and_one_smaller_than_a_patch_are_refused_and_leave_nothing(slide, tmp_path):
    for image, message in (
        (np.full((200, 200, 3), 240, np.uint8), r"a\.tif: expected tissue, found none"),
        (tissue(60, 300), r"at least a patch of 32 px at the model's scale, 64 px of the slide, found 60 x 300 px"),
    ):
        write(tmp_path / "a.tif", image, microns_per_pixel=0.5, levels=1)
        with pytest.raises(HistobenchError, match=message):
            score.score_slide(
                job(slide / "model"), tmp_path / "a.tif", tmp_path / "out", stride=None, microns_per_pixel=None
            )
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".state"]


def test_a_model_folder_whose_files_do_not_go_together_is_refused(slide, tmp_path):
    def refused(folder, message):
        with pytest.raises(HistobenchError, match=message):
            scored(slide, tmp_path / "out", model=folder)

    refused(tmp_path, r"expected the folder of an exported model, found no model\.json and no model\.keras")
    mixed = export(tmp_path / "mixed")
    (mixed / "model.keras").write_bytes((export(tmp_path / "other", side=16) / "model.keras").read_bytes())
    refused(mixed, r"model\.keras: expected the model that model\.json is about, sha256 .* files of two models")
    refused(export(tmp_path / "unknown", microns_per_pixel=None), r"model\.json: expected the micrometres per pixel")
    broken = export(tmp_path / "broken")
    (broken / "model.json").write_text("{}")
    refused(broken, r"model\.json: expected what a study writes beside its exported model, found KeyError")
    wrong = export(tmp_path / "wrong", patch_size=48)
    refused(wrong, r"expected a network from patches of 48 x 48 px.*found one from \(None, 32, 32, 3\) to \(None, 1\)")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"data": {}}, "KeyError.*patches_are"),
        ({"patch_size": 0}, "patch_size 0"),
        ({"microns_per_pixel": "1.0"}, "microns_per_pixel '1.0'"),
        ({"microns_per_pixel": float("nan")}, "microns_per_pixel nan"),
        ({"threshold": True}, "threshold True"),
    ],
)
def test_what_a_model_does_not_say_rightly_is_found_before_anything_is_scored(slide, tmp_path, told, found):
    folder = export(tmp_path / "model", **told)
    with pytest.raises(
        HistobenchError, match=rf"model\.json: expected what a study writes .*{found}.*export the model"
    ):
        scored(slide, tmp_path / "out", model=folder)
    about = json.loads((folder / "model.json").read_text())
    for name in ("study", "recipe", "microns_per_pixel"):
        rest = {key: value for key, value in (about | {"data": {"patches_are": "own"}}).items() if key != name}
        (folder / "model.json").write_text(json.dumps(rest))
        with pytest.raises(HistobenchError, match=f"KeyError.*{name}"):
            models.about(folder)


def test_a_network_that_gives_no_probability_is_refused(slide, tmp_path):
    import keras

    def refused(last, message, damage=lambda path: None):
        folder = export(tmp_path / f"model-{len(list(tmp_path.iterdir()))}")
        patches = keras.Input((SIDE, SIDE, 3))
        network = keras.Model(patches, last(keras.layers.GlobalAveragePooling2D()(patches)))
        network.save(folder / "model.keras")
        damage(folder / "model.keras")
        about = json.loads((folder / "model.json").read_text())
        about["sha256"]["model.keras"] = digest(folder / "model.keras")
        (folder / "model.json").write_text(json.dumps(about))
        with pytest.raises(HistobenchError, match=message):
            scored(slide, tmp_path / "out", model=folder)

    refused(keras.layers.Dense(2, "softmax"), r"to one score each, \(None, 1\), found .* to \(None, 2\)")
    refused(
        keras.layers.Dense(1, bias_initializer="ones"), "expected probabilities, found .* no classifier of two classes"
    )
    refused(
        keras.layers.Lambda(lambda x: x[:, :1]),
        r"model\.keras: expected a model that Keras opens .*Lambda.*Copy the folder",
    )
    refused(
        keras.layers.Dense(1),
        r"model\.keras: expected a model that Keras opens",
        lambda path: path.write_bytes(b"PK nothing"),
    )


PATCHES = np.random.default_rng(3).integers(0, 256, (9, SIDE, SIDE, 3), np.uint8)


def images(folder):
    folder.mkdir()
    for number, patch in enumerate(PATCHES):
        (folder / f"case{number % 2}").mkdir(exist_ok=True)
        Image.fromarray(patch).save(folder / f"case{number % 2}/{number}.png")
    (folder / "notes.txt").write_text("nothing")
    Image.fromarray(PATCHES[0][:20]).save(folder / "case0/small.png")
    return folder


def of_patches(path, model, target):
    score.score_patches(job(model), path, target, "content")
    return pd.read_parquet(target / "scores.parquet"), json.loads((target / "about.json").read_text())


def test_patches_are_read_from_a_folder_an_archive_and_an_hdf5_file(slide, tmp_path):
    folder = images(tmp_path / "new")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["x"] = PATCHES
    names = [f"case{number % 2}/{number}.png" for number in range(9)]
    for path in (folder, tmp_path / "new.zip"):
        found, about = of_patches(path, slide / "model", tmp_path / f"out-{path.name}")
        found = found.set_index("patch").loc[names]
        np.testing.assert_allclose(found["score"], expected_score(PATCHES), atol=1e-5)
        assert about["left_out"] == {"not an image by the suffix": 1, "not 32x32 px": 1}
        assert about["scored"] == 9
    found, about = of_patches(tmp_path / "new.h5", slide / "model", tmp_path / "out-h5")
    assert found["patch"].tolist() == list(map(str, range(9)))
    np.testing.assert_allclose(found["score"], expected_score(PATCHES), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y": PATCHES}, r"new\.h5: expected HDF5, .* found: no values of x, which it needs, among y\. Copy"),
        ({}, r"new\.h5: expected HDF5, .* found: no values of x, .* among no names"),
        (b"nothing of that kind", r"new\.h5: expected HDF5, .* that is whole, found: .*\. Copy the file anew$"),
        (None, r"new\.h5: expected HDF5, .* that is whole, found: .*truncated.*\. Copy the file anew$"),
    ],
)
def test_an_hdf5_file_without_patches_or_not_whole_is_refused(slide, tmp_path, content, message):
    """And nobody is told to delete a file of one's own, which no job fetches again."""
    path = tmp_path / "new.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with h5py.File(path, "w") as file:
            for name, values in (content if content is not None else {"x": PATCHES}).items():
                file[name] = values
        if content is None:
            path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HistobenchError, match=message):
        of_patches(path, slide / "model", tmp_path / "out")


def test_what_goes_wrong_while_patches_are_scored_is_not_laid_on_their_file(slide, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["x"] = PATCHES

    def fails(*_):
        raise ValueError("out of memory")

    monkeypatch.setattr(models.Exported, "scores", fails)
    with pytest.raises(ValueError, match=r"^out of memory$"):
        of_patches(tmp_path / "new.h5", slide / "model", tmp_path / "out")


def test_patches_that_are_converted_are_told(slide, tmp_path, caplog):
    (tmp_path / "new").mkdir()
    Image.fromarray(PATCHES[0]).convert("L").save(tmp_path / "new/a.png")
    Image.fromarray(PATCHES[1]).save(tmp_path / "new/b.png")
    of_patches(tmp_path / "new", slide / "model", tmp_path / "out")
    assert "1 images of mode L, converted to RGB, for instance a.png" in caplog.text


def test_patches_of_another_size_are_refused(slide, tmp_path):
    folder = images(tmp_path / "new")
    other = export(tmp_path / "model", side=16)
    with pytest.raises(HistobenchError, match=r"new: expected images of 16x16 px, .* found .*9? ?.*not 16x16 px"):
        of_patches(folder, other, tmp_path / "out")
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["x"] = PATCHES
    with pytest.raises(HistobenchError, match=r"expected x of shape \(n, 16, 16, 3\) and type uint8.*\(9, 32, 32, 3\)"):
        of_patches(tmp_path / "new.h5", other, tmp_path / "out")
    (folder / "case0/0.png").write_bytes((folder / "case0/0.png").read_bytes()[:900])
    with pytest.raises(HistobenchError, match=r"case0/0\.png: expected an image that is whole"):
        of_patches(folder, slide / "model", tmp_path / "out")
    assert not (tmp_path / "out/scores.parquet").exists()


def test_reading_ahead_keeps_the_order_and_holds_few():
    held = {"now": 0, "most": 0}

    def read(item):
        held["now"] += 1
        held["most"] = max(held["most"], held["now"])
        return item * item

    found = []
    for value in read_ahead(read, list(range(40)), threads=2):
        held["now"] -= 1
        found.append(value)
    assert found == [number**2 for number in range(40)]
    assert held["most"] <= 6
    assert list(read_ahead(read, [], threads=2)) == []
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda item: 1 / item, [1, 0, 1], threads=2))
