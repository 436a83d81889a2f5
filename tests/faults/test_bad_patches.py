"""Bad upstream files: a clear error that names file and item, or a counted exclusion; never a silent loss."""

import errno
import gzip
import io
import itertools
import os
import re
import resource
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from histobench.core.datasets import Tally, archives, read
from histobench.core.datasets import pcam as reader
from histobench.core.errors import HistobenchError
from histobench.core.formats import FORMATS, Dataset, Source
from histobench.core.own_patches import Own
from support.processes import kill, start, wait_until

COUNTS = {"train": 300, "valid": 20, "test": 10}
PREFIX = "camelyonpatch_level_2_split"
DRAWN = {"by": "patch", "train": 0.5, "valid": 0.25, "test": 0.25, "seed": 1}


def pcam(folder: Path, *, expected=None, meta=True) -> Dataset:
    files = {name: remote for name, remote in FORMATS["pcam"].files.items() if meta or "meta" not in name}
    source = Source("pcam", "pcam", str(folder), files, expected or COUNTS, {}, 96, "subset")
    return Dataset("pcam", source, "published")


def idc(folder: Path, *, expected=None, split="published", patches="subset") -> Dataset:
    files = FORMATS["idc"].files
    return Dataset("idc", Source("idc", "idc", str(folder), files, expected or {}, {}, 50, patches), split)


def everything(dataset: Dataset) -> tuple[dict[str, list], Tally]:
    tally, found = Tally(), {"train": [], "valid": [], "test": []}
    for some in read(dataset, tally):
        rows = zip(some.ids, some.groups, some.labels.tolist(), some.places.tolist(), some.images, strict=True)
        found[some.split] += rows
    return found, tally


def counts(found: dict[str, list]) -> dict[str, int]:
    return {split: len(rows) for split, rows in found.items()}


def refused(dataset: Dataset, message: str) -> str:
    with pytest.raises(HistobenchError, match=message) as caught:
        everything(dataset)
    return str(caught.value)


# PCam


def h5(name: str, data: np.ndarray, libver: str = "earliest", **layout) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file.create_dataset(name, data=data, **layout)
    return buffer.getvalue()


def write_h5(path: Path, name: str, data: np.ndarray) -> None:
    path.write_bytes(gzip.compress(h5(name, data), 1))


def images(split: str, n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def whole_pcam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pcam")
    for split, n in COUNTS.items():
        labels = (np.arange(n) % 2).astype(np.uint8)
        write_h5(folder / f"{PREFIX}_{split}_x.h5.gz", "x", images(split, n))
        write_h5(folder / f"{PREFIX}_{split}_y.h5.gz", "y", labels.reshape(-1, 1, 1, 1))
        write_meta(folder, split, labels)
    return folder


def write_meta(folder: Path, split: str, labels: np.ndarray) -> None:
    lines = [",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"]
    lines += [f"{i},{2 * i},{3 * i},{label},{label},slide_{split}_{i % 3}" for i, label in enumerate(labels == 1)]
    (folder / f"{PREFIX}_{split}_meta.csv").write_text("\n".join(lines))


@pytest.fixture
def pcam_folder(whole_pcam, tmp_path):
    return Path(shutil.copytree(whole_pcam, tmp_path / "pcam"))


def test_whole_pcam_is_read_to_the_last_patch(whole_pcam):
    found, tally = everything(pcam(whole_pcam))
    assert counts(found) == COUNTS
    assert tally.total == sum(COUNTS.values())
    for split, rows in found.items():
        np.testing.assert_array_equal(np.stack([row[4] for row in rows]), images(split, COUNTS[split]))
    assert found["train"][299][:4] == ("train-000299", "slide_train_2", 1, [897, 598])


def test_without_slide_metadata_groups_are_unknown(pcam_folder):
    for path in pcam_folder.glob("*_meta.csv"):
        path.unlink()
    found, _ = everything(pcam(pcam_folder, meta=False))
    assert {row[1] for row in found["test"]} == {""}
    refused(pcam(pcam_folder), "train_meta.csv: not found")


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("train_x", lambda data, kept=kept: data[: int(len(data) * kept)]) for kept in (0.02, 0.5, 0.999)),
        ("train_x", flipped),
        *((name, lambda data: b"<html>not found</html>") for name in ("valid_x", "valid_y")),
        ("valid_x", lambda data: gzip.compress(b"something else" * 1000)),
        ("valid_y", lambda data: b""),
        *(("train_x", lambda data, kept=kept: gzip.decompress(data)[:kept]) for kept in (4, 1000, -1)),
        ("train_x", lambda data: gzip.compress(h5("train_x", np.zeros(3)))),
        ("train_x", lambda data: h5("x/y", np.zeros(3))),
    ],
)
def test_a_file_that_is_no_whole_hdf5(pcam_folder, name, damage):
    path = pcam_folder / f"{PREFIX}_{name}.h5.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert "start again" in refused(pcam(pcam_folder), rf"{path.name}.*expected HDF5, gzipped or not, that is")


