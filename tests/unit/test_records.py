"""Records: what is written is what is read, by NumPy and by TensorFlow alike."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histobench.core import prepared
from histobench.core.datasets import Tally, read
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset, Source
from histobench.train import records
from support.small import COUNTS, SHAPE, patches, prepare, write


@pytest.mark.parametrize(("seed", "split"), list(enumerate(COUNTS)))
def test_what_is_written_is_what_is_read(prepared_folder, seed, split):
    expected = patches(split, COUNTS[split], seed)
    part = prepared.Records(prepared_folder, split)
    assert len(part) == COUNTS[split]
    np.testing.assert_array_equal(part.take(np.arange(len(part))), expected.images)
    np.testing.assert_array_equal(part.labels, expected.labels)
    assert part.ids == expected.ids
    assert part.groups == expected.groups


@given(data=st.data())
def test_any_patches_in_any_order(prepared_folder, data):
    n = COUNTS["train"]
    chosen = data.draw(st.lists(st.integers(0, n - 1), max_size=40))
    part = prepared.Records(prepared_folder, "train")
    np.testing.assert_array_equal(
        part.take(np.array(chosen, np.int64)), patches("train", n, 0).images[np.array(chosen, int)]
    )


def test_a_shard_is_a_tfrecord_file(prepared_folder):
    whole = prepared.Records(prepared_folder, "train")
    for number, name in enumerate(prepared.shard_names("train")):
        # TFRecordDataset checks both checksums of every record.
        raw = tf.data.TFRecordDataset(str(prepared_folder / name)).map(lambda r: tf.io.decode_raw(r, tf.uint8))
        images = np.stack([image.numpy().reshape(SHAPE) for image in raw])
        np.testing.assert_array_equal(images, whole.take(np.arange(number, len(whole), prepared.SHARDS)))


def test_the_manifest_counts(prepared_folder):
    about = prepared.manifest(prepared_folder)
    assert about["patches"]["valid"] == {"n": 24, "tumour": 12, "tumour_fraction": 0.5, "groups": 5}
    assert about["shape"] == list(SHAPE)
    assert about["groups_on_both_sides"] is False


def test_the_index_holds_the_colour_of_each_patch(prepared_folder):
    rows = prepared.index(prepared_folder)
    assert tuple(rows.columns) == prepared.INDEX
    row = rows[rows["patch_id"] == "test-3"].iloc[0]
    image = patches("test", 30, 2).images[3].astype(float)
    assert row["green_mean"] == pytest.approx(image[..., 1].mean(), rel=1e-5)
    assert row["blue_std"] == pytest.approx(image[..., 2].std(), rel=1e-5)
    assert (row["split"], row["position"], row["group"], row["label"], row["x"]) == ("test", 3, "test3", 1, -1)


@pytest.mark.parametrize("bytes_lost", [1, 16 + 40 * 40 * 3])
def test_a_shortened_shard_is_refused(prepared_folder, tmp_path, bytes_lost):
    for path in prepared_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / prepared.shard_names("train")[1]
    shard.write_bytes(shard.read_bytes()[:-bytes_lost])
    with pytest.raises(HistobenchError, match=rf"{shard.name}: expected 18 records of 4816 bytes"):
        prepared.Records(tmp_path, "train")


def bad_chunks(kind):
    for seed, split in enumerate(("train", "valid", "test")):
        some = patches(split, 8, seed)
        if kind == "shape" and split == "valid":
            some = patches(split, 8, seed, (41, 41, 3))
        if kind == "twice" and split == "test":
            some.ids[5] = "train-2"
        if kind == "one class" and split == "test":
            some.labels[:] = 1
        if kind == "empty" and split == "valid":
            continue
        if kind == "broken" and split == "test":
            raise HistobenchError("the source broke")
        yield some


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"patch valid-0: expected patches of shape \(40, 40, 3\), found \(41, 41, 3\)"),
        ("twice", "patch train-2 comes twice in small"),
        ("one class", "both classes in the test part, found 8 patches, 8 of them tumour"),
        ("empty", "both classes in the valid part, found 0 patches"),
        ("broken", "the source broke"),
    ],
)
def test_bad_patches_leave_no_file(tmp_path, kind, message):
    with pytest.raises(HistobenchError, match=message):
        write(tmp_path / "data", bad_chunks(kind))
    assert list((tmp_path / "data").iterdir()) == []


def test_where_every_image_has_another_size_the_error_says_so(tmp_path):
    for label in "01":
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (64, 48)).save(tmp_path / "mine" / label / f"{number}.png")
        (tmp_path / "mine" / label / "notes.txt").write_text("x")
    split = {"by": "patch", "train": 0.5, "valid": 0.25, "test": 0.25, "seed": 1}
    mine = Source("mine", "folder", str(tmp_path / "mine"), {}, {}, {}, 96, "own")
    tally = Tally()
    with pytest.raises(HistobenchError) as caught:
        records.write(tmp_path / "data", read(Dataset("mine", mine, split), tally), tally, {"dataset": "mine"})
    assert "both classes in the train part, found 0 patches" in str(caught.value)
    assert re.search(r"excluded: 8 not 96x96 px, for instance [01]/\d\.png, 64x48 px", str(caught.value))
    assert "ignored: 2 not an image, for instance 0/notes.txt; 1/notes.txt" in str(caught.value)


def test_a_group_on_two_sides_shows_in_the_manifest(tmp_path):
    chunks = [patches(split, 8, 0) for split in ("train", "valid", "test")]
    for some in chunks:
        some.groups[:] = ["patient"] * 8
    write(tmp_path, chunks)
    assert prepared.manifest(tmp_path)["groups_on_both_sides"] is True


def test_equal_patches_give_equal_files(prepared_folder, tmp_path):
    prepare(tmp_path, COUNTS, size=25)
    for name in prepared.shard_names("train"):
        assert (tmp_path / name).read_bytes() == (prepared_folder / name).read_bytes()
