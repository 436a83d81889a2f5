"""The files that patches come from, known by their content: path, size and digest, whatever their dates.

They are looked at twice. When a plan is made, a folder of one's own is looked at for changes, since Snakemake would see
nothing but its date; what is known from an earlier look comes from a cache. The job of rule `prepare` reads every file
of its source, and lists what it has read. Hidden files, and others that readers ignore as litter, do not count.
"""

import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from histobench.core.datasets import upstream
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote, digest, unchanged, write_text, write_with_digest, written_by

T = TypeVar("T")

# Threads of a look when a plan is made, and files that each takes at a time: on a network's disk every file is a wait.
THREADS, AT_A_TIME = 8, 256
# Nanoseconds in which a file may change twice and keep its dates.
RACY = 2_000_000_000
# A look at more new files is announced.
MANY = 1000


class Stamp(NamedTuple):
    """What a file system changes with the content of a file; dates in nanoseconds.

    Whoever sets `modified` back, as some copying does, does not set `changed` back.
    """

    bytes: int
    modified: int
    changed: int
    inode: int


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source and what they held when they were read.

    Attributes
    ----------
    folder : where they lie.
    stamps, digests : by path below the folder, in order; a digest is the hexadecimal sha256.
    whole : whether they are all the files below the folder.
    """

    folder: Path
    stamps: Mapping[str, Stamp]
    digests: Mapping[str, str]
    whole: bool

    def table(self) -> str:
        """Return the CSV file that lists them: path, bytes, sha256."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("path", "bytes", "sha256"))
        sizes = (stamp.bytes for stamp in self.stamps.values())
        rows.writerows(zip(self.stamps, sizes, self.digests.values(), strict=True))
        return text.getvalue()

    @property
    def sha256(self) -> str:
        """The digest of the table."""
        return hashlib.sha256(self.table().encode()).hexdigest()

    def verify(self, published: Mapping[str, Remote]) -> None:
        """Compare the files with what is published of them, or with the record of their first download.

        Raises
        ------
        HistobenchError
            if one of them is another than was downloaded.
        """
        for name, remote in published.items():
            if name not in self.stamps:
                continue
            path = self.folder / name
            known = expected(remote, pin(path))
            # A mirror had it unpacked, see `downloads.fetch`.
            unpacked = pin(path.with_name(path.name.removesuffix(".gz")))
            if name.endswith(".gz") and unpacked.exists() and self.digests[name] != known.sha256:
                known = expected(Remote(), unpacked)
            found = {"bytes": self.stamps[name].bytes, "sha256": self.digests[name]}
            if known.md5 and not known.sha256:
                found["md5"] = digest(path, "md5")
            wanted = {key: getattr(known, key) for key in found if getattr(known, key) is not None}
            if wrong := [key for key, value in wanted.items() if found[key] != value]:
                raise HistobenchError(
                    f"{path}: expected the file that was downloaded or simulated, "
                    + "; ".join(f"{key} {wanted[key]}, found {found[key]}" for key in wrong)
                    + ". Delete it and start again: that is done anew"
                )

    def while_unchanged(self, items: Iterable[T]) -> Iterator[T]:
        """Yield what is made of the files; refuse in the end if they have changed since they were read."""
        yield from items
        now = stamps(self.folder, upstream.walk(self.folder)[0] if self.whole else self.stamps)
        if now != self.stamps:
            changed = [name for name in {**self.stamps, **now} if now.get(name) != self.stamps.get(name)]
            raise HistobenchError(
                f"{self.folder / changed[0]}: changed, came or went while its folder was read"
                + (f", and so did {len(changed) - 1} others" if len(changed) > 1 else "")
                + "; start again when nothing writes there"
            )


def pin(path: Path) -> Path:
    """Return the file that holds the sha256 of the first download of a file."""
    return path.parent / ".pins" / f"{path.name}.sha256"


def record(path: Path) -> None:
    """Record the sha256 of a file, by which later jobs know it."""
    write_text(pin(path), f"{digest(path)}  {path.name}\n")


ADDRESS = "# from "


def has_moved(remote: Remote, pin: Path) -> bool:
    """Return whether nothing is known of a file but the record of a download from another address."""
    if remote.sha256 is not None or remote.md5 is not None or not pin.exists():
        return False
    lines = pin.read_text(encoding="utf-8", errors="replace").splitlines()
    recorded = [line.removeprefix(ADDRESS) for line in lines if line.startswith(ADDRESS)]
    return bool(recorded) and remote.url not in (None, *recorded)