def test_a_label_file_of_another_length(pcam_folder):
    path = pcam_folder / f"{PREFIX}_train_y.h5.gz"
    write_h5(path, "y", np.zeros((299, 1, 1, 1), np.uint8))
    refused(pcam(pcam_folder), rf"{path.name}: expected 300 labels .*found 299")
    # Even where the configuration expects that length.
    for meta in pcam_folder.glob("*_meta.csv"):
        meta.unlink()
    message = refused(pcam(pcam_folder, expected=COUNTS | {"train": 299}, meta=False), f"{PREFIX}_train_x.h5.gz")
    assert "one patch for each label, found (300, 96, 96, 3)" in message


def test_patches_of_another_size(pcam_folder):
    write_h5(pcam_folder / f"{PREFIX}_test_x.h5.gz", "x", np.zeros((10, 64, 64, 3), np.uint8))
    refused(pcam(pcam_folder), r"test_x\.h5\.gz: expected x of shape \(10, 96, 96, 3\).*found \(10, 64, 64, 3\)")


# What people write themselves: by chance, to append patches, to compress them, by the newest h5py.
LAYOUTS = {
    "contiguous": {},
    "a chunk per patch": {"chunks": (1, 96, 96, 3)},
    "chunks of patches": {"chunks": (7, 96, 96, 3)},
    "chunks of parts of patches": {"chunks": (9, 50, 7, 1)},
    "chunks=True": {"chunks": True},
    "appendable": {"maxshape": (None, 96, 96, 3)},
    "compressed and shuffled": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf, newest version": {"compression": "lzf", "libver": "latest"},
}


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_patches_in_any_layout_are_read_once(pcam_folder, monkeypatch, layout, packed):
    for split, n in COUNTS.items():
        for part, values in (("x", images(split, n)), ("y", np.arange(n, dtype=np.uint8).reshape(-1, 1, 1, 1) % 2)):
            chunks = LAYOUTS[layout] if part == "x" else {"chunks": True} if LAYOUTS[layout] else {}
            data = h5(part, values, **chunks)
            (pcam_folder / f"{PREFIX}_{split}_{part}.h5.gz").write_bytes(gzip.compress(data, 1) if packed else data)
    again = []

    def seek(stream, offset, whence=0, original=reader._Stream.seek):
        if whence == 0 and offset < stream.tell() < stream.SIZE:
            again.append(stream.tell())
        return original(stream, offset, whence)

    monkeypatch.setattr(reader._Stream, "seek", seek)
    before = sorted(pcam_folder.iterdir())
    found, _ = everything(pcam(pcam_folder))
    for split, rows in found.items():
        np.testing.assert_array_equal(np.stack([row[4] for row in rows]), images(split, COUNTS[split]))
        assert [row[2] for row in rows] == [i % 2 for i in range(COUNTS[split])]
    # A gzip stream that is set back starts over: at the heads of files, a few kB, never after patches.
    assert all(position < 10_000 for position in again)
    assert sorted(pcam_folder.iterdir()) == before


