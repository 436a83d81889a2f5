"""The files that patches come from: what counts as a change of them, and what a look costs in files read."""

import csv
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import source_files
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote

FILES = {"0/a.bmp": b"normal a", "0/b.bmp": b"normal b", "1/a.bmp": b"tumour a", "1/notes.txt": b"seen twice"}
LONG_AGO = 1_000_000_000


def write(folder: Path, files=FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "patches")


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled as soon as they are written."""
    monkeypatch.setattr(source_files, "RACY", -10_000_000_000)


def look(folder: Path, cache: Path | None = None, said=None) -> str:
    return source_files.content(folder, cache or folder.parent / "cache.json", ([] if said is None else said).append)


@pytest.fixture
def files_read(monkeypatch):
    """The names of the files whose content is read."""
    names = []
    true = source_files.digest

    def digest(path, *rest):
        names.append(path.name)
        return true(path, *rest)

    monkeypatch.setattr(source_files, "digest", digest)
    return names


def keep_dates(change):
    """Make a change of a file behind which its date is set back, as some copying does."""

    def changed(path: Path) -> None:
        before = path.stat()
        change(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return changed


def swap_classes(folder: Path) -> None:
    (folder / "0").rename(folder / "aside")
    (folder / "1").rename(folder / "0")
    (folder / "aside").rename(folder / "1")


def exchange(folder: Path) -> None:
    one, two = folder / "0/a.bmp", folder / "1/a.bmp"
    one.rename(folder / "aside")
    two.rename(one)
    (folder / "aside").rename(two)


CHANGES = {
    "another content of the same size and date": lambda folder: keep_dates(lambda path: path.write_bytes(b"Normal a"))(
        folder / "0/a.bmp"
    ),
    "two files exchanged": exchange,
    "class folders swapped": swap_classes,
    "a file more": lambda folder: (folder / "1/c.bmp").write_bytes(b"tumour c"),
    "a file less": lambda folder: (folder / "0/b.bmp").unlink(),
    "a file renamed": lambda folder: (folder / "0/b.bmp").rename(folder / "0/c.bmp"),
    "a file moved": lambda folder: (folder / "0/b.bmp").rename(folder / "1/b.bmp"),
    "a file that is no image": lambda folder: (folder / "1/notes.txt").write_bytes(b"seen thrice"),
    "a folder by a link": lambda folder: (folder / "1/more").symlink_to(folder.parent / "elsewhere"),
}
SAME = {
    "touched": lambda folder: [os.utime(path) for path in [folder, *folder.rglob("*")]],
    "dates of long ago": lambda folder: [os.utime(path, (LONG_AGO, LONG_AGO)) for path in folder.rglob("*")],
    "written anew": write,
    "copied": lambda folder: shutil.copytree(shutil.move(folder, folder.with_name("old")), folder),
    "read only": lambda folder: [path.chmod(0o555) for path in folder.rglob("*")],
    "what systems leave": lambda folder: write(folder, {".DS_Store": b"x", "1/Thumbs.db": b"x", "1/._a.bmp": b"x"}),
    "an empty folder more": lambda folder: (folder / "2").mkdir(),
    "behind a link": lambda folder: folder.symlink_to(shutil.move(folder, folder.with_name("old"))),
}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("change", [*CHANGES, *SAME])
def test_content_counts_and_dates_do_not(folder, settled, change, cached):
    write(folder.parent / "elsewhere", {"d.bmp": b"tumour d"})
    before = look(folder)
    (CHANGES | SAME)[change](folder)
    cache = None if cached else folder.parent / "no cache.json"
    assert (look(folder, cache) != before) == (change in CHANGES)


def test_a_second_look_reads_what_is_new_alone(folder, settled, files_read):
    first = look(folder)
    assert sorted(files_read) == sorted(Path(name).name for name in FILES)
    files_read.clear()
    assert look(folder) == first
    assert files_read == []
    (folder / "1/new.bmp").write_bytes(b"tumour")
    assert look(folder) != first
    assert files_read == ["new.bmp"]


def test_what_was_written_a_moment_ago_is_not_taken_from_the_cache(folder, files_read):
    """Within one tick of the clock a file may change again and keep its dates."""
    look(folder)
    old = folder / "0/a.bmp"
    os.utime(old, (LONG_AGO, LONG_AGO))  # by its date it is old, but that was set just now
    files_read.clear()
    look(folder)
    assert len(files_read) == len(FILES)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff\xfe\x00", b'{"0/a.bmp": 3}', b'{"0/a.bmp": []}'])
def test_a_damaged_cache_is_made_anew(folder, settled, files_read, content):
    first = look(folder)
    cache = folder.parent / "cache.json"
    cache.write_bytes(content)
    files_read.clear()
    assert look(folder) == first
    assert len(files_read) == len(FILES)
    files_read.clear()
    assert look(folder) == first
    assert files_read == []


def test_without_a_place_for_the_cache_every_look_reads(folder, settled, files_read):
    (folder.parent / "file").touch()
    looks = {look(folder, folder.parent / "file" / "cache.json") for _ in range(2)}
    assert len(looks) == 1
    assert len(files_read) == 2 * len(FILES)


def test_a_long_look_is_announced_and_a_short_one_is_not(folder, settled, monkeypatch):
    said = []
    look(folder, said=said)
    assert said == []
    monkeypatch.setattr(source_files, "MANY", 3)
    look(folder, folder.parent / "other.json", said)
    assert said == [f"Reading 4 new files, 0.0 GB, in {folder} to know their content."]
    look(folder, folder.parent / "other.json", said)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda folder: (folder / "0/lost.bmp").symlink_to("nowhere"), "0/lost.bmp"),
        (lambda folder: (folder / "0/self").symlink_to("self"), "0/self"),
        (lambda folder: (folder / "0/up").symlink_to(folder), "0/up"),
        (lambda folder: os.mkfifo(folder / "0/pipe"), "0/pipe"),
        (lambda folder: write(folder, {os.fsdecode(b"1/\xe4.bmp"): b"latin"}), "1"),
        (lambda folder: shutil.rmtree(folder), ""),
    ],
)
def test_what_cannot_be_read_is_named(folder, spoil, named):
    spoil(folder)
    with pytest.raises(HistobenchError, match=rf"^{folder / named}: (expected|a symbolic link to .* in which it lies)"):
        look(folder)


def test_a_folder_without_files_is_none_of_patches(tmp_path):
    (tmp_path / "own/0").mkdir(parents=True)
    (tmp_path / "own/.hidden").touch()
    with pytest.raises(HistobenchError, match=r"own: expected patches, found no file below this folder; is its disk"):
        look(tmp_path / "own")


def test_a_file_that_goes_while_it_is_looked_at_is_named(folder):
    with pytest.raises(HistobenchError, match=r"gone\.bmp: belongs to a source of patches, but cannot be read"):
        source_files.read(folder, ["0/a.bmp", "gone.bmp"])


def test_the_table_lists_what_was_read(folder):
    odd = {'1/a,b\n".bmp': b"odd", "1/ä.bmp": b""}
    found = source_files.read(write(folder, odd))
    rows = list(csv.DictReader(found.table().splitlines(keepends=True)))
    expected = FILES | odd
    assert {row["path"]: int(row["bytes"]) for row in rows} == {name: len(data) for name, data in expected.items()}
    assert {row["path"]: row["sha256"] for row in rows} == {
        name: hashlib.sha256(data).hexdigest() for name, data in expected.items()
    }
    assert found.sha256 == look(folder)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=3), max_size=4), st.data())
def test_different_files_have_different_digests(tmp_path_factory, files, data):
    other = data.draw(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=3), max_size=4))
    digests = [source_files.read(write(tmp_path_factory.mktemp("files"), each)).sha256 for each in (files, other)]
    assert (digests[0] == digests[1]) == (files == other)


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "a folder by a link"])
def test_files_that_change_while_they_are_read_are_refused(folder, change):
    found = source_files.read(folder)
    with pytest.raises(HistobenchError, match=r"changed, came or went while its folder was read"):
        for number, _ in enumerate(found.while_unchanged(range(3))):
            if number == 1:
                CHANGES[change](folder)


def test_files_beside_those_that_are_read_may_change(folder):
    found = source_files.read(folder, ["0/a.bmp"])
    (folder / "0/b.bmp").unlink()
    assert list(found.while_unchanged("ab")) == ["a", "b"]


KNOWN = {name: hashlib.new(name, b"normal a").hexdigest() for name in ("md5", "sha256")}


@pytest.mark.parametrize(
    ("published", "pinned"),
    [
        (Remote(bytes=8, sha256=KNOWN["sha256"], md5=KNOWN["md5"]), False),
        (Remote(md5=KNOWN["md5"]), False),
        (Remote(bytes=8), False),
        (Remote(), True),
    ],
)
def test_a_file_that_is_not_the_one_that_was_downloaded_is_named(folder, published, pinned):
    path = folder / "0/a.bmp"
    if pinned:
        pin = source_files.pin(path)
        pin.parent.mkdir()
        pin.write_text(f"{KNOWN['sha256']}  a.bmp\n")
    names = {"0/a.bmp": published, "not there": Remote(sha256="0")}
    source_files.read(folder, ["0/a.bmp"]).verify(names)
    path.write_bytes(b"normal  a")
    with pytest.raises(
        HistobenchError, match=rf"{path}: expected the file that was downloaded or simulated, .* Delete it and start"
    ):
        source_files.read(folder, ["0/a.bmp"]).verify(names)


def test_a_file_that_a_mirror_had_unpacked_is_compared_with_the_record_of_that(folder):
    path = folder / "x.h5.gz"
    path.write_bytes(b"normal a")
    pin = source_files.pin(folder / "x.h5")
    pin.parent.mkdir()
    pin.write_text(f"{KNOWN['sha256']}  x.h5.gz\n")
    published = {"x.h5.gz": Remote(bytes=6, sha256=hashlib.sha256(b"packed").hexdigest().upper())}
    source_files.read(folder, ["x.h5.gz"]).verify(published)
    path.write_bytes(b"normal  a")
    with pytest.raises(HistobenchError, match=rf"x\.h5\.gz: expected .* sha256 {KNOWN['sha256']}, found"):
        source_files.read(folder, ["x.h5.gz"]).verify(published)
    path.write_bytes(b"packe")
    with pytest.raises(HistobenchError, match=r"x\.h5\.gz: expected the file that was downloaded"):
        source_files.read(folder, ["x.h5.gz"]).verify(published)


def test_what_is_published_counts_before_the_record_of_the_first_download(folder):
    pin = source_files.pin(folder / "0/a.bmp")
    pin.parent.mkdir()
    pin.write_text(f"{KNOWN['sha256']}  a.bmp\n")
    published = Remote("https://example.org", md5="1")
    assert source_files.expected(published, pin) == published
    assert source_files.expected(Remote("url"), pin) == replace(Remote("url"), sha256=KNOWN["sha256"])
