"""Records: what is written is what is read, by NumPy and by TensorFlow alike, or an error."""

import errno
import hashlib
import itertools
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from histobench.core import prepared
from histobench.core.datasets import Patches, Tally, read
from histobench.core.errors import HistobenchError, for_user
from histobench.core.formats import Dataset, Source
from histobench.core.own_patches import Own
from histobench.core.prepared import SPLITS
from histobench.train import records
from histobench.train.batches import Batches
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


def test_nothing_that_is_read_is_mapped(prepared_folder):
    """A mapped file counts as memory of the process."""
    part = prepared.Records(prepared_folder, "train")
    part.take(np.arange(len(part)))
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(prepared_folder) not in maps.read_text()


def test_patches_that_the_system_must_fetch_are_announced_together_and_read(prepared_folder, monkeypatch):
    steps = []
    announce, read = prepared.Pieces.announce, prepared.Pieces.read
    preadv = os.preadv

    def at_once_never(file, memory, place, flags=0):
        if flags:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return preadv(file, memory, place)

    monkeypatch.setattr(prepared, "AT_ONCE", 8)
    monkeypatch.setattr(os, "preadv", at_once_never)
    monkeypatch.setattr(prepared.Pieces, "announce", lambda *call: (steps.append("announce"), announce(*call)))
    monkeypatch.setattr(prepared.Pieces, "read", lambda *call: (steps.append("read"), read(*call)))
    found = prepared.Records(prepared_folder, "train").take(np.array([5, 2, 9]))
    np.testing.assert_array_equal(found, patches("train", COUNTS["train"], 0).images[[5, 2, 9]])
    assert steps == ["announce"] * 3 + ["read"] * 3


def test_threads_may_take_patches_at_once(prepared_folder):
    part, whole = prepared.Records(prepared_folder, "train"), patches("train", COUNTS["train"], 0).images
    orders = [np.random.default_rng(seed).permutation(len(whole)) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for order, found in zip(orders, pool.map(part.take, orders), strict=True):
            np.testing.assert_array_equal(found, whole[order])


def test_a_shard_that_loses_bytes_while_it_is_read_is_an_error_that_names_it(damaged):
    part = prepared.Records(damaged, "train")
    shard = damaged / prepared.shard_names("train")[1]
    os.truncate(shard, shard.stat().st_size - 20)
    with pytest.raises(HistobenchError, match=rf"{shard.name}: expected 4800 bytes from byte \d+ on, found: 4784"):
        part.take(np.arange(len(part)))


def test_a_shard_that_cannot_be_read_is_an_error_that_names_it(prepared_folder, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    part = prepared.Records(prepared_folder, "train")
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(HistobenchError, match=rf"{prepared.shard_names('train')[3]}: .* found: Input/output error"):
        part.take(np.array([3]))


def test_files_are_closed_with_what_reads_them(prepared_folder):
    part = prepared.Records(prepared_folder, "train")
    files = [shard.descriptor for shard in part._shards]
    del part
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


def test_positions_by_name(prepared_folder):
    part = prepared.Records(prepared_folder, "valid")
    assert part.positions(["valid-7", "valid-2", "train-3"]) == {"valid-7": 7, "valid-2": 2}


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


@pytest.fixture
def damaged(prepared_folder, tmp_path):
    """A copy of a prepared data set."""
    return Path(shutil.copytree(prepared_folder, tmp_path / "damaged"))


RECORD = 16 + 40 * 40 * 3


@pytest.mark.parametrize(
    ("damage", "record"),
    [
        (lambda content: bytes(len(content)), 0),
        (lambda content: content[: 3 * RECORD] + bytes(RECORD) + content[4 * RECORD :], 3),
        (lambda content: content[: 2 * RECORD + 12] + b"\xff" + content[2 * RECORD + 13 :], 2),
        (lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], 17),
        # Whole records, each with a checksum of its own that holds, in another order.
        (lambda content: content[RECORD : 2 * RECORD] + content[:RECORD] + content[2 * RECORD :], 0),
    ],
)
def test_a_patch_that_is_not_the_one_that_was_written_is_refused_when_it_is_read(damaged, damage, record):
    name = prepared.shard_names("train")[1]
    shard = damaged / name
    shard.write_bytes(damage(shard.read_bytes()))
    part = prepared.Records(damaged, "train")
    place = record * prepared.SHARDS + 1
    with pytest.raises(HistobenchError, match=rf"{name}, record {record}, patch train-{place}: expected .*`prepare`"):
        part.take(np.arange(len(part)))
    part.take(np.arange(0, len(part), prepared.SHARDS))  # the others are what they were
    # What TensorFlow makes of the error still names the file.
    with pytest.raises(tf.errors.OpError) as caught:
        list(Batches(part, np.arange(len(part)), 16).for_keras())
    assert str(for_user(caught.value)).startswith(f"{shard}, record {record}, patch train-{place}: expected")


def test_shards_that_were_exchanged_are_refused(damaged):
    first, second = (damaged / name for name in prepared.shard_names("train")[:2])
    first.rename(damaged / "aside")
    second.rename(first)
    (damaged / "aside").rename(second)
    with pytest.raises(HistobenchError, match=rf"{first.name}, record 0, patch train-0"):
        prepared.Records(damaged, "train").take(np.arange(2))


@given(data=st.data())
def test_any_damage_of_the_index_or_the_manifest_is_an_error_that_names_the_file_or_changes_nothing(
    prepared_folder, data
):
    name = data.draw(st.sampled_from(["index.parquet", "manifest.json"]))
    folder = prepared_folder.with_name("look")
    folder.mkdir(exist_ok=True)
    for each in ("index.parquet", "manifest.json"):
        shutil.copy(prepared_folder / each, folder)
    content = bytearray((folder / name).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 2))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(content)
    try:
        found = prepared.index(folder)
    except HistobenchError as error:
        assert name in str(error)
    else:  # other white space between the same values
        assert found.equals(prepared.index(prepared_folder))