def half_written(name: str, values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        data = file.create_dataset(name, values.shape, values.dtype, chunks=(1, *values.shape[1:]))
        data[: len(values) // 2] = values[: len(values) // 2]
    return buffer.getvalue()


def never_written(name: str, values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset(name, values.shape, values.dtype)
    return buffer.getvalue()


def of_links(name: str, values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource("elsewhere.h5", name, values.shape)
    with h5py.File(buffer, "w") as file:
        file.create_virtual_dataset(name, layout)
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (half_written, r"expected 10 chunks of {}, found 5: the file was not written to its end"),
        (never_written, "expected the values of {}, found none"),
        (of_links, "expected the values of {} in this file, found links"),
    ],
)
@pytest.mark.parametrize("part", ["x", "y"])
def test_values_that_are_not_there_are_no_black_patches(pcam_folder, part, write, message, packed):
    data = write(part, images("test", 10) if part == "x" else np.zeros((10, 1, 1, 1), np.uint8))
    path = pcam_folder / f"{PREFIX}_test_{part}.h5.gz"
    path.write_bytes(gzip.compress(data) if packed else data)
    refused(pcam(pcam_folder), rf"{path.name}: {message.format(part)}")


@pytest.fixture
def chunked_folder(pcam_folder):
    path = pcam_folder / f"{PREFIX}_train_x.h5.gz"
    path.write_bytes(gzip.compress(h5("x", images("train", 300), chunks=True), 1))
    return pcam_folder


def test_no_room_to_unpack_is_said_before_or_when_it_is_noticed(chunked_folder, monkeypatch):
    before = sorted(chunked_folder.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        refused(pcam(chunked_folder), rf"train_x\.h5\.gz: cannot be unpacked, .*{os.strerror(errno.EFBIG)}.*Make room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2**33, 2**33 - 10**6, 10**6))
    message = refused(pcam(chunked_folder), r"train_x\.h5\.gz: its values are stored in chunks, so it must be unpacked")
    assert f"needs 0.0 GB in {chunked_folder} while it is read; 0.0 GB are free" in message
    assert sorted(chunked_folder.iterdir()) == before


def test_a_damaged_file_that_is_unpacked(chunked_folder):
    path = chunked_folder / f"{PREFIX}_train_x.h5.gz"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], flipped(data), data[:-8] + b"12345678"):
        path.write_bytes(damaged)
        assert "start again" in refused(pcam(chunked_folder), rf"{path.name}.*expected HDF5, gzipped or not, that is")


READ = """
import sys, time
from pathlib import Path
from histobench.core.datasets import Tally, archives, read
from histobench.core.datasets import pcam as reader
from histobench.core.formats import FORMATS, Dataset, Source
source = Source("pcam", "pcam", sys.argv[1], FORMATS["pcam"].files, {"train": 300, "valid": 20, "test": 10}, {}, 96, "")
for some in read(Dataset("pcam", source, "published"), Tally()):
    Path(sys.argv[2]).touch()
    time.sleep(60)
"""


def test_what_was_unpacked_is_gone_after_a_kill(chunked_folder, tmp_path):
    before = sorted(chunked_folder.iterdir())
    child = start([sys.executable, "-c", READ, chunked_folder, tmp_path / "reading"], tmp_path / "log")
    wait_until((tmp_path / "reading").exists, child, seconds=60)
    kill(child)
    assert sorted(chunked_folder.iterdir()) == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(10, 3, np.uint8), "patch 0: expected a label of 0 or 1, found 3"),
        (np.array([0, 1, -1] * 3 + [0]), "patch 2: expected a label of 0 or 1, found -1"),
        (np.array([0.0, np.nan] * 5), "patch 1: expected a label of 0 or 1, found nan"),
        (np.full(10, 0.5), "patch 0: expected a label of 0 or 1, found 0.5"),
        (np.array([b"tumour"] * 10), "expected labels of 0 or 1, found values of type"),
        (np.eye(10), "expected 10 labels .*, found 100"),
    ],
)
def test_labels_that_are_no_labels(pcam_folder, labels, message):
    write_h5(pcam_folder / f"{PREFIX}_test_y.h5.gz", "y", labels)
    refused(pcam(pcam_folder), rf"test_y\.h5\.gz.*{message}")


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
def test_labels_of_other_types(pcam_folder, kind):
    write_h5(pcam_folder / f"{PREFIX}_test_y.h5.gz", "y", (np.arange(10) % 2).astype(kind))
    found, _ = everything(pcam(pcam_folder))
    assert [row[2] for row in found["test"]] == [0, 1] * 5


