"""Hashes and atomic writes: a file with its final name is complete, and one that was sealed shows later damage."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from histobench.core.errors import HistobenchError

# The last key of a sealed JSON file: the sha256 of the rest of its content.
SEAL = "content_sha256"


@dataclass(frozen=True)
class Remote:
    """A file that others publish.

    Attributes
    ----------
    url : where it is published; None if it must come from a mirror or a configured path.
    bytes : its size; None if unknown.
    sha256, md5 : lower-case hexadecimal digests; None if not published. Without any, the digest of the first download
        is recorded, and later downloads must have the same.
    """

    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush it to disk and rename it to `path`.

    After an exception the temporary file is deleted and `path` is unchanged. The temporary name keeps the suffixes of
    `path`, by which writers such as Keras choose the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, `target`, which must not exist; where the file system refuses a hard link, copy it."""
    try:
        os.link(source, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # some have no hard links, some none across folders, and each has an error of its own for that
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def written_by(rule: str) -> Iterator[None]:
    """Turn a failure to read a file that a rule has written into an error for users."""
    try:
        yield
    except OSError as error:
        raise HistobenchError(
            f"{error.filename}: expected a file that {rule} has written, found: {error.strerror}; start again: "
            f"{rule} writes it anew"
        ) from error


def as_written(path: Path, expected: str, told_by: str, rule: str) -> Path:
    """Return the path of a file that a rule has written, after a look at its sha256, which `told_by` tells.

    Raises
    ------
    HistobenchError
        if it is not there, or has changed since it was written.
    """
    with written_by(rule):
        found = digest(path)
    if found != expected:
        raise HistobenchError(
            f"{path}: expected the sha256 that {told_by} tells, {expected!r}, found {found}: it has changed since it "
            f"was written; delete it and start again: {rule} writes it anew"
        )
    return path


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def text_with_digest(path: Path) -> Iterator[TextIO]:
    """Yield a text file to write, that other jobs read; see :func:`write_with_digest`."""
    with atomic(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        write_text(_digest_file(path), f"{digest(temporary)}  {path.name}\n")


def write_with_digest(path: Path, text: str) -> None:
    """Write a text that other jobs read, atomically, and its digest into a hidden file; see :func:`unchanged`."""
    with text_with_digest(path) as file:
        file.write(text)


def unchanged(path: Path) -> Path:
    """Return the path of a text, after a look at the digest that it was written with, where there is one.

    Raises
    ------
    HistobenchError
        if it is not there, or has changed since it was written.
    """
    noted = _digest_file(path)
    if not noted.exists():
        with written_by("its job"):
            path.open("rb").close()
        return path
    return as_written(path, noted.read_text(errors="replace").partition(" ")[0][:64], noted.name, "its job")


def _digest_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; equal values give equal bytes."""
    write_text(path, _json(value) + "\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that other jobs read, with a digest of its content as the last key; see :func:`read_sealed`."""
    write_json(path, {**value, SEAL: hashlib.sha256(_json(value).encode()).hexdigest()})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read JSON that :func:`write_sealed` has written, without the digest.

    Raises
    ------
    HistobenchError
        if it cannot be read, or its content has changed since it was written.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        expected = value.pop(SEAL, None)
        actual = hashlib.sha256(_json(value).encode()).hexdigest()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HistobenchError(
            f"{path}: expected JSON with its digest, {SEAL}, found: {error!r}; delete it and start again: its job "
            "writes it anew"
        ) from error
    if actual != expected:
        found = (
            "none: it is of an earlier version, or" if expected is None else f"that of other content, {expected}: it"
        )
        raise HistobenchError(
            f"{path}: expected JSON with its digest, {SEAL}, found {found} has changed since its job wrote it; delete "
            "it and start again: its job writes it anew"
        )
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
