"""Where image files lie: in a folder, or packed in a zip or tar archive, which is read without unpacking its files."""

import bz2
import gzip
import io
import logging
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from histobench.core.datasets import images, upstream
from histobench.core.errors import HistobenchError

log = logging.getLogger(__name__)

# Methods of packing by their number. Python knows neither deflate64 (9) nor, before 3.14, zstd (93).
ZIP_METHODS = {0: "store", 8: "deflate", 12: "bzip2", 14: "lzma"}
# Programs that pack a whole tar archive, by its first bytes.
COMPRESSIONS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ": ("xz", lzma.open),
}
ADVICE = "Pack the archive anew, or give the folder that it was made of"


class Files(ABC):
    """Files by their names, which are paths below a folder, or in an archive.

    Attributes
    ----------
    path : of the folder or of the archive.
    """

    path: Path

    @abstractmethod
    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all files, sorted, and of what is litter; see :func:`upstream.walk`."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open one of them. Raise FileNotFoundError if there is none of this name."""

    def where(self, name: str) -> str:
        """Return where a file lies, for messages."""
        return f"{self.path}, entry {name!r}"


class Folder(Files):
    """The files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all files, and of litter."""
        return upstream.walk(self.path)

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""
        return open(os.path.join(self.path, name), "rb")  # noqa: PTH118, PTH123  # a Path takes five times as long

    def where(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)


class _Archive(Files):
    """An archive, whose entries are known by name."""

    entries: Mapping[str, Any]

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all files, and of litter."""
        litter = [name for name in self.entries if upstream.is_litter(name.split("/"))]
        return sorted(set(self.entries) - set(litter)), sorted(litter)

    def _found(self, name: str) -> Any:
        try:
            return self.entries[name]
        except KeyError:
            raise FileNotFoundError(2, "there is no such entry", f"{self.path}/{name}") from None


class Zip(_Archive):
    """The files of a zip archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        found = [info for info in archive.infolist() if not info.is_dir()]
        for info in found:
            check_packing(path, info)
        self.entries = _by_name(path, ((info.filename, info) for info in found))

    def open(self, name: str) -> IO[bytes]:
        """Open an entry."""
        return self._archive.open(self._found(name))


class Tar(_Archive):
    """The files of a tar archive that is not compressed."""

    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self.path, self._archive = path, archive
        found = [member for member in archive if not member.isdir()]
        for member in found:
            if not member.isfile():
                raise HistobenchError(
                    f"{path}, entry {member.name!r}: expected a file, found a link or a device; {ADVICE}"
                )
        self.entries = _by_name(path, ((member.name, member) for member in found))

    def open(self, name: str) -> IO[bytes]:
        """Open an entry."""
        file = self._archive.extractfile(self._found(name))
        assert file is not None  # since it is a file
        return file


def check_packing(path: Path, info: zipfile.ZipInfo) -> None:
    """Refuse an entry of a zip archive that cannot be read."""
    if info.flag_bits & 1 or info.compress_type not in ZIP_METHODS:
        how = "a password" if info.flag_bits & 1 else f"method {info.compress_type}"
        raise HistobenchError(
            f"{path}, entry {info.filename!r}: expected an entry packed by {' or '.join(ZIP_METHODS.values())}, "
            f"without a password, found {how}. Pack the archive anew"
        )


def _by_name(path: Path, entries: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, entry in entries:
        plain = name.removeprefix("./")
        if plain in result:
            raise HistobenchError(f"{path}: the entry {plain!r} comes twice; which one holds? {ADVICE}")
        result[plain] = entry
    return result


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Open a folder, a zip archive or a tar archive, which may be compressed by gzip, bzip2 or xz.

    A compressed tar archive can only be read from its beginning. So it is decompressed into a file without a name in
    the working directory, whose room is free again at the end, whatever happens.

    Raises
    ------
    HistobenchError
        if it is none of these, or damaged.
    """
    if path.is_dir():
        yield Folder(path)
        return
    if not path.is_file():
        raise HistobenchError(f"{path}: not found; expected a folder of patches, or a zip or tar archive of them")
    expected = "a folder, or a zip or tar archive that is whole"
    with ExitStack() as stack:
        with images.reading(str(path), expected, ADVICE):
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            start = file.read(8)
            files: Files
            if zipfile.is_zipfile(path):
                files = Zip(path, stack.enter_context(zipfile.ZipFile(path)))
            else:
                for magic, (program, opener) in COMPRESSIONS.items():
                    if start.startswith(magic):
                        log.info("%s: decompressing it, so that any of its files can be read", path)
                        file = stack.enter_context(_decompressed(path, program, opener))
                file.seek(0)
                files = Tar(path, stack.enter_context(tarfile.open(fileobj=file, mode="r:")))
        yield files


@contextmanager
def _decompressed(path: Path, program: str, opener: Callable[[Path], Any]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(dir=".") as whole:
        try:
            with opener(path) as packed:
                shutil.copyfileobj(packed, whole, 1 << 20)
            whole.flush()
        except OSError as error:
            if error.errno is None:  # of the content
                raise
            raise HistobenchError(
                f"{path}: cannot be decompressed into {Path.cwd()}: {error.strerror}. Make room there, or decompress "
                f"it yourself ({program} -d) and give the .tar"
            ) from error
        whole.seek(0, io.SEEK_SET)
        yield whole