def test_slide_metadata_of_another_split(pcam_folder):
    write_meta(pcam_folder, "test", np.arange(9) % 2)
    refused(pcam(pcam_folder), r"test_meta\.csv: expected 10 rows, one for each label, found 9")
    write_meta(pcam_folder, "test", np.arange(10) % 3 == 0)
    refused(
        pcam(pcam_folder),
        r"test_meta\.csv, patch 0 of slide slide_test_0: center_tumor_patch is True, but .*test_y\.h5\.gz says 0",
    )


def of_columns(*wanted: str):
    def write(text: str) -> bytes:
        rows = [line.split(",") for line in text.splitlines()]
        return "\n".join(",".join(row[rows[0].index(name)] for name in wanted) for row in rows).encode()

    return write


def test_slide_metadata_as_programs_save_it(pcam_folder):
    path = pcam_folder / f"{PREFIX}_test_meta.csv"
    text, (before, _) = path.read_text(), everything(pcam(pcam_folder))
    spaced = re.sub(r"slide_test_(\d)", r"  slide_test_\1 ", text)
    for data in (
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        b"\xef\xbb\xbf" + of_columns("wsi", "center_tumor_patch", "coord_x", "coord_y")(text),
        text.replace("\n", "\r\n").encode() + b"\r\n\r\n",
        text.replace("True", "1").replace("False", "0").encode(),
        spaced.encode(),
    ):
        path.write_bytes(data)
        after, _ = everything(pcam(pcam_folder))
        assert [row[:4] for row in after["test"]] == [row[:4] for row in before["test"]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("slide_test_2", "käse").encode("latin-1"), "expected a text in UTF-8"),
        (lambda text: text.encode("utf-16-le"), "expected a text in UTF-8"),
        (lambda text: text.replace(",", ";").encode(), "expected columns .*found: ;coord_y;coord_x"),
        (lambda text: b"", "expected columns .*found: none"),
        (lambda text: b"a,b\n1,2\n", "expected columns .*missing: center_tumor_patch, coord_x, .*found: a, b"),
        (lambda text: text.replace(",2,3,True,True,slide_test_1", "").encode(), "expected 6 values, found 1"),
        (lambda text: text.replace("1,2,3,", "1,2,3,4,").encode(), "patch 1: expected 6 values, found 7"),
        (lambda text: text.replace("True,slide_test_1", "True,").encode(), "patch 1: expected the name of its slide"),
        (lambda text: text.replace("False,sl", "no,sl").encode(), "patch 0: expected True or False .*'no'"),
        (lambda text: text.replace("False,sl", ",sl").encode(), "patch 0: expected True or False .*''"),
        *(
            (
                lambda text, value=value: text.replace("1,2,3,", f"1,2,{value},").encode(),
                f"patch 1: expected whole numbers up to 2147483647 in coord_x and coord_y, found '{value}' and '2'",
            )
            for value in ("12345678901", "-12345678901", "3.5", "x", "")
        ),
        (lambda text: text.replace("slide_test_1", '"slide_test_1', 1).encode(), "expected 10 rows, .* found 2"),
        (lambda text: text.encode() + b"x" * 200_000, "expected a table with commas .*field larger"),
    ],
)  # fmt: skip
def test_slide_metadata_that_is_damaged(pcam_folder, damage, message):
    path = pcam_folder / f"{PREFIX}_test_meta.csv"
    path.write_bytes(damage(path.read_text()))
    refused(pcam(pcam_folder), rf"{path.name}[:,].*{message}")


# IDC


def png(height=50, width=50, value=128) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def gif_of_two_frames() -> bytes:
    first, second = (Image.new("L", (50, 50), grey) for grey in (0, 255))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    return buffer.getvalue()


def name(patient: str, label: int, x: int) -> str:
    return f"{patient}/{label}/{patient}_idx5_x{x}_y51_class{label}.png"


PATIENTS = {"train": ["90001", "90002"], "val": ["90003"], "test": ["90004"]}


@pytest.fixture
def archive(tmp_path):
    """A function that writes an archive of four patients with three patches each, and what else it is given."""
    for split, patients in PATIENTS.items():
        (tmp_path / f"cases_{split}.txt").write_text("".join(f"{p}\n" for p in patients))

    def write(extra: dict[str, bytes] | None = None, without: str = "") -> Path:
        with zipfile.ZipFile(tmp_path / "IDC_regular_ps50_idx5.zip", "w") as file:
            for patient in itertools.chain(*PATIENTS.values()):
                for i in range(3):
                    if patient != without:
                        file.writestr(name(patient, i % 2, 50 * i + 1), png(value=10 * i))
            for entry, content in (extra or {}).items():
                file.writestr(entry, content)
        return tmp_path

    return write