def identity(folder):
    return prepared.manifest(folder)["patches_sha256"]


def changed(kind):
    """The chunks of a data set, with a change in one of them."""
    chunks = [patches(split, 8, seed) for seed, split in enumerate(COUNTS)]
    some = chunks[1]
    if kind == "pixel":
        some.images[3, 5, 6, 1] ^= 1
    elif kind == "label":
        some.labels[3:5] = some.labels[4:2:-1].copy()
    elif kind == "id":
        some.ids[3] = "another"
    elif kind == "group":
        some.groups[3] = "another"
    elif kind == "order":
        for values in (some.images, some.labels, some.ids, some.groups):
            values[:] = values[::-1].copy() if isinstance(values, np.ndarray) else values[::-1]
    return chunks


@pytest.mark.parametrize("kind", ["pixel", "label", "id", "group", "order"])
def test_the_identity_of_patches_is_all_that_a_result_depends_on(tmp_path, kind):
    assert identity(write(tmp_path / "other", changed(kind))) != identity(write(tmp_path / "as_was", changed("")))


@st.composite
def interleaved(draw):
    """Chunks of tiny patches in any order of the splits, by names that need quotes in a CSV file and by others."""
    names = st.text(st.sampled_from('ab,"é \r\n#'), max_size=4)
    splits = draw(st.permutations(SPLITS)) + draw(st.lists(st.sampled_from(SPLITS), max_size=6))
    chunks = []
    for number, split in enumerate(splits):
        n = draw(st.integers(2, 4))
        images = draw(arrays(np.uint8, (n, 1, 1, 3), elements=st.integers(0, 2)))
        ids = [f"{number}-{patch}{draw(names)}" for patch in range(n)]
        groups = [draw(names) for _ in range(n)]
        labels, places = (np.arange(n) % 2).astype(np.uint8), np.full((n, 2), number, np.int32)
        chunks.append(Patches(split, images, labels, ids, groups, places))
    return chunks


