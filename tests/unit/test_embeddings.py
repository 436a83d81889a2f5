"""Features of others: each format is read to the bit, and what does not belong to the patches is refused by name."""

import os
import pickle
import re
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from histobench.core import embeddings, prepared
from histobench.core.datasets import Patches
from histobench.core.embeddings import importing, joining, torch_file
from histobench.core.errors import HistobenchError
from histobench.core.features import ABOUT, Features
from histobench.core.files import read_sealed
from support import embeddings as written
from support import jobs, small
from support.paper import study
from support.project import ROOT

WIDTH = 5
# The smallest that the tiny backbone takes.
SIDE = 20


def some(split: str, n: int, seed: int) -> Patches:
    """Patches of five slides with places, in no order; two have the same place, as in PCam."""
    patches = small.patches(split, n, seed, (SIDE, SIDE, 3))
    patches.places = np.random.default_rng(seed).choice(90_000, (n, 1), replace=False) + np.array([[7, 100_003]])
    patches.places = patches.places.astype(np.int32)
    patches.places[5], patches.groups[5] = patches.places[0], patches.groups[0]
    return patches


def part(whole: Patches, rows: slice) -> Patches:
    names = ("images", "labels", "ids", "groups", "places")
    return Patches(whole.split, *(getattr(whole, name)[rows] for name in names))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    whole = [some(split, n, seed) for seed, (split, n) in enumerate(small.COUNTS.items())]
    # The splits alternate, as those of IDC do.
    chunks = [part(each, rows) for rows in (slice(0, 10), slice(10, None)) for each in whole]
    return small.write(tmp_path_factory.mktemp("prepared"), chunks)


@pytest.fixture(scope="module")
def index(data) -> pd.DataFrame:
    return prepared.index(data)


@pytest.fixture(scope="module")
def own(data, tmp_path_factory):
    """The features that the tiny backbone has of these patches."""
    folder = tmp_path_factory.mktemp("own") / "features"
    jobs.extract(data, folder, small.features_specification("tiny", side=SIDE))
    return folder


@pytest.fixture(scope="module")
def values(index):
    """Features of all patches, of those at one place the same."""
    result = np.random.default_rng(1).normal(size=(len(index), WIDTH)).astype(np.float32)
    for rows in index.groupby(["group", "x", "y"]).indices.values():
        result[rows] = result[rows[0]]
    return result


def specification(kind, microns=written.MICRONS):
    names = {"dataset": "small", "model": "uni", "scaling": "paper", "device": "cpu"}
    model = {"key": "uni", "application": None, "weights_origin": "UNI"}
    settings = {"format": kind, "microns_per_pixel": microns}
    return {"features": names, "model": model, "embeddings": settings, "input": None}


def imported(folder, data, path, kind, content="", **options):
    importing.write(folder, data, path, specification(kind, **options), content, "c")
    return folder


def refused(folder, data, path, kind, *words, **options):
    """Return the message of the error with which an import ends; it must say these words, and leave nothing behind.

    A word that begins with "not: " must not stand there.
    """
    with pytest.raises(HistobenchError) as error:
        imported(folder / "imported", data, path, kind, **options)
    for word in words:
        assert (word.removeprefix("not: ") in str(error.value)) == (not word.startswith("not: "))
    assert not list((folder / "imported").glob("*"))
    return str(error.value)


def assert_equal(folder, data, index, expected):
    for split in prepared.SPLITS:
        part = Features(data, folder, split)
        found = part.take(np.arange(len(part)))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.view(np.uint32), expected[index["split"] == split].view(np.uint32))


@pytest.mark.parametrize("kind", written.WRITERS)
def test_each_format_gives_the_bits_that_were_written(kind, data, index, values, tmp_path):
    path = written.WRITERS[kind](tmp_path / "theirs", index, values)
    first = imported(tmp_path / "one", data, path, kind)
    # STAMP stores float16.
    assert_equal(first, data, index, values.astype(np.float16).astype(np.float32) if kind == "stamp" else values)
    about = read_sealed(first / ABOUT)
    assert about["embeddings"]["features"] == WIDTH
    assert about["embeddings"]["rows_not_used"] == 0
    # Nothing in what is left behind depends on the time or the order of a look.
    second = imported(tmp_path / "two", data, path, kind)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("eva", lambda folder, *rest: written.eva(folder, *rest, pcam=True)),
        ("parquet", lambda folder, *rest: written.parquet(folder, *rest, lists=False)),
        ("parquet", lambda folder, *rest: written.parquet(folder, *rest) / ".."),
    ],
)
def test_variants_of_formats_give_the_same_bits(name, write, data, index, values, tmp_path):
    imported(tmp_path / "one", data, write(tmp_path / "above" / "theirs", index, values), name)
    assert_equal(tmp_path / "one", data, index, values)