def test_whole_idc_is_read_by_patient(archive):
    found, tally = everything(idc(archive(), expected={"patches": 12, "patients": 4}))
    patients = {split: sorted({row[1] for row in rows}) for split, rows in found.items()}
    assert patients == {"train": PATIENTS["train"], "valid": PATIENTS["val"], "test": PATIENTS["test"]}
    assert found["test"][1][:4] == ("90004_idx5_x51_y51_class1", "90004", 1, [51, 51])
    assert tally.total == 12
    assert not tally.excluded


LITTER = "hidden, or left by an operating system"
EDGE, UNLISTED = "not 50x50 px, at the edge of the tissue", "patient not in the published split"
NESTED = {f"IDC_regular_ps50_idx5/{name('90001', i % 2, 50 * i + 1)}": png(value=10 * i) for i in range(3)}


@pytest.mark.parametrize(
    ("extra", "patients", "excluded", "ignored"),
    [
        ({name("90001", 0, 951): png(50, 31), name("90004", 1, 951): png(22, 50)}, 4, {EDGE: 2}, {}),
        ({name("90999", 0, 1): png(), name("90999", 1, 51): png()}, 5, {UNLISTED: 2}, {}),
        (NESTED, 4, {}, {"second copy of a patch": 3}),
        ({"__MACOSX/1/._x": b"", "1/.DS_Store": b""}, 4, {}, {LITTER: 2}),
        ({".ipynb_checkpoints/x.png": b"", "1/desktop.ini": b"", "@eaDir/y.png": b""}, 4, {}, {LITTER: 3}),
        ({"README.txt": b"hello", "patches.npy": b""}, 4, {}, {"not an image": 2}),
    ],
)
def test_what_is_left_out_is_counted(archive, extra, patients, excluded, ignored):
    patches = 12 + sum(excluded.values())
    found, tally = everything(idc(archive(extra), expected={"patches": patches, "patients": patients}))
    assert sum(map(len, found.values())) == 12
    assert (tally.total, tally.excluded, tally.ignored) == (patches, excluded, ignored)
    assert tally.notes["patients not in the published split"] == patients - 4


BROKEN = name("90002", 1, 951)
COPY = f"copy/{name('90001', 1, 51)}"


@pytest.mark.parametrize(
    ("entry", "content", "message"),
    [
        *(
            (entry, png(), "leaves the archive's folder")
            for entry in (f"../{BROKEN}", "/etc/90001_idx5_x1_y1_class0.png", "a/../../b.txt", "C:\\b.png")
        ),
        *((BROKEN, content, "expected an image that is whole") for content in (png()[:60], b"no png", b"")),
        (COPY, png(value=200), "a second copy of '90001/1/90001_idx5_x51_y51_class1.png' with other content"),
        ("90001/0/90002_idx5_x1_y1_class0.png", png(), "unknown patient: 90001 by folder, 90002 by name"),
        ("90001/0/90001_idx5_x1_y1_class1.png", png(), "expected class 0 or 1, the same in folder and file name"),
        ("90001/2/90001_idx5_x1_y1_class2.png", png(), "expected class 0 or 1, the same in folder and file name"),
        *((f"90001/0/preview.{kind}", png(), "expected <patient>/<0|1>/") for kind in ("png", "PNG", "jpg")),
        *((name("90001", 0, x), png(), "expected <patient>/<0|1>/") for x in (10**10, 2**31, -5)),
        (name("90001", 0, 951), gif_of_two_frames(), "expected one patch, found 2 pages"),
    ],
)
def test_an_entry_that_is_refused(archive, entry, content, message):
    refused(idc(archive({entry: content})), re.escape(f"IDC_regular_ps50_idx5.zip, entry {entry!r}: {message}"))


def test_patches_of_any_suffix_of_an_image_are_read(archive):
    names = [name("90001", 1, 951 + i).replace(".png", suffix) for i, suffix in enumerate((".PNG", ".Png", ".tif"))]
    found, tally = everything(idc(archive({entry: png(value=77) for entry in names})))
    assert [row[4].mean() for row in found["train"]].count(77) == 3
    assert not tally.ignored


