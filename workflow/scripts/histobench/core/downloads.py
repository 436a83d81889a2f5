"""Download of published files, from their address or a mirror. A file gets its final name after it is verified."""

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from io import BufferedRandom
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from histobench.core import source_files
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote, digest, write_text

log = logging.getLogger(__name__)

# Seconds to connect, and between two pieces of a body: an archive may take half a minute to fetch a file from tape.
TIMEOUT = (15.0, 60.0)
# Consecutive attempts without a new byte. With the waits below they take about two minutes: a server may restart.
ATTEMPTS = 7
BACKOFF = wait_exponential_jitter(multiplier=2, max=60)
# Bytes per read; larger ones are no faster.
CHUNK = 64 * 1024
# Seconds between two updates of the progress bar.
INTERVAL_TERMINAL, INTERVAL_LOG = 0.5, 10.0


class _TransientError(Exception):
    """An error after which another attempt may succeed."""


class _UnavailableError(Exception):
    """A place does not have the file or refuses it; another attempt would fail, another place may have it."""


class _Item:
    """A file to fetch, and the files beside it.

    Attributes
    ----------
    part : the bytes received so far.
    origin : two lines: the address of the part, and the ETag or date that the server gave.
    bad : a complete file that failed verification.
    pin : the digest of the first download, if none is published.
    """

    def __init__(self, name: str, remote: Remote, target: Path) -> None:
        self.name, self.remote, self.target = name, remote, target
        self.part = target.with_name(f"{target.name}.part")
        self.origin = target.with_name(f"{target.name}.part.origin")
        self.bad = target.with_name(f"{target.name}.bad")
        self.pin = source_files.pin(target.with_name(name))

    @property
    def pinned(self) -> bool:
        return self.remote.sha256 is None and self.remote.md5 is None and self.pin.exists() and not self.has_moved

    @property
    def has_moved(self) -> bool:
        """Whether what is there was downloaded from another address, and nothing else is known of it."""
        return source_files.has_moved(self.remote, self.pin)

    @property
    def expected(self) -> Remote:
        """Expected size and digests: those of the configuration, or else the digest of the first download."""
        return source_files.expected(self.remote, self.pin)

    def mismatch(self, path: Path) -> str | None:
        """Return the difference between `path` and the expected size and digests, None if there is none."""
        remote = self.expected
        expected = {"bytes": remote.bytes, "sha256": remote.sha256, "md5": remote.md5}
        expected = {key: value for key, value in expected.items() if value is not None}
        actual: dict[str, int | str | None] = {"bytes": path.stat().st_size}
        actual |= {key: digest(path, key) for key in expected if key != "bytes"}
        if all(actual[key] == value for key, value in expected.items()):
            return None
        actual.setdefault("sha256", digest(path))  # for the user to compare and to copy
        both = (", ".join(f"{key} {value}" for key, value in each.items()) for each in (expected, actual))
        return "expected {}\n   found {}".format(*both)

    def already_verified(self) -> bool:
        """Return whether the target is there and verified."""
        if not self.target.exists() or self.has_moved or self.mismatch(self.target):
            return False
        self.record(self.target, downloaded=False)
        log.info("%s: already there and verified", self.name)
        return True

    def record(self, path: Path, *, downloaded: bool) -> None:
        """Record digest and address of a file that is verified, for jobs that read it, and for later downloads."""
        expected = self.expected
        before = self.pin.read_text(encoding="utf-8", errors="replace") if self.pin.exists() else None
        record = f"{expected.sha256 or digest(path)}  {self.target.name}\n"
        if before == record and not downloaded:
            return  # of an earlier version, which did not record the address: nobody knows it any more
        if self.remote.url:
            record += f"{source_files.ADDRESS}{self.remote.url}\n"  # to sha256sum a comment
        if before == record:
            return
        write_text(self.pin, record)
        if expected.sha256 is None and expected.md5 is None:
            log.info("%s: no digest is published; the sha256 of this file is recorded in %s", self.name, self.pin)