def expected(remote: Remote, pin: Path) -> Remote:
    """Return what a file is known to be: by the configuration, or else by the record of its first download."""
    if remote.sha256 is not None or remote.md5 is not None or not pin.exists() or has_moved(remote, pin):
        return replace(remote, **{key: value.lower() for key in ("sha256", "md5") if (value := getattr(remote, key))})
    line = pin.read_text(encoding="utf-8", errors="replace")
    if not re.match(r"[0-9a-f]{64}\s", line):
        raise HistobenchError(
            f"{pin}: expected a line `<sha256>  {pin.stem}`, found {line[:100]!r}. "
            "Restore that line, or delete the file to accept what is downloaded next."
        )
    return replace(remote, sha256=line[:64])


def verified(path: Path) -> str:
    """Return the sha256 of a file that was downloaded, after a look at the record of its download, if there is one.

    Raises
    ------
    HistobenchError
        if it is another file than was downloaded.
    """
    with written_by("a download"):
        found = digest(path)
    known = expected(Remote(), pin(path)).sha256
    if known not in (None, found):
        raise HistobenchError(
            f"{path}: expected the file that was downloaded, sha256 {known}, found {found}. Delete it and start again: "
            "it is downloaded anew"
        )
    return found


def read(folder: Path, names: Iterable[str] | None = None, threads: int = 1) -> SourceFiles:
    """Read files below a folder, by default all; for errors see :func:`stamps` and `upstream.walk`."""
    found = stamps(folder, upstream.walk(folder)[0] if names is None else names, threads)
    return SourceFiles(folder, found, digests(folder, list(found), threads), whole=names is None)


def stamps(folder: Path, names: Iterable[str], threads: int = 1) -> dict[str, Stamp]:
    """Return the stamps of files, by their paths below the folder, in order.

    Raises
    ------
    HistobenchError
        if one of them cannot be read.
    """

    def of(name: str) -> Stamp:
        path = os.path.join(folder, name)  # noqa: PTH118  # a Path takes five times as long
        found = os.stat(path)  # noqa: PTH116
        return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    ordered = sorted(names)
    with _readable():
        return dict(zip(ordered, _in_threads(of, ordered, threads), strict=True))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HistobenchError(
            f"{error.filename}: belongs to a source of patches, but cannot be read: {error.strerror}. Correct its "
            "permissions, or take it away, then start again"
        ) from error


def _in_threads(function: Callable[[str], T], names: list[str], threads: int) -> list[T]:
    parts = [names[start : start + AT_A_TIME] for start in range(0, len(names), AT_A_TIME)]
    with ThreadPoolExecutor(threads) as pool:
        return [each for part in pool.map(lambda part: [function(name) for name in part], parts) for each in part]


def digests(folder: Path, names: list[str], threads: int = 1) -> dict[str, str]:
    """Return the sha256 of files, by their paths below the folder; for errors see :func:`stamps`."""
    with _readable():
        return dict(zip(names, _in_threads(lambda name: digest(folder / name), names, threads), strict=True))


def content(folder: Path, cache: Path, say: Callable[[str], None], names: Iterable[str] | None = None) -> str:
    """Return a digest of files below a folder, by default all: paths, sizes and bytes; for errors see :func:`read`.

    Parameters
    ----------
    cache : file with the digests of the last look, by stamp. Without it, or if it cannot be read or written, every file
        is read.
    say : called with a line if many files are to be read.
    names : of the files; None for all.
    """
    now = time.time_ns()
    found = stamps(folder, upstream.walk(folder)[0] if names is None else names, THREADS)
    if not found:
        raise HistobenchError(f"{folder}: expected patches, found no file below this folder; is its disk mounted?")
    before: dict[str, list[Any]] = {}
    with suppress(HistobenchError, ValueError):
        before = json.loads(unchanged(cache).read_bytes())
    known: dict[str, str] = {}
    with suppress(AttributeError, TypeError, ValueError):  # it is damaged
        known = {name: sha256 for name, (*stamp, sha256) in before.items() if found.get(name) == tuple(stamp)}
    new = [name for name in found if name not in known]
    if len(new) > MANY:
        size = sum(found[name].bytes for name in new)
        say(f"Reading {len(new):,} new files, {size / 1e9:.1f} GB, in {folder} to know their content.")
    known |= digests(folder, new, THREADS)
    # Of a file that has just been written the dates may stay when it is written again.
    settled = {
        name: [*stamp, known[name]] for name, stamp in found.items() if max(stamp.modified, stamp.changed) < now - RACY
    }
    if settled != before:
        with suppress(OSError):
            write_with_digest(cache, json.dumps(settled))
    return SourceFiles(folder, found, {name: known[name] for name in found}, whole=True).sha256