@pytest.mark.parametrize(
    ("offset", "value", "found"),
    [(10, 9, "method 9"), (10, 93, "method 93"), (10, 99, "method 99"), (8, 1, "a password")],
)
@pytest.mark.parametrize("split", ["published", DRAWN])
def test_entries_that_python_cannot_unpack_are_named_before_any_is_read(archive, split, offset, value, found):
    path = archive() / "IDC_regular_ps50_idx5.zip"
    data = bytearray(path.read_bytes())
    entry = name("90004", 0, 101).encode()
    data[data.rfind(entry) - 46 + offset] = (
        value  # in the archive's directory, whose records begin 46 bytes before the name
    )
    path.write_bytes(data)
    message = refused(idc(path.parent, split=split), rf"entry '{entry.decode()}': expected an entry packed by store or")
    assert f"found {found}. Pack the archive anew" in message


def test_a_broken_png_under_a_random_split(archive):
    refused(idc(archive({BROKEN: b"no png"}), split=DRAWN), rf"entry '{BROKEN}': expected an image that is whole")


def test_a_damaged_archive(archive):
    path = archive() / "IDC_regular_ps50_idx5.zip"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-30])
    refused(idc(path.parent), r"IDC_regular_ps50_idx5\.zip: expected a zip archive that is whole")
    where = data.find(b"IDAT") + 6
    data[where] ^= 0xFF
    path.write_bytes(data)
    refused(idc(path.parent), r"entry '90001/0/.*expected an image that is whole.*CRC")


def test_a_listed_patient_without_patches(archive):
    folder = archive(without="90001")
    _, tally = everything(idc(folder))
    assert tally.notes["listed patients without patches"] == 1
    # In the whole archive every listed patient must be there.
    refused(idc(folder, patches="published"), r"unknown patient 90001: listed in cases_train\.txt")


@pytest.mark.parametrize("text", ["", "90O03\n", "99999"])
def test_a_list_of_patients_of_whom_none_has_patches(archive, text):
    folder = archive()
    (folder / "cases_val.txt").write_text(text)
    refused(idc(folder), r"cases_val\.txt: expected patients of .*\.zip, such as 90001, found none")


ENCODINGS = [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-16", "\n"), ("utf-16", "\r\n\r\n")]


@pytest.mark.parametrize(("encoding", "end"), ENCODINGS)
def test_lists_as_editors_save_them(archive, encoding, end):
    folder = archive()
    expected = counts(everything(idc(folder))[0])
    for path in folder.glob("cases_*.txt"):
        path.write_bytes(path.read_text().replace("\n", end).encode(encoding))
    found, tally = everything(idc(folder))
    assert counts(found) == expected
    assert not tally.excluded


@pytest.mark.parametrize(
    "content", ["Präparat\n".encode("latin-1"), "90003\n".encode("utf-16-le"), "90003\n".encode("utf-32"), b"\xff"]
)
def test_lists_in_another_encoding_are_named(archive, content):
    folder = archive()
    (folder / "cases_val.txt").write_bytes(content)
    assert "Save it as UTF-8" in refused(idc(folder), r"cases_val\.txt: expected a text in UTF-8, or in UTF-16")


def test_patients_of_the_lists_and_of_the_archive_that_do_not_meet_are_told(archive, caplog):
    folder = archive({name("90999", 0, 1): png()}, without="90002")
    _, tally = everything(idc(folder))
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(": ", 1)[1] for line in told] == [
        "1 listed patients without patches: 90002",
        "1 patients not in the published split: 90999",
    ]
    assert tally.examples["listed patients without patches"] == ["90002"]
    assert tally.examples["patients not in the published split"] == ["90999"]


def test_a_patient_on_two_lists(archive):
    folder = archive()
    (folder / "cases_test.txt").write_text("90004\n90001\n")
    refused(idc(folder), r"cases_test\.txt, line 2: patient 90001 stands in the train list, too")


@pytest.mark.parametrize(("what", "count"), [("patches", 13), ("patients", 5)])
def test_another_number_than_expected(archive, what, count):
    expected = {"patches": 12, "patients": 4} | {what: count}
    refused(idc(archive(), expected=expected), rf"expected {count} {what} \(sources\.idc\.expected\.{what}\), found")