def fetch(name: str, remote: Remote, target: Path, *, mirror: str | None = None, folder: str = "") -> None:
    """Download a file to `target` and verify it; continue a download that was interrupted.

    A mirror may have a `.gz` file unpacked, without `.gz` in its name: it becomes the target as it is. No digest of it
    is published, so that of the first copy is recorded.

    Parameters
    ----------
    name : name of the published file, also in messages.
    remote : address, size and digests. Without a digest, that of the first download is recorded in
        `.pins/<name>.sha256` beside the target.
    target : path of the complete and verified file.
    mirror : a folder or a base address to use instead of `remote.url`.
    folder : folder within the mirror. `<mirror>/<folder>/<name>` is tried first, then `<mirror>/<name>`.

    Raises
    ------
    HistobenchError
        if the file can't be downloaded or written, or is not the expected one.
    """
    item, unpacked = _Item(name, remote, target), _Item(name.removesuffix(".gz"), Remote(), target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # With their record, since without one anything would do.
        known = [unpacked, item] if unpacked.pin.exists() and unpacked.name != name else [item]
        if any(each.already_verified() for each in known):
            return
        places = [(item, place) for place in _places(item, mirror, folder)]
        if mirror is not None and unpacked.name != name:
            places += [(unpacked, place) for place in _places(unpacked, mirror, folder)]
        with _sole_writer(item.part) as file:
            if any(each.already_verified() for each in known):  # by the process that held the lock
                return
            if target.exists():
                why = "is of another address" if item.has_moved else "failed verification"
                log.warning("%s: %s %s; fetching it anew", name, target, why)
            item, place = _transfer(name, places, file)
            file.flush()
            os.fsync(file.fileno())
            if difference := item.mismatch(item.part):
                item.part.replace(item.bad)
                item.origin.unlink(missing_ok=True)
                raise HistobenchError(_advice(item, place, difference))
            if target.exists():
                target.replace(item.bad)
                log.warning("%s: what was there before is kept as %s", name, item.bad)
            item.record(item.part, downloaded=True)
            item.part.replace(target)
            item.origin.unlink(missing_ok=True)
            log.info("%s: verified, %d bytes", name, target.stat().st_size)
    except OSError as error:
        raise HistobenchError(
            f"{name}: cannot be written to {target}: {error}\n"
            f"Make room or correct the permissions, then run again; the bytes received so far are kept in {item.part}."
        ) from error


def _advice(item: _Item, place: str, difference: str) -> str:
    """Return the error message for a complete file that is not the expected one."""
    if item.pinned:
        where = f"The expected sha256 is that of the first download, recorded in {item.pin}. "
        accept = "delete that record"
        if item.target.name != f"{item.name}.gz":  # a configured digest is that of the .gz
            accept += ", or put the new sha256 into the configuration under sources.<source>.files"
    else:
        where, accept = "", "put its size and digests into the configuration under sources.<source>.files"
    return (
        f"{item.name}: {place} gave another file than expected\n{difference}\n"
        f"It is kept as {item.bad} for inspection. {where}If the transfer or the mirror is at fault, run again: the "
        f"next download starts from the first byte. If a new file has been published and you want it, {accept}."
    )


@contextmanager
def _sole_writer(part: Path) -> Iterator[BufferedRandom]:
    """Open `part` for appending, as its only writer.

    Another Snakemake (with --nolock, or in another folder with the same downloads) may fetch the same file at the same
    time, and two writers would mix their bytes. The kernel releases the lock when the process ends, even by kill -9.
    """
    while True:
        with part.open("a+b") as file:
            _lock(file, part)
            if not _stands_at(file, part):
                continue  # the process that held the lock has renamed the file
            try:
                yield file
            finally:
                if file.seek(0, os.SEEK_END) == 0 and _stands_at(file, part):
                    part.unlink()
            return


def _lock(file: BufferedRandom, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another process is writing it; waiting", part)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:  # some network file systems have no locks; the digest still protects the result
        log.warning("%s: cannot be locked (%s); start no second download of it", part, error)


def _stands_at(file: BufferedRandom, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _places(item: _Item, mirror: str | None, folder: str) -> list[str | Path]:
    """Return the places to try, in this order: addresses, or paths of folders and of file:// addresses."""
    source = item.remote.url if mirror is None else mirror
    if source is None:
        raise HistobenchError(
            f"{item.name}: no address is known to download it from. "
            "Fetch it by hand and give its folder as `mirror` in the configuration."
        )
    if source.startswith("file://"):
        base: str | Path = Path(url2pathname(urlsplit(source).path))
    else:
        base = source.rstrip("/") if "://" in source else Path(source).expanduser()
    if mirror is None:
        return [base]
    paths = dict.fromkeys([str(Path(folder, item.name)), item.name])  # one path if `folder` is empty
    return [base / path if isinstance(base, Path) else f"{base}/{quote(path)}" for path in paths]


def _transfer(name: str, places: list[tuple[_Item, str | Path]], file: BufferedRandom) -> tuple[_Item, str]:
    """Fill `file` from the first place that has the file, and return which one this is and its place."""
    failures = []
    for item, place in places:
        try:
            if isinstance(place, Path):
                _copy(item, place, file)
            else:
                _download(item, place, file)
            return item, str(place)
        except _UnavailableError as error:
            failures.append(f"\n  {place}: {error}")
    raise HistobenchError(
        f"{name}: could not be fetched from{''.join(failures)}\n"
        "Check the address or `mirror` in the configuration, or fetch the file by hand and give its folder as `mirror`."
    )


def _copy(item: _Item, path: Path, file: BufferedRandom) -> None:
    """Copy from a folder. A link would endanger the file of the mirror, which must not change."""
    if not path.is_file():
        raise _UnavailableError("no such file")
    log.info("%s: copying from %s", item.name, path)
    file.truncate(0)
    item.origin.unlink(missing_ok=True)
    with path.open("rb") as source:
        _write(iter(lambda: source.read(CHUNK), b""), file, item.name, 0, path.stat().st_size)


def _download(item: _Item, address: str, file: BufferedRandom) -> None:
    """Download and continue after interruptions, as long as a round of attempts brings new bytes."""

    def report(state: RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome else None
        log.warning("%s: %s; next attempt in %.1f s", item.name, reason, state.upcoming_sleep)

    retrying = Retrying(
        retry=retry_if_exception_type(_TransientError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=BACKOFF,
        before_sleep=report,
        reraise=True,
    )
    reached = file.seek(0, os.SEEK_END)
    while True:
        try:
            return retrying(_request, item, address, file)
        except _TransientError as error:
            before, reached = reached, file.seek(0, os.SEEK_END)
            if reached <= before:
                raise HistobenchError(
                    f"{item.name}: the download from {address} stopped at byte {reached}: {error}\n"
                    f"{ATTEMPTS} attempts brought no more bytes. {item.part} keeps those received: run again later. "
                    "Without a network, fetch the file elsewhere and give its folder as `mirror` in the configuration."
                ) from error


def _request(item: _Item, address: str, file: BufferedRandom) -> None:
    """Request the missing bytes once and append them to `file`."""
    size, expected = file.seek(0, os.SEEK_END), item.expected
    noted, _, validator = (item.origin.read_text(encoding="utf-8") if item.origin.exists() else "\n").partition("\n")
    validator = validator.strip()
    # Continue only if a mix of two files would be noticed: same address, and an ETag, a date or a known digest.
    known = noted == address and (validator or expected.sha256 or expected.md5)
    start = size if known and (expected.bytes is None or size <= expected.bytes) else 0
    if start and start == expected.bytes:
        return  # it was killed between the last byte and the rename
    # Otherwise a server might compress the file, which changes size and digest.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and validator:
        headers["If-Range"] = validator  # if the file has changed, the server sends all of it
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
            total = _accept(item, address, response, file, start, validator)
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing
            start = file.seek(0, os.SEEK_END)
            log.info("%s: %s %s", item.name, f"continued at byte {start} from" if start else "downloading", address)
            # Raw bytes, so that a .gz served as "Content-Encoding: gzip" is not decompressed. read1 returns what has
            # arrived, so that nothing of it is lost when the connection breaks.
            chunks = iter(lambda: response.raw.read1(CHUNK, decode_content=False), b"")
            _write(chunks, file, item.name, start, total)
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise _TransientError(f"connection lost ({error})") from error
    except requests.RequestException as error:
        raise _UnavailableError(str(error)) from error
    if total is not None and (size := file.seek(0, os.SEEK_END)) < total:
        raise _TransientError(f"the answer ended at byte {size} of {total}")


def _accept(
    item: _Item, address: str, response: requests.Response, file: BufferedRandom, start: int, validator: str
) -> int | None:
    """Check status and headers of an answer, prepare `file` for its body, and return the size of the file if known."""
    status, headers = response.status_code, response.headers
    reason = f"HTTP {status} {response.reason}"
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500:
        raise _TransientError(reason)
    # A weak ETag (W/) promises an equal meaning, not equal bytes.
    etag = headers.get("ETag", "")
    current = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    length = response.raw.length_remaining
    if status == HTTPStatus.OK:
        if start:
            log.info("%s: the server gives no rest, or the file has changed; starting over", item.name)
        file.truncate(0)
        write_text(item.origin, f"{address}\n{current}\n")
        return item.expected.bytes if length is None else int(length)
    if status not in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        raise _UnavailableError(reason)
    extent = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", ""))
    first, whole = extent.groups() if extent else (None, None)
    continues = status == HTTPStatus.PARTIAL_CONTENT and first == str(start) and current in ("", validator)
    complete = status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and whole == str(start)
    if start and (continues or complete):
        return int(whole) if whole and whole.isdecimal() else None if length is None else start + int(length)
    file.truncate(0)
    raise _TransientError(f"the answer does not continue the part at byte {start}; starting over")


def _write(chunks: Iterable[bytes], file: BufferedRandom, name: str, start: int, total: int | None) -> None:
    with tqdm(
        desc=name,
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        mininterval=INTERVAL_TERMINAL if sys.stderr.isatty() else INTERVAL_LOG,
    ) as bar:
        for chunk in chunks:
            bar.update(file.write(chunk))