@pytest.mark.parametrize("kind", written.WRITERS)
def test_our_own_cached_features_come_back_in_each_format(kind, data, index, own, tmp_path):
    features = written.cached(own, index)
    # Of two patches at one place a table by place has one row. Their pixels are made up, and differ.
    single = ~index.duplicated(["group", "x", "y"], keep=False)
    first = features[index.groupby(["group", "x", "y"])["position"].transform("idxmin")]
    path = written.WRITERS[kind](tmp_path / "theirs", index, first)
    folder = imported(tmp_path / "one", data, path, kind)
    for split in prepared.SPLITS:
        here = single[index["split"] == split].to_numpy()
        expected, found = (np.load(each / f"{split}.npy")[here] for each in (own, folder))
        assert len(np.unique(expected)) > 100
        if kind == "stamp":
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def examples():
    """The examples of the configuration's documentation, each a model and what it says of its embeddings."""
    section = (ROOT / "config/README.md").read_text(encoding="utf-8").partition("\n### Features of others\n")[2]
    blocks = re.findall(r"```yaml\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return {name: block for text in blocks for name, block in yaml.safe_load(text)["models"].items()}


def test_the_documentation_has_an_example_of_each_format():
    assert {block["embeddings"]["format"] for block in examples().values()} == set(written.WRITERS)


@pytest.mark.parametrize("name", examples())
def test_each_example_of_the_documentation_is_read(name, data, index, values, tmp_path):
    block = {"models": [name], "modes": ["tl"], "recipes": ["paper"], "devices": ["cpu"], "seeds": [1]}
    made = study(models={name: examples()[name]}, matrix=[block | {"datasets": ["pcam", "idc"]}])
    assert [run.dataset for run in made.runs] == ["pcam", "idc"]
    for run in made.runs:
        spec = made.features_specification(run.dataset, name, "paper", "cpu")
        kind, path = spec["embeddings"]["format"], made.models[name].embeddings.path_for(run.dataset)
        options = {"pcam": run.dataset == "pcam"} if kind == "eva" else {}
        there = tmp_path / run.dataset / path.lstrip("/")
        theirs = written.WRITERS[kind](tmp_path / run.dataset / "theirs", index, values, **options)
        there.parent.mkdir(parents=True)
        theirs.rename(there)
        importing.write(tmp_path / run.dataset, data, there, spec, "", "c")
        expected = values.astype(np.float16).astype(np.float32) if kind == "stamp" else values
        assert_equal(tmp_path / run.dataset, data, index, expected)


def test_what_files_say_of_the_encoder_is_kept(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    about = read_sealed(imported(tmp_path / "one", data, path, "trident") / ABOUT)
    assert about["embeddings"]["found"] == {"encoder": "tiny", "patch_size": "256", "target_magnification": "20"}


def test_slides_and_places_that_the_data_set_lacks_are_counted(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    with h5py.File(path / "train0.h5", "a") as file:
        for name, more in (("features", np.full((3, WIDTH), np.nan, np.float32)), ("coords", np.full((3, 2), 5))):
            file[name].resize(len(file[name]) + 3, axis=0)
            file[name][-3:] = more
    with h5py.File(path / "another.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((4, WIDTH), np.float32), np.arange(8).reshape(4, 2)
        file["features"].attrs["encoder"] = "tiny"
        file["coords"].attrs.update({"patch_size": 256, "target_magnification": 20})
    with h5py.File(path / "without tissue.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((0,), np.float32), np.zeros((0, 2), np.int64)
    folder = imported(tmp_path / "one", data, path, "trident")
    assert_equal(folder, data, index, values)
    about = read_sealed(folder / ABOUT)["embeddings"]
    # At three places there are two patches each.
    assert about["rows"] == len(index) - 3 + 7
    assert about["rows_not_used"] == 7


def test_places_are_read_in_pieces_of_a_file(data, index, values, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings.slides, "ROWS", 4)
    path = written.clam(tmp_path / "theirs", index, values)
    assert_equal(imported(tmp_path / "one", data, path, "clam"), data, index, values)


def changed(path, name="train0.h5", **arrays_of_file):
    """Replace arrays of an HDF5 file."""
    with h5py.File(path / name, "a") as file:
        for array, function in arrays_of_file.items():
            values, attributes = function(file[array][()]), dict(file[array].attrs)
            del file[array]
            if values is not None:
                file[array] = values
                file[array].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"coords": lambda places: places + np.array([3, -2])},
            ("found 110;", "Of slide train0 0 of 14 places match", "all others are off by the same x +3, y -2"),
        ),
        (
            {"coords": lambda places: places * 4},
            (
                "all would if ours were 4 times as large: they are of another level. Give x and y",
                "those of level 0, with 4 times the `downsample` of",
                "not: Compute",
            ),
        ),
        # As a slide has them whose pixels of level 2 are not four of level 0 to the pixel.
        (
            {"coords": lambda places: np.rint(places * 4.0003 + 1).astype(int)},
            ("all would if ours were 4 times as large",),
        ),
        # Half of the patches are not there, and the others fit.
        ({"coords": lambda places: np.where(places % 2, places, 7)}, ("the nearest of its places to", "not: times as")),
        ({"features": lambda x: x[:, 0]}, ("train0.h5: expected features of shape (n, width)", "found (13,)")),
        ({"features": lambda x: x[0, 0]}, ("train0.h5: expected an array features, found a single value",)),
        ({"coords": lambda x: h5py.Empty("i8")}, ("train0.h5: expected an array coords, found nothing in it",)),
        ({"features": lambda x: x[:, :0]}, ("train0.h5: expected features of each patch, found none",)),
        (
            {"features": lambda x: x.astype(np.int16)},
            ("expected features that are floats, found values of type int16",),
        ),
        ({"features": lambda x: x.astype("S8")}, ("expected features that are floats, found values of type |S8",)),
        (
            {"features": lambda x: x[:0, 0], "coords": lambda x: x[:0]},
            ("found 110; without: ", "The file of slide train0 has no row. Compute", "not: No file is called"),
        ),
        ({"features": lambda x: x[1:]}, ("found (12, 5) and (13, 2)",)),
        ({"features": lambda x: None}, ("train0.h5: expected an array features, found coords; correct `format`",)),
        (
            {"features": lambda x: np.where(x == x[0], np.inf, x)},
            ("finite numbers, found 5 of 5 features of patch train-",),
        ),
        ({"features": lambda x: x.astype(np.float64) * 1e300}, ("expected finite numbers",)),
        ({"features": lambda x: x[:, 1:]}, ("train0.h5: expected 5 features of a patch, as in", "test0.h5, found 4")),
        ({"coords": lambda places: places + 0.5}, ("train0.h5: expected places in whole pixels",)),
        (
            {
                "coords": lambda places: np.concatenate([places, places[:1]]),
                "features": lambda x: np.concatenate([x, x[:1]]),
            },
            ("train0.h5: expected one row for each patch, found several for patch train-",),
        ),
    ],
)
def test_files_of_slides_that_are_not_as_they_should_be(change, words, data, index, values, tmp_path):
    path = changed(written.trident(tmp_path / "theirs", index, values), **change)
    refused(tmp_path, data, path, "trident", *words)


def test_files_of_two_encoders_are_refused(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    with h5py.File(path / "valid0.h5", "a") as file:
        file["features"].attrs["encoder"] = "uni"
    refused(
        tmp_path,
        data,
        path,
        "trident",
        "valid0.h5",
        "encoder tiny, patch_size 256",
        "found encoder uni, patch_size 256",
    )


def test_two_files_of_a_slide_are_refused(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs" / "features_a", index, values)
    written.trident(tmp_path / "theirs" / "features_b", index, values)
    words = ("features_b/test0.h5", "one file for the slide test0", "features_a/test0.h5 as well")
    refused(tmp_path, data, path.parent, "trident", *words)


def test_a_slide_without_file_is_named_with_what_files_are_called(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    (path / "train3.h5").rename(path / "TRAIN3.h5")
    words = ("No file is called train3", "is called TRAIN3.h5", "the slides of the data set are test0, test1, test2")
    refused(tmp_path, data, path, "trident", "without: train-3 (slide train3, x ", *words)


def test_a_cut_file_is_refused(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    os.truncate(path / "train1.h5", (path / "train1.h5").stat().st_size - 100)
    refused(tmp_path, data, path, "trident", "train1.h5: expected an HDF5 file that is whole, found: ")


def test_values_that_were_never_written_are_not_taken_for_zeros(data, index, values, tmp_path):
    path = written.trident(tmp_path / "theirs", index, values)
    with h5py.File(path / "train1.h5", "a") as file:
        file["features"].resize(20, axis=0)
        file["coords"].resize(20, axis=0)
    refused(
        tmp_path, data, path, "trident", "train1.h5: expected 20 chunks of features, found ", "not written to its end"
    )
    path = written.thunder(tmp_path / "thunder", index, values)
    with h5py.File(path / "train/embeddings.h5", "a") as file:
        del file["3"]
        file.create_dataset("3", (WIDTH,), "float32")
    refused(tmp_path, data, path, "thunder", "train/embeddings.h5: expected the values of 3, found none")
    with h5py.File(path / "train/embeddings.h5", "a") as file:
        del file["3"]
        file["3"] = h5py.Empty("f4")
    refused(tmp_path, data, path, "thunder", "train/embeddings.h5: expected an array 3, found nothing in it")
    with h5py.File(path / "train/embeddings.h5", "a") as file:
        del file["3"]
        layout = h5py.VirtualLayout((WIDTH,), "float32")
        layout[:] = h5py.VirtualSource(path / "test/embeddings.h5", "3", (WIDTH,))
        file.create_virtual_dataset("3", layout)
    refused(tmp_path, data, path, "thunder", "expected the values of 3 in this file, found links to other files")


def test_micrometres_need_their_pixel_and_their_unit(data, index, values, tmp_path):
    path = written.stamp(tmp_path / "theirs", index, values)
    refused(tmp_path, data, path, "stamp", "so the embeddings need microns_per_pixel", microns=None)
    with h5py.File(path / "test0.h5", "a") as file:
        del file.attrs["unit"]
    refused(tmp_path, data, path, "stamp", "test0.h5: expected an attribute unit that is um, found None")


@pytest.mark.parametrize("given", [0.2431, 0.2432, 0.24, 0.5, 2 * written.MICRONS])
def test_micrometres_that_do_not_fit_are_corrected(given, data, index, values, tmp_path):
    path = written.stamp(tmp_path / "theirs", index, values)
    # Of slides with more places than patches.
    more = np.random.default_rng(2).integers(0, 50_000, (300, 2)).astype(np.float32)
    for file in path.glob("*.h5"):
        changed(
            path, file.name, coords=lambda x: np.concatenate([x, more]), feats=lambda x: np.pad(x, ((0, 300), (0, 0)))
        )
    message = refused(tmp_path, data, path, "stamp", f" instead of {given:g}. Correct it", microns=given)
    advised = float(re.search(r"places match; all would with microns_per_pixel: (\S+) instead", message)[1])
    assert advised == pytest.approx(written.MICRONS, rel=1e-5)
    expected = values.astype(np.float16).astype(np.float32)
    assert_equal(imported(tmp_path / "one", data, path, "stamp", microns=advised), data, index, expected)


def test_micrometres_are_named_where_places_are_missing(data, index, values, tmp_path):
    path = changed(written.stamp(tmp_path / "theirs", index, values), coords=lambda x: x + np.float32([0, 10]))
    words = (
        "Of slide train0 0 of 14",
        "Correct microns_per_pixel: 0.24312 if the slide has another, to six digits. Compute",
    )
    refused(tmp_path, data, path, "stamp", *words)


def test_places_off_by_less_than_a_pixel_of_micrometres_are_found(data, index, values, tmp_path):
    path = written.stamp(tmp_path / "theirs", index, values)
    changed(path, coords=lambda places: places + np.float32(0.7 * written.MICRONS))
    expected = values.astype(np.float16).astype(np.float32)
    assert_equal(imported(tmp_path / "one", data, path, "stamp"), data, index, expected)


def test_patches_without_places_need_ids(tmp_path, index, values):
    data = small.write(tmp_path / "data", [small.patches(split, 12, 1, (8, 8, 3)) for split in prepared.SPLITS])
    path = written.trident(tmp_path / "theirs", index, values)
    words = ("found 36 of 36 without, for instance train-0", "give embeddings by id (npz, parquet)")
    refused(tmp_path, data, path, "trident", *words)


def test_images_of_thunder_by_their_numbers(data, index, values, tmp_path):
    path = written.thunder(tmp_path / "theirs", index, values)
    with h5py.File(path / "test/embeddings.h5", "a") as file:
        del file["7"]
    refused(
        tmp_path,
        data,
        path,
        "thunder",
        "labels.h5: expected a label for each of the 29 images of embeddings.h5, found 30",
    )
    (path / "test/labels.h5").unlink()
    refused(tmp_path, data, path, "thunder", f"all {len(index)} patches", f"found {len(index) - 1}; without: test-7")
    with h5py.File(path / "test/embeddings.h5", "a") as file:
        file["30"] = values[0]
    refused(tmp_path, data, path, "thunder", "expected positions below 30, the number of test patches", "found 30")
    with h5py.File(path / "test/embeddings.h5", "a") as file:
        del file["30"]
        file["7"] = values[0][1:]
    refused(tmp_path, data, path, "thunder", "expected an array of shape (width,) for each, found (4,), (5,)")
    with h5py.File(path / "test/embeddings.h5", "a") as file:
        file["all"] = values
    refused(tmp_path, data, path, "thunder", '"0", "1" and so on, one for each image, found: ')


@pytest.mark.parametrize("kind", ["eva", "thunder", "parquet"])
def test_a_label_that_is_not_the_patchs_is_refused(kind, data, index, values, tmp_path):
    wrong = index.copy()
    wrong.loc[wrong["patch_id"] == "valid-3", "label"] = 0
    path = written.WRITERS[kind](tmp_path / "theirs", wrong, values)
    refused(
        tmp_path,
        data,
        path,
        kind,
        "expected the label 1 of patch valid-3 (slide valid3",
        "found 0, and so for 1 of these",
    )


def test_a_manifest_of_eva_that_is_not_as_it_should_be(data, index, values, tmp_path):
    path = written.eva(tmp_path / "theirs", index, values)
    manifest = path / "manifest.csv"
    whole = manifest.read_text()
    manifest.write_text(whole.replace("origin,", "image,"))
    refused(
        tmp_path,
        data,
        path,
        "eva",
        "manifest.csv: expected the columns origin, embeddings, target, split; missing: origin",
    )
    manifest.write_text(whole.replace(",train-0.pt", ",../train-0.pt"))
    refused(tmp_path, data, path, "eva", "manifest.csv, train-0: expected its embeddings in", "which is not there")
    manifest.write_text(whole.replace("train-0,train-0.pt,0", "train-0,train-0.pt,tumour"))
    refused(tmp_path, data, path, "eva", "manifest.csv: expected the label 0 of patch train-0", "found tumour, and so")
    manifest.write_text(whole.replace("train-0,", "TRAIN-0,"))
    refused(
        tmp_path, data, path, "eva", "without: train-0 (slide", "The files call patches TRAIN-0, train-1", "Compute"
    )
    manifest.write_text(whole + whole.splitlines()[1] + "\n")
    refused(tmp_path, data, path, "eva", "expected one row for each patch, found several for patch train-0")
    manifest.write_text(whole)
    written.torch_file(path / "train-0.pt", [values[0], values[1]])
    refused(tmp_path, data, path, "eva", "train-0.pt: expected a list of one tensor of shape (width,)", "found 2 items")
    written.torch_file(path / "train-0.pt", [values[0][1:]])
    refused(tmp_path, data, path, "eva", "expected 4 features, as", "several encoders are mixed")
    manifest.unlink()
    refused(tmp_path, data, path, "eva", "manifest.csv: not found")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"names": ["a"], "features": np.zeros((1, 2), np.float32)},
            "expected an array ids or patch_id or patch_ids, found names, features",
        ),
        (
            {"ids": np.arange(2), "features": np.zeros((2, 2), np.float32)},
            "expected ids of shape (n,) and a type of texts",
        ),
        (
            {"ids": ["a", "b"], "features": np.zeros((3, 2), np.float32)},
            "expected features of shape (2, width), floats",
        ),
        ({"ids": ["a"], "features": np.zeros((1, 2), np.int64)}, "found (1, 2), int64"),
        (
            {"ids": np.array(["a"], object), "features": np.zeros((1, 2), np.float32)},
            "expected a NumPy archive of texts and numbers",
        ),
        ({"ids": ["a", "b"], "features": np.zeros((2, 2), np.float32, "F")}, "expected features row by row"),
        ({"ids": ["a"], "features": np.zeros((1, 2), np.float32), "labels": [0, 1]}, "expected 1 labels, found (2,)"),
        ({"ids": ["a"], "features": np.zeros((1, 2), np.float32)}, "found 0; without: train-0"),
        (
            {"ids": ["train-0.png"], "features": np.zeros((1, 2), np.float32)},
            "index.parquet. None of theirs is one: write them as they stand there",
        ),
        ({"ids": ["a"], "features": np.zeros((1, 0), np.float32)}, "expected features of each patch, found none"),
        (
            {"ids": ["train-0"], "features": np.zeros((1, 2), np.float32), "labels": ["tumour"]},
            "expected the label 0 of patch train-0",
        ),
        (
            {"ids": ["train-0"], "features": np.zeros((1, 2), np.float32), "labels": [0.4]},
            "1 is tumour and 0 is not, found 0.4, and so for 1 of these 1 patches",
        ),
        (
            {"ids": ["train-0"], "features": np.zeros((1, 2), np.float32), "labels": [np.nan]},
            "found 1; without: train-1",
        ),
    ],
)
def test_archives_that_are_not_as_they_should_be(content, words, data, tmp_path):
    np.savez(tmp_path / "x.npz", **content)
    refused(tmp_path, data, tmp_path / "x.npz", "npz", words)


def test_one_array_is_no_archive(data, values, tmp_path):
    np.save(tmp_path / "x.npy", values)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    words = "found one array of shape (124, 5), as numpy.save writes it; save both by numpy.savez"
    refused(tmp_path, data, tmp_path / "x.npz", "npz", words)


@pytest.mark.parametrize("theirs", [True, False])
def test_what_other_columns_of_floats_say_is_no_feature(theirs, data, index, values, tmp_path):
    path = tmp_path / "x.parquet"
    others = {"target": index["label"].astype(float), "x": index["x"] + 0.5, "prob": 0.1}
    columns = {f"f{number}": values[:, number] for number in (3, 0, 4, 1, 2)}
    pd.DataFrame({"patch_id": index["patch_id"]} | (others if theirs else {}) | columns).to_parquet(path)
    folder = imported(tmp_path / "one", data, path, "parquet")
    assert_equal(folder, data, index, values)
    assert read_sealed(folder / ABOUT)["embeddings"]["found"] == {"columns": "f0 to f4"}


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"name": ["a"], "features": [[1.0]]}, "expected a column patch_id or patch_ids or id or ids"),
        ({"patch_id": ["a"], "width": [3]}, "columns of floats with a number each, f0, f1 and so on, found patch_id"),
        ({"patch_id": ["a"], "width": [3.0], "target": [1.0]}, "f0, f1 and so on, found patch_id"),
        ({"patch_id": ["a"], "f0": [1.0], "f1": [1.0], "y1": [1.0]}, "found several such names: f0, y1; write"),
        (
            {"patch_id": ["a"], "f0": [1.0], "f1": [1], "f2": [1.0]},
            "a column of floats for each number between f0 and f2",
        ),
        ({"patch_id": ["train-0"], "features": [["a", "b"]]}, "features that are floats, found values of type str"),
        ({"patch_id": ["train-0"], "features": [[1, 2]]}, "features that are floats, found values of type int64"),
        ({"patch_id": ["train-0"], "features": [[[1.0], [2.0]]]}, "that are floats, found values of type ndarray"),
        ({"patch_id": ["train-0"], "features": [[]]}, "expected features of each patch, found none"),
        (
            {"patch_id": ["a", None], "features": [[1.0], [1.0]]},
            "in the column patch_id of each row, found none in row 1",
        ),
        (
            {"patch_id": ["train-0"], "features": [[1.0]], "label": ["tumour"]},
            "expected the label 0 of patch train-0",
        ),
        (
            {"patch_id": ["a", "b"], "features": [[1.0], [1.0, 2.0]]},
            "lists of one length in each row, found lengths 1, 2",
        ),
        ({"patch_id": ["a", "b"], "features": [[1.0], None]}, "found lengths 1, no list"),
    ],
)
def test_parquet_files_that_are_not_as_they_should_be(frame, words, data, tmp_path):
    pd.DataFrame(frame).to_parquet(tmp_path / "x.parquet")
    refused(tmp_path, data, tmp_path / "x.parquet", "parquet", words)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_cut_table_is_refused(kind, data, index, values, tmp_path):
    path = written.WRITERS[kind](tmp_path / "theirs", index, values)
    file = next(path.glob("*")) if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:-200])
    refused(tmp_path, data, path, kind, f"{file.name}: expected a ", "that is whole, found: ")