def test_missing_files(archive):
    folder = archive()
    (folder / "cases_val.txt").unlink()
    refused(idc(folder), r"cases_val\.txt: not found; expected the published list of valid patients")
    (folder / "IDC_regular_ps50_idx5.zip").unlink()
    refused(idc(folder), r"IDC_regular_ps50_idx5\.zip: not found")


def test_a_random_split_does_not_count_dropped_patches(archive):
    odd = {name("90001", 0, 1001 + 50 * i): png(50, 20) for i in range(20)}
    found, tally = everything(idc(archive(odd), split=DRAWN))
    assert counts(found) == {"train": 6, "valid": 3, "test": 3}
    assert all({row[2] for row in rows} == {0, 1} for rows in found.values())
    assert sum(tally.excluded.values()) == 20


# Folders of one's own


@pytest.fixture
def own(tmp_path):
    for split in ("train", "valid", "test"):
        for label in "01":
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(3):
                (folder / f"p{split}{i}__{i}.png").write_bytes(png(value=20 * i))
    return tmp_path


def folder_of(path: Path, split="published") -> Dataset:
    return Dataset("mine", Source("mine", "folder", str(path), {}, {}, {}, 50, "own", own=Own()), split)


def test_a_random_split_does_not_count_images_of_another_size(tmp_path):
    for label in "01":
        (tmp_path / label).mkdir()
        for number in range(6):
            (tmp_path / label / f"{label}{number}__.png").write_bytes(png(value=20 * number))
        for number in range(20):
            (tmp_path / label / f"{label}{number}__odd.png").write_bytes(png(50, 20))
    found, tally = everything(folder_of(tmp_path, DRAWN))
    assert counts(found) == {"train": 6, "valid": 3, "test": 3}
    assert all({row[2] for row in rows} == {0, 1} for rows in found.values())
    assert (tally.total, tally.excluded) == (12, {"not 50x50 px": 40})
    for path in tmp_path.glob("?/*__.png"):
        path.unlink()
    refused(
        folder_of(tmp_path, DRAWN), rf"^{tmp_path}: cannot split 0 units .* Left out: 40 not 50x50 px, for instance 0"
    )


def test_a_folder_of_ones_own(own):
    (own / "notes.txt").write_text("x")
    (own / "train" / "1" / "small.png").write_bytes(png(40, 50))
    found, tally = everything(folder_of(own))
    assert counts(found) == {"train": 6, "valid": 6, "test": 6}
    assert found["valid"][0][:3] == ("valid/0/pvalid0__0.png", "pvalid0", 0)
    assert tally.excluded == Counter({"not 50x50 px": 1})
    assert tally.ignored == Counter({"not an image": 1})


def test_a_folder_with_a_drawn_split_keeps_patients_together(own):
    by_group = {"by": "group", "train": 0.34, "valid": 0.33, "test": 0.33, "seed": 1}
    found, _ = everything(folder_of(own / "train", by_group))
    assert counts(found) == {"train": 2, "valid": 2, "test": 2}
    assert len({row[1] for row in found["test"]}) == 1


def test_litter_is_no_patch(own):
    for litter in ("._p.png", "Thumbs.db", ".ipynb_checkpoints/p-checkpoint.png", "__MACOSX/1/._p.png", ".nfs0001"):
        path = own / "train" / "1" / litter
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    found, tally = everything(folder_of(own))
    assert counts(found) == {"train": 6, "valid": 6, "test": 6}
    assert tally.ignored == {LITTER: 5}