@settings(max_examples=30)
@given(chunks=interleaved())
def test_the_identity_is_the_digest_of_a_table_as_pandas_writes_it(tmp_path_factory, chunks):
    """By split, in the order in which they begin, and by position: as it has been since the first version."""
    folder = write(tmp_path_factory.mktemp("data"), chunks)
    splits = list(dict.fromkeys(some.split for some in chunks))
    rows = []
    for split in splits:
        mine = [some for some in chunks if some.split == split]
        fields = [[each for some in mine for each in getattr(some, name)] for name in ("ids", "groups", "labels")]
        pixels = [hashlib.sha256(image).hexdigest()[:32] for some in mine for image in some.images]
        places = [tuple(place) for some in mine for place in some.places]
        for position, (name, group, label, (x, y), pixel) in enumerate(zip(*fields, places, pixels, strict=True)):
            rows.append((split, position, name, group, label, x, y, pixel))
    table = pd.DataFrame(rows, columns=records.IDENTITY).to_csv(index=False)
    assert identity(folder) == hashlib.sha256(f"(1, 1, 3)\n{table}".encode()).hexdigest()


def test_equal_patches_from_other_files_are_the_same_patches(tmp_path):
    one = write(tmp_path / "one", changed(""), source_files={"sha256": "1"})
    two = write(tmp_path / "two", changed(""), source_files={"sha256": "2"}, source="renamed")
    assert identity(one) == identity(two)


def bad_chunks(kind):
    for seed, split in enumerate(("train", "valid", "test")):
        some = patches(split, 8, seed)
        if kind == "shape" and split == "valid":
            some = patches(split, 8, seed, (41, 41, 3))
        if kind == "twice" and split == "test":
            some.ids[5] = "train-2"
        if kind == "twice in a chunk" and split == "test":
            some.ids[5] = "test-2"
        if kind == "one class" and split == "test":
            some.labels[:] = 1
        if kind == "empty" and split == "valid":
            continue
        if kind == "broken" and split == "test":
            raise HistobenchError("the source broke")
        yield some


def test_the_next_patches_are_read_while_these_are_written(tmp_path):
    """Otherwise the writing of the first patches would wait here for ever."""
    chunks, read = changed(""), threading.Semaphore(0)

    def reader():
        for some in chunks:
            read.release()
            yield some

    class Slow(np.ndarray):
        """Pixels whose writing waits until the chunk after theirs has been read."""

        def tobytes(self, order="C"):
            assert read.acquire(timeout=20)
            read.release()
            return super().tobytes(order)

    chunks[0].images = chunks[0].images.view(Slow)
    asked = reader()
    one = next(asked)
    read.acquire()
    write(tmp_path, itertools.chain([one], asked))


@pytest.mark.parametrize("kind", ["shape", "broken"])
def test_a_reader_has_ended_when_an_error_ends_the_job(tmp_path, kind):
    ended = []

    def reader():
        try:
            yield from bad_chunks(kind)
            yield from bad_chunks("more of them")
        finally:
            ended.append(threading.current_thread())

    before = threading.active_count()
    with pytest.raises(HistobenchError):
        write(tmp_path, reader())
    assert len(ended) == 1
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"patch valid-0: expected patches of shape \(40, 40, 3\), found \(41, 41, 3\)"),
        ("twice", "patch train-2 comes twice in small"),
        ("twice in a chunk", "patch test-2 comes twice in small"),
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
    mine = Source("mine", "folder", str(tmp_path / "mine"), {}, {}, {}, 96, "own", own=Own())
    tally = Tally()
    with pytest.raises(HistobenchError) as caught:
        records.write(tmp_path / "data", read(Dataset("mine", mine, split), tally), tally, {"dataset": "mine"})
    assert str(caught.value).startswith(f"{tmp_path / 'mine'}: cannot split 0 units")
    assert re.search(r"Left out: 8 not 96x96 px, for instance [01]/\d\.png, 64x48 px", str(caught.value))
    assert "2 not an image, for instance 0/notes.txt; 1/notes.txt" in str(caught.value)


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