def test_a_folder_without_such_files_is_refused(data, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/a.csv").touch()
    refused(
        tmp_path, data, tmp_path / "theirs", "trident", "expected embeddings in the format trident, *.h5, found a.csv"
    )
    refused(tmp_path, data, tmp_path / "gone", "trident", "gone: expected a folder that can be read")


def test_files_that_change_are_refused(data, index, values, tmp_path, monkeypatch):
    path = written.npz(tmp_path / "theirs", index, values)
    with pytest.raises(HistobenchError, match="has changed since Snakemake looked at it"):
        imported(tmp_path / "imported", data, path, "npz", content="another")
    join = joining.join

    def touched(*arguments):
        path.touch()
        yield from join(*arguments)

    monkeypatch.setattr(joining, "join", touched)
    refused(tmp_path, data, path, "npz", "all.npz: changed, came or went while its folder was read")


FLOATS = [np.float16, np.float32, np.float64]


@given(
    st.sampled_from(FLOATS).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=3), elements={"allow_nan": False})
    )
)
def test_a_tensor_is_read_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    written.torch_file(path, [values])
    (found,) = torch_file.load(path)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


PROGRAMS = {
    "builtins.eval": pickle.dumps(eval, 2),
    "posix.system": pickle.dumps(os.system, 2),
    "EMPTY_DICT": pickle.dumps({}, 2),
    "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R)b.",
    "INST": b"(iposix\nsystem\n.",
    "torch.LongStorage": b"\x80\x02ctorch\nLongStorage\n.",
    "torch._utils._rebuild_parameter": b"\x80\x02ctorch._utils\n_rebuild_parameter\n.",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_does_more_than_tensors_need_is_refused_by_name(what, tmp_path):
    written.torch_file(tmp_path / "x.pt", [], PROGRAMS[what])
    with pytest.raises(HistobenchError, match=rf"x\.pt: expected nothing but tensors, found .*{what.split('.')[-1]}"):
        torch_file.load(tmp_path / "x.pt")


@pytest.mark.parametrize("size", [(4,), (2, 2), (10**9,)])
def test_a_tensor_beyond_its_storage_is_refused(size, tmp_path):
    values = np.arange(3, dtype=np.float32)
    program = written._program([values]).replace(written._tuple(values.shape), written._tuple(size))
    written.torch_file(tmp_path / "x.pt", [values], program)
    with pytest.raises(HistobenchError, match=r"x\.pt: expected tensors as torch.save writes them, found: a tensor"):
        torch_file.load(tmp_path / "x.pt")


def test_numbers_of_the_other_byte_order_and_bfloat16(tmp_path):
    values = np.array([1.5, -2.0, 3.25e8], np.float32)
    path = tmp_path / "x.pt"
    written.torch_file(path, [values])
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    of_bfloat16 = members | {"x/data/0": halves.tobytes()}
    of_bfloat16["x/data.pkl"] = members["x/data.pkl"].replace(b"FloatStorage", b"BFloat16Storage")
    for changes in (members | {"x/byteorder": b"big", "x/data/0": values.byteswap().tobytes()}, of_bfloat16):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in changes.items():
                archive.writestr(name, content)
        (found,) = torch_file.load(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(
            found, (halves.astype(np.uint32) << 16).view(np.float32) if changes is of_bfloat16 else values
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-40],
        lambda whole: b"\x80\x02}q.",
        lambda whole: whole.replace(b"\x00\x00\x80?", b"\x00\x00\x90?"),
    ],
)
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = tmp_path / "x.pt"
    written.torch_file(path, [np.ones(40, np.float32)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        HistobenchError, match=r"x\.pt: expected (a zip archive|tensors as torch\.save writes them, found: Bad CRC-32)"
    ):
        torch_file.load(path)