def test_links_to_folders_and_files_are_followed(own, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    expected, _ = everything(folder_of(own))
    (own / "train" / "1").rename(elsewhere / "tumour")
    (own / "train" / "1").symlink_to(elsewhere / "tumour")
    (own / "valid").rename(elsewhere / "valid")
    (own / "valid").symlink_to(elsewhere / "valid")
    (own / "test" / "0" / "ptest0__0.png").rename(elsewhere / "image")
    (own / "test" / "0" / "ptest0__0.png").symlink_to(elsewhere / "image")
    found, _ = everything(folder_of(own))
    assert [row[0] for row in found["train"]] == [row[0] for row in expected["train"]]
    assert counts(found) == counts(expected)


@pytest.mark.parametrize(
    ("link", "above"), [("train/1/loop", ""), ("train/1/loop", "train"), ("train/1/loop", "train/1"), ("loop", "")]
)
def test_links_that_go_round_in_circles_are_named(own, link, above):
    (own / link).symlink_to(own / above)
    refused(folder_of(own), f"{link}: a symbolic link to {own / above}, a folder in which it lies")


def test_links_to_one_another_are_named(own):
    (own / "train" / "2").symlink_to(own / "train" / "3")
    (own / "train" / "3").symlink_to(own / "train" / "2")
    refused(folder_of(own), r"train/2: expected a folder that can be read, found: Too many levels of symbolic links")


@pytest.mark.parametrize("link", ["train/1/a.png", "train/1/a", "test/2", "more"])
def test_links_that_lead_nowhere_are_named(own, link):
    (own / link).symlink_to("/nowhere/else")
    refused(
        folder_of(own), f"{link}: expected a file or a folder, found a symbolic link to /nowhere/else, which is not"
    )


@pytest.mark.parametrize("unreadable", ["", "train", "test/1"])
def test_a_folder_that_cannot_be_read_is_named(own, unreadable, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if Path(path) == own / unreadable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    refused(folder_of(own), f"{own / unreadable}: expected a folder that can be read, found: Permission denied")


def test_a_file_that_cannot_be_read_is_named(own, monkeypatch):
    def refusing(folder, name):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(archives.Folder, "open", refusing)
    refused(folder_of(own), r"test/0/ptest0__0\.png: expected an image that is whole, found: PermissionError")


@pytest.mark.parametrize("latin", [b"train/1/Pr\xe4parat__1.png", b"train/1/\xb5m.txt", b"caf\xe9/1.png"])
def test_names_that_are_not_utf_8_are_named(own, latin):
    path = own / os.fsdecode(latin)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png())
    assert "\\x" in refused(folder_of(own), "expected names in UTF-8, found b'")


def test_names_in_any_letters_are_read(own):
    names = ['Präparat 1, "a"__x.png', "標本__1.png", "a{b}__1.png"]
    for each in names:
        (own / "train" / "1" / each).write_bytes(png())
    found, _ = everything(folder_of(own))
    groups = {row[1] for row in found["train"]}
    assert groups >= {'Präparat 1, "a"', "標本", "a{b}"}


def test_by_group_every_patch_needs_a_group(own):
    for number in range(4):
        (own / "train" / "0" / f"nameless{number}.png").write_bytes(png())
    by_group = {"by": "group", "train": 0.34, "valid": 0.33, "test": 0.33, "seed": 1}
    message = refused(folder_of(own / "train", by_group), "4 of 10 patches have no slide or patient")
    assert "0/nameless0.png. Say which they are, see 'Patches of your own' in config/README.md" in message


@pytest.mark.parametrize("kept", [0, 5])
def test_groups_that_are_half_known_are_told(own, caplog, kept):
    paths = sorted(path for path in own.rglob("*.png"))
    for path in paths[kept:]:
        path.rename(path.with_name(path.name.replace("__", "-")))
    found, tally = everything(folder_of(own))
    assert sum(row[1] != "" for rows in found.values() for row in rows) == kept
    assert tally.notes == {"patches whose slide or patient is unknown": 18 - kept}
    assert len(caplog.records) == (kept > 0)  # where none is known, the report says so


def test_a_folder_with_a_broken_image_or_in_another_layout(own):
    (own / "test" / "1" / "broken.png").write_bytes(png()[:70])
    refused(folder_of(own), r"test/1/broken\.png: expected an image that is whole")
    (own / "train" / "2").mkdir()
    (own / "train" / "2" / "a.png").write_bytes(png())
    refused(
        folder_of(own), r"train/2/a\.png: expected a class of '0', '1', found '2'. Say under `labels` of the source"
    )
    (own / "train" / "2" / "a.png").rename(own / "train" / "a.png")
    refused(
        folder_of(own), r"train/a\.png: expected <train\|valid\|test>/<class>/<file>, or a folder by slide or patient"
    )
    refused(folder_of(own / "gone"), "gone: not found; expected a folder of patches, or a zip or tar archive")
