"""What people leave in folders, archives and lists: the same for all readers."""

import codecs
import os
from collections.abc import Iterable
from pathlib import Path

from histobench.core.errors import HistobenchError

# What systems and tools leave behind, besides hidden files; in lower case.
LITTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}
LITTER_IN_WORDS = "hidden, or left by an operating system"


def is_litter(parts: Iterable[str]) -> bool:
    """Return whether a part of a path says that it leads to no patch."""
    return any(part.startswith(".") or part.lower() in LITTER for part in parts)


def walk(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files below a folder, sorted, and files and folders that are litter, by their paths relative to it.

    Symbolic links are followed.

    Raises
    ------
    HistobenchError
        if a folder cannot be read, a link leads nowhere or to a folder that it lies in, or a name is not UTF-8.
    """
    files: list[str] = []
    litter: list[str] = []

    # Paths are texts here, which takes a third of the time.
    def enter(path: str, within: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(path)
        if real in above:
            raise HistobenchError(
                f"{path}: a symbolic link to {real}, a folder in which it lies: it goes round in circles; remove it"
            )
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = within + entry.name
                if is_litter([entry.name]):
                    litter.append(name)
                    continue
                try:
                    entry.name.encode()
                except UnicodeEncodeError:
                    raise HistobenchError(
                        f"{path}: expected names in UTF-8, found {os.fsencode(entry.name)!r}; rename it (convmv does)"
                    ) from None
                if entry.is_dir():
                    enter(entry.path, f"{name}/", (*above, real))
                elif entry.is_file():
                    files.append(name)
                else:
                    found = _kind(Path(entry.path))
                    raise HistobenchError(f"{entry.path}: expected a file or a folder, found {found}; remove it")

    try:
        enter(str(folder), "", ())
    except OSError as error:
        raise HistobenchError(
            f"{error.filename}: expected a folder that can be read, found: {error.strerror}"
        ) from error
    return sorted(files), sorted(litter)


def _kind(path: Path) -> str:
    return f"a symbolic link to {path.readlink()}, which is not there" if path.is_symlink() else "neither"


def text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark; refuse others."""
    try:
        data = path.read_bytes()
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        found = data.decode("utf-16" if marked else "utf-8-sig")
        if "\0" in found:
            raise ValueError("zero bytes, as in UTF-16 or UTF-32 without its mark")
    except (OSError, ValueError) as error:
        raise HistobenchError(
            f"{path}: expected a text in UTF-8, or in UTF-16 with a byte order mark, found: {error}. Save it as UTF-8"
        ) from error
    return found
