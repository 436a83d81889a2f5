"""Downloads against a server that misbehaves in the ways that servers and networks do."""

import errno
import fcntl
import gzip
import hashlib
import logging
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import wait_fixed, wait_none

from histobench.core import downloads, source_files
from histobench.core.downloads import fetch
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote
from support.processes import kill, start, wait_until

NAME, UNPACKED = "patches.h5.gz", "patches.h5"
DATA = bytes(range(256)) * 80  # 20,480 bytes, of which no two offsets within 256 look the same
OTHER = bytes(reversed(DATA))
ROOM = 2**22  # on a disk that is full: more than pytest writes meanwhile, less than LARGE
LARGE = DATA * 300


def remote(url: str | None, data: bytes = DATA, **changes: object) -> Remote:
    digests = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
    return Remote(**({"url": url, "bytes": len(data)} | digests | changes))


@dataclass
class Exchange:
    """A request as the server saw it, and how many bytes of body it sent."""

    path: str
    range: str | None
    if_range: str | None
    accept_encoding: str | None
    status: int = 0
    sent: int = 0


class Upstream(ThreadingHTTPServer):
    """A publisher's server on an ephemeral port; its attributes say how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()

    def reset(self) -> None:
        self.files: dict[str, bytes] = {f"/{NAME}": DATA}
        self.headers: dict[str, str] = {"ETag": '"one"'}  # of all answers
        self.ranges = True  # False: answers 200 to a Range request
        self.obeys_if_range = True
        self.shift = 0  # an answer to a Range request begins this much too far on
        self.statuses: list[int] = []  # of the next answers, before it behaves
        self.cuts: list[int] = []  # bytes of body after which the next answers break off
        self.resets = False  # break off by RST instead of an orderly close
        self.changes: tuple[bytes, dict[str, str]] | None = None  # content and headers from the first break on
        self.says_length = True
        self.gate: threading.Event | None = None  # for which the next answer waits after `free` bytes of its body
        self.free = 0
        self.log: list[Exchange] = []

    def url(self, path: str = f"/{NAME}") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that hang up: they are killed on purpose."""


class Handler(BaseHTTPRequestHandler):
    server: Upstream

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        server, get = self.server, self.headers.get
        exchange = Exchange(self.path, get("Range"), get("If-Range"), get("Accept-Encoding"))
        server.log.append(exchange)
        data = server.files.get(self.path)
        status = server.statuses.pop(0) if server.statuses else 200 if data is not None else 404
        body, extent = data or b"", None
        if status == 200 and exchange.range and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", exchange.range)[1])
            validator = server.headers.get("ETag") or server.headers.get("Last-Modified")
            if exchange.if_range in (None, validator) or not server.obeys_if_range:
                if start >= len(body):
                    status, extent = 416, f"bytes */{len(body)}"
                else:
                    start += server.shift
                    status, extent = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
                    body = body[start:]
        if status not in (200, 206):
            body = b"an error page"
        elif status == 206 and not extent:  # without being asked for
            extent = f"bytes 0-{len(body) - 1}/{len(body)}"
        exchange.status = status
        self.send_response(status)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        for key, value in (server.headers | ({"Content-Range": extent} if extent else {})).items():
            self.send_header(key, value)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts and status in (200, 206) else len(body)
        gate, server.gate = server.gate, None
        step = 1024 if gate else max(len(body), 1)
        for at in range(0, min(cut, len(body)), step):
            if gate and at >= server.free:
                gate.wait(15)
            piece = body[at : min(at + step, cut)]
            self.wfile.write(piece)
            exchange.sent += len(piece)
        if cut < len(body):
            if server.resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            if server.changes:
                (server.files[self.path], server.headers), server.changes = server.changes, None


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "BACKOFF", wait_none())
        patch.setattr(downloads, "ATTEMPTS", 3)
        patch.setattr(downloads, "TIMEOUT", (5.0, 5.0))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with Upstream() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def upstream(server: Upstream, caplog: pytest.LogCaptureFixture) -> Upstream:
    caplog.set_level(logging.INFO, "histobench.core.downloads")
    server.reset()
    return server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "pcam" / NAME


def fetched(source: Remote, target: Path, data: bytes = DATA, **options: str) -> None:
    """Fetch a file, of which these bytes must arrive."""
    fetch(NAME, source, target, **options)
    assert target.read_bytes() == data


def refused(source: Remote, target: Path, *pieces: str, **options: str) -> str:
    """Fetch a file, which must fail, and return the message, which must hold these pieces."""
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, source, target, **options)
    for piece in pieces:
        assert piece in str(caught.value)
    return str(caught.value)


def beside(target: Path) -> list[str]:
    """Return what a fetch has left in the folder, besides the records of digests."""
    return sorted(path.name for path in target.parent.iterdir() if path.name != ".pins")


def bad_of(target: Path) -> Path:
    return target.with_name(f"{NAME}.bad")


def pin_of(target: Path) -> Path:
    return target.parent / ".pins" / f"{NAME}.sha256"


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def part_of(target: Path, data: bytes, address: str) -> Path:
    """Leave the part that a killed process leaves."""
    write(target.with_name(f"{NAME}.part.origin"), f'{address}\n"one"\n'.encode())
    return write(target.with_name(f"{NAME}.part"), data)


# Downloads that end well


def test_a_plain_download(upstream, target, caplog):
    fetched(remote(upstream.url()), target)
    assert beside(target) == [NAME]
    assert [exchange.accept_encoding for exchange in upstream.log] == ["identity"]
    assert upstream.log[0].range is None
    assert f"downloading {upstream.url()}" in caplog.text
    assert f"{NAME}: verified, {len(DATA)} bytes" in caplog.text


def test_a_broken_download_is_continued(upstream, target, caplog):
    upstream.cuts = [5000, 7000]
    fetched(remote(upstream.url()), target)
    assert beside(target) == [NAME]
    assert [exchange.range for exchange in upstream.log] == [None, "bytes=5000-", "bytes=12000-"]
    assert [exchange.if_range for exchange in upstream.log] == [None, '"one"', '"one"']
    assert [exchange.sent for exchange in upstream.log] == [5000, 7000, len(DATA) - 12000]
    assert f"continued at byte 5000 from {upstream.url()}" in caplog.text
    assert f"{NAME}: connection lost" in caplog.text
    assert "next attempt in 0.0 s" in caplog.text


def test_many_breaks_are_no_failure_while_bytes_arrive(upstream, target):
    upstream.cuts = [1000] * 15
    fetched(remote(upstream.url()), target)
    assert len(upstream.log) == 16


def test_a_silent_server_is_left_and_asked_again(upstream, target, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "TIMEOUT", (5.0, 0.5))
    upstream.gate, upstream.free = threading.Event(), 10240
    fetched(remote(upstream.url()), target)
    assert upstream.log[1].range == "bytes=10240-"
    assert "timed out" in caplog.text


def test_a_body_without_length_is_held_to_the_known_size(upstream, target, caplog):
    upstream.says_length, upstream.cuts = False, [5000]
    fetched(remote(upstream.url()), target)
    assert f"the answer ended at byte 5000 of {len(DATA)}" in caplog.text


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range obeyed", "If-Range ignored"])
@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        ("ETag", '"one"', '"two"'),
        ("Last-Modified", "Mon, 01 Jan 2018 00:00:00 GMT", "Tue, 01 Jan 2019 00:00:00 GMT"),
    ],
)
def test_a_file_that_changes_between_two_parts_is_not_spliced(upstream, target, header, before, after, obeys):
    upstream.headers, upstream.obeys_if_range = {header: before}, obeys
    upstream.cuts, upstream.changes = [5000], (OTHER, {header: after})
    fetched(Remote(url=upstream.url()), target, OTHER)  # no digest: nothing but the protocol guards it
    assert upstream.log[1].if_range == before


def test_a_weak_etag_does_not_promise_equal_bytes(upstream, target):
    upstream.headers = {"ETag": 'W/"one"'}
    upstream.cuts, upstream.changes = [5000], (OTHER, upstream.headers)
    fetched(Remote(url=upstream.url()), target, OTHER)
    assert [exchange.range for exchange in upstream.log] == [None, None]


def test_without_validator_only_a_known_digest_lets_a_part_be_continued(upstream, target):
    upstream.headers, upstream.cuts = {}, [5000]
    fetch(NAME, Remote(url=upstream.url()), target)
    assert upstream.log[1].range is None
    target.unlink()
    upstream.cuts = [5000]
    fetched(remote(upstream.url()), target)
    assert upstream.log[3].range == "bytes=5000-"
    assert upstream.log[3].if_range is None


KNOWN = {key: getattr(remote(None), key) for key in ("bytes", "sha256", "md5")}
SIZE_UNKNOWN = KNOWN | {"bytes": None}


@pytest.mark.parametrize(
    ("part", "place", "expected", "behaviour", "statuses"),
    [
        pytest.param(DATA[:5000], f"/{NAME}", {}, {"shift": 3}, [206, 200], id="answered by another range"),
        pytest.param(OTHER[:5000], "/elsewhere", {}, {}, [200], id="of another address"),
        pytest.param(OTHER[:5000], "/elsewhere", {}, {"statuses": [206]}, [206, 200], id="answered by a part unasked"),
        pytest.param(DATA, f"/{NAME}", KNOWN, {}, [], id="complete"),
        pytest.param(DATA, f"/{NAME}", SIZE_UNKNOWN, {}, [416], id="complete, size unknown"),
        pytest.param(DATA + b"more", f"/{NAME}", KNOWN, {}, [200], id="too long"),
        pytest.param(DATA + b"more", f"/{NAME}", SIZE_UNKNOWN, {}, [416, 200], id="too long, size unknown"),
    ],
)
def test_a_part_is_continued_only_if_it_fits(upstream, target, part, place, expected, behaviour, statuses):
    part_of(target, part, upstream.url(place))
    vars(upstream).update(behaviour)
    fetched(Remote(url=upstream.url(), **expected), target)
    assert [exchange.status for exchange in upstream.log] == statuses
    assert beside(target) in ([], [NAME])


def test_content_encoding_gzip_is_not_decoded(upstream, target):
    compressed = gzip.compress(DATA)
    upstream.files[f"/{NAME}"], upstream.headers = compressed, {"Content-Encoding": "gzip"}
    fetched(remote(upstream.url(), compressed), target, compressed)


def test_a_file_is_on_the_disk_before_it_gets_its_name(upstream, target, monkeypatch):
    synced = {}

    def fsync(descriptor: int, original=os.fsync) -> None:
        synced[os.fstat(descriptor).st_ino] = target.exists()
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    fetch(NAME, remote(upstream.url()), target)
    assert synced[target.stat().st_ino] is False


@settings(max_examples=150)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
    ranges=st.booleans(),
    resets=st.booleans(),
    headers=st.sampled_from([{"ETag": '"one"'}, {"ETag": 'W/"one"'}, {}]),
    known=st.booleans(),
)
def test_any_cuts_give_the_same_bytes(server, seed, size, cuts, ranges, resets, headers, known):
    server.reset()
    data = random.Random(seed).randbytes(size)
    server.files[f"/{NAME}"], server.cuts, server.ranges = data, cuts, ranges
    server.resets, server.headers = resets, headers
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "ATTEMPTS", 8)  # more than there are cuts
        patch.setattr(downloads, "CHUNK", 256)
        target = Path(folder, NAME)
        fetched(remote(server.url(), data) if known else Remote(url=server.url()), target, data)
        assert beside(target) in ([], [NAME])


FETCH = """
import sys
from pathlib import Path
from histobench.core.downloads import fetch
from histobench.core.files import Remote
fetch(sys.argv[1], Remote(url=sys.argv[2], sha256=sys.argv[3]), Path(sys.argv[4]))
"""


def test_a_process_killed_in_mid_download_is_continued_by_the_next(upstream, target, tmp_path):
    data = os.urandom(300 * 1024)
    gate = upstream.gate = threading.Event()
    upstream.files[f"/{NAME}"], upstream.free = data, 100 * 1024
    source = remote(upstream.url(), data, bytes=None)
    child = start([sys.executable, "-c", FETCH, NAME, source.url, source.sha256, target], tmp_path / "log")
    part = target.with_name(f"{NAME}.part")
    wait_until(lambda: part.exists() and part.stat().st_size > 50_000, child, seconds=15)
    kill(child)
    gate.set()
    arrived = part.stat().st_size
    assert 50_000 < arrived < len(data)
    assert data.startswith(part.read_bytes())
    assert not target.exists()

    fetched(source, target, data)
    assert upstream.log[-1].range == f"bytes={arrived}-"
    assert upstream.log[-1].sent == len(data) - arrived
    assert len(upstream.log) == 2
    assert beside(target) == [NAME]


@pytest.mark.parametrize("first", [DATA, OTHER], ids=["first one ends well", "first one gets a bad file"])
def test_a_second_process_waits_for_the_first(upstream, target, caplog, first):
    # flock belongs to the open file, not to the process: two threads stand for two processes.
    gate = upstream.gate = threading.Event()
    upstream.files[f"/{NAME}"] = first
    with ThreadPoolExecutor(2) as pool:
        try:
            one = pool.submit(fetch, NAME, remote(upstream.url()), target)
            wait_until(lambda: upstream.log, seconds=15)
            two = pool.submit(fetch, NAME, remote(upstream.url()), target)
            wait_until(lambda: "another process is writing it; waiting" in caplog.text, seconds=15)
        finally:
            upstream.files[f"/{NAME}"] = DATA
            gate.set()
    assert two.exception() is None
    assert target.read_bytes() == DATA
    if first == DATA:
        assert one.exception() is None
        assert len(upstream.log) == 1
        assert beside(target) == [NAME]
    else:
        assert "another file than expected" in str(one.exception())
        assert bad_of(target).read_bytes() == OTHER
        assert beside(target) == [NAME, f"{NAME}.bad"]


def test_a_file_system_without_locks_is_used_all_the_same(upstream, target, monkeypatch, caplog):
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    fetched(remote(upstream.url()), target)
    assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_does_not_flood_a_log(upstream, target, monkeypatch, capsys, terminal):
    bars = []

    class Bar(downloads.tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            bars.append((options["mininterval"], options["initial"]))
            super().__init__(*args, **options)

    monkeypatch.setattr(downloads, "tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    part_of(target, DATA[:5000], upstream.url())
    fetch(NAME, remote(upstream.url()), target)
    out, err = capsys.readouterr()
    assert out == ""
    assert NAME in err
    assert "20.5k/20.5k" in err
    assert bars == [(0.5 if terminal else 10.0, 5000)]


# Retries


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_passing_refusal_is_tried_again(upstream, target, caplog, status):
    upstream.statuses = [status, status]
    fetched(remote(upstream.url()), target)
    assert len(upstream.log) == 3
    assert caplog.text.count(f"{NAME}: HTTP {status} ") == 2


def test_the_wait_before_another_attempt_is_kept_and_logged(upstream, target, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "BACKOFF", wait_fixed(0.2))
    upstream.statuses = [503]
    begin = time.monotonic()
    fetch(NAME, remote(upstream.url()), target)
    assert time.monotonic() - begin >= 0.2
    assert f"{NAME}: HTTP 503 Service Unavailable; next attempt in 0.2 s" in caplog.text


def test_a_lasting_refusal_ends_in_advice(upstream, target):
    part = part_of(target, DATA[:5000], upstream.url())
    upstream.statuses = [503] * 100
    told = (NAME, upstream.url(), "stopped at byte 5000", "HTTP 503", "3 attempts", str(part), "`mirror`")
    refused(remote(upstream.url()), target, *told)
    assert len(upstream.log) == 3
    assert part.read_bytes() == DATA[:5000]
    assert not target.exists()


def test_nobody_at_the_address(target):
    with socket.socket() as placeholder:  # bound, never listening: connections are refused
        placeholder.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{placeholder.getsockname()[1]}/{NAME}"
        refused(remote(address), target, "connection lost", address)
    assert beside(target) == []


@pytest.mark.parametrize("status", [403, 404, 410, 401])
def test_a_final_refusal_is_not_tried_again(upstream, target, status):
    upstream.statuses = [status] * 5
    refused(remote(upstream.url()), target, NAME, upstream.url(), f"HTTP {status} ", "configuration")
    assert len(upstream.log) == 1
    assert beside(target) == []


def test_an_address_of_unknown_kind_or_none(target):
    refused(remote("ftp://127.0.0.1/x"), target, "ftp://127.0.0.1/x: No connection adapters")
    refused(remote(None), target, f"{NAME}: no address is known ", " `mirror`")


# Files that are not the expected ones


@pytest.mark.parametrize(
    ("served", "changes"),
    [
        (OTHER, {}),
        (OTHER, {"md5": None}),
        (OTHER, {"sha256": None}),
        (OTHER, {"bytes": None}),
        (DATA[:-1], {}),
        (DATA + b"x", {}),
        (DATA + b"x", {"sha256": None, "md5": None}),
    ],
    ids=["wrong bytes", "sha256 only", "md5 only", "size unknown", "too short", "too long", "size only"],
)
def test_another_file_than_expected_is_kept_aside(upstream, target, served, changes):
    upstream.files[f"/{NAME}"] = served
    expected, found = remote(upstream.url(), **changes), remote(upstream.url(), served)
    told = (NAME, upstream.url(), str(bad_of(target)), "run again", "sources.<source>.files")
    _, expected_line, found_line, *_ = refused(expected, target, *told).splitlines()
    for key in ("bytes", "sha256", "md5"):
        asked = getattr(expected, key)
        assert asked is None or f"{key} {asked}" in expected_line
        # Size and sha256 are always there to compare and to copy.
        assert (asked is None and key == "md5") or f"{key} {getattr(found, key)}" in found_line
    assert bad_of(target).read_bytes() == served
    assert beside(target) == [f"{NAME}.bad"]

    upstream.files[f"/{NAME}"] = DATA
    fetched(expected, target)
    assert upstream.log[-1].range is None


def test_a_foreign_beginning_is_found_and_not_used_twice(upstream, target):
    part = part_of(target, OTHER[:5000], upstream.url())
    refused(remote(upstream.url()), target, "another file than expected")
    assert bad_of(target).read_bytes() == OTHER[:5000] + DATA[5000:]
    assert not part.exists()
    fetched(remote(upstream.url()), target)
    assert [exchange.range for exchange in upstream.log] == ["bytes=5000-", None]


def test_a_target_that_verifies_is_left_alone(upstream, target, caplog):
    fetch(NAME, remote(upstream.url()), target)
    before = target.stat()
    fetch(NAME, remote(None), target)  # not even an address is needed
    after = target.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(upstream.log) == 1
    assert f"{NAME}: already there and verified" in caplog.text


def test_a_target_that_does_not_verify_is_fetched_anew(upstream, target, caplog):
    write(target, DATA[:100])
    fetched(remote(upstream.url()), target)
    assert bad_of(target).read_bytes() == DATA[:100]
    assert f"kept as {bad_of(target)}" in caplog.text


# Digests of first downloads


def test_the_first_download_is_recorded_as_sha256sum_would_and_a_later_one_is_held_to_it(upstream, target):
    digests = [hashlib.sha256(data).hexdigest() for data in (DATA, OTHER)]
    fetch(NAME, Remote(url=upstream.url()), target)
    assert pin_of(target).read_text() == f"{digests[0]}  {NAME}\n# from {upstream.url()}\n"
    subprocess.run(["sha256sum", "--check", "--strict", pin_of(target)], cwd=target.parent, check=True)

    target.unlink()
    upstream.files[f"/{NAME}"], upstream.headers = OTHER, {"ETag": '"two"'}
    told = (str(pin_of(target)), "first download", "delete that record", "sources.<source>.files", *digests)
    refused(Remote(url=upstream.url()), target, *told)
    assert not target.exists()
    assert digests[0] in pin_of(target).read_text()

    pin_of(target).unlink()  # as the message says
    fetched(Remote(url=upstream.url()), target, OTHER)
    assert digests[1] in pin_of(target).read_text()


def test_a_file_without_digest_is_fetched_anew_from_another_address(upstream, target, caplog):
    for path, data in (("/one/", DATA), ("/two/", OTHER)):
        upstream.files[f"{path}{NAME}"] = data
    first, second = (Remote(url=f"{upstream.url().removesuffix(NAME)}{path}/{NAME}") for path in ("one", "two"))
    fetched(first, target)
    fetched(first, target)
    fetched(second, target, OTHER)
    assert "is of another address; fetching it anew" in caplog.text
    assert bad_of(target).read_bytes() == DATA
    assert len(upstream.log) == 2
    target.unlink()
    fetched(second, target, OTHER)
    gone = Remote(url=f"{upstream.url().removesuffix(NAME)}three/{NAME}")
    refused(gone, target, "could not be fetched")
    assert target.read_bytes() == OTHER
    # A digest says more than an address.
    fetched(remote(gone.url), write(target, DATA))
    assert gone.url in pin_of(target).read_text()


def test_of_a_record_without_an_address_none_is_made_up(upstream, target):
    """Earlier versions recorded none, so the file may be of another one than the configuration has now."""
    line = f"{hashlib.sha256(DATA).hexdigest()}  {NAME}\n"
    write(pin_of(target), line.encode())
    fetched(Remote(url=upstream.url()), write(target, DATA))
    assert pin_of(target).read_text() == line


def test_capitals_in_a_digest_are_no_difference(upstream, target):
    source = remote(upstream.url())
    fetched(replace(source, sha256=source.sha256.upper(), md5=source.md5.upper()), target)


@pytest.mark.parametrize("left_out", ["sha256", "md5"])
def test_a_configured_digest_heeds_no_record_and_makes_one_for_jobs(upstream, target, left_out):
    source = remote(upstream.url(), **{left_out: None})
    for _ in range(2):
        fetched(source, target)
        assert pin_of(target).read_text().startswith(f"{hashlib.sha256(DATA).hexdigest()}  {NAME}\n")
        target.unlink()
        write(pin_of(target), f"{hashlib.sha256(OTHER).hexdigest()}  {NAME}\n".encode())


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"\0", OTHER])
def test_a_file_that_changed_after_its_download_is_not_read(upstream, target, damage):
    fetch(NAME, remote(upstream.url()), target)
    assert source_files.verified(target) == hashlib.sha256(DATA).hexdigest()
    write(target, damage)
    with pytest.raises(HistobenchError, match=rf"{target}: expected the file that was downloaded"):
        source_files.verified(target)


def test_a_file_without_digest_that_is_there_is_recorded(upstream, target):
    write(target, DATA)
    fetch(NAME, Remote(url=upstream.url()), target)
    assert upstream.log == []
    assert hashlib.sha256(DATA).hexdigest() in pin_of(target).read_text()


def test_a_damaged_record_is_no_licence(upstream, target):
    write(pin_of(target), b"half a dig")
    refused(Remote(url=upstream.url()), target, "found 'half a dig'", str(pin_of(target)))
    assert not target.exists()


# Mirrors


@pytest.mark.parametrize("told", [str, Path.as_uri, lambda mirror: f"~/{mirror.name}"], ids=["path", "file://", "~"])
@pytest.mark.parametrize("layout", ["pcam", "."], ids=["nested", "flat"])
def test_a_mirror_folder(upstream, target, tmp_path, monkeypatch, caplog, layout, told):
    monkeypatch.setenv("HOME", str(tmp_path))
    mirror = tmp_path / "our mirror"
    original = write(mirror / layout / NAME, DATA)
    before = original.stat()
    fetched(remote(upstream.url()), target, mirror=told(mirror), folder="pcam")
    assert beside(target) == [NAME]
    assert upstream.log == []
    assert target.stat().st_ino != before.st_ino
    assert (original.stat().st_mtime_ns, original.stat().st_nlink) == (before.st_mtime_ns, 1)
    assert f"copying from {original}" in caplog.text


def test_a_mirror_folder_prefers_the_nested_file_and_is_verified(upstream, target, tmp_path):
    nested = write(tmp_path / "pcam" / NAME, OTHER)
    write(tmp_path / NAME, DATA)
    part_of(target, DATA[:5000], upstream.url())
    told = ("another file than expected", str(nested))
    refused(remote(upstream.url()), target, *told, mirror=str(tmp_path), folder="pcam")
    assert bad_of(target).read_bytes() == OTHER
    assert not target.exists()
    assert nested.read_bytes() == OTHER


def test_a_mirror_folder_without_the_file(upstream, target, tmp_path):
    mirror = tmp_path / "mirror"
    places = [mirror / "pcam" / NAME, mirror / NAME, mirror / "pcam" / UNPACKED, mirror / UNPACKED]
    told = (*(f"{place}: no such file" for place in places), "`mirror`")
    refused(remote(upstream.url()), target, *told, mirror=str(mirror), folder="pcam")
    assert upstream.log == []
    assert beside(target) == []


def test_a_copy_that_was_interrupted_is_not_continued_from_an_address(upstream, target, tmp_path):
    write(tmp_path / NAME, LARGE)
    part = part_of(target, DATA[:100], upstream.url())
    with full_disk():
        refused(Remote(), target, mirror=str(tmp_path))
    assert part.stat().st_size == ROOM
    upstream.files[f"/{NAME}"] = OTHER * 300
    fetched(Remote(url=upstream.url()), target, OTHER * 300)


@pytest.mark.parametrize("layout", ["/pcam", ""], ids=["nested", "flat"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_address(upstream, target, layout, slash):
    upstream.files = {f"/base{layout}/{NAME}": DATA}
    fetched(remote("http://upstream.invalid/"), target, mirror=upstream.url(f"/base{slash}"), folder="pcam")
    asked = [f"/base/pcam/{NAME}", f"/base/{NAME}"]
    assert [exchange.path for exchange in upstream.log] == (asked[:1] if layout else asked)


def test_a_flat_mirror_address_is_continued_past_the_404(upstream, target):
    upstream.files = {f"/base/{NAME}": DATA}
    part_of(target, DATA[:5000], upstream.url(f"/base/{NAME}"))
    fetched(remote(None), target, mirror=upstream.url("/base"), folder="pcam")
    assert [(exchange.range, exchange.status) for exchange in upstream.log] == [(None, 404), ("bytes=5000-", 206)]


def test_a_mirror_address_quotes_names(upstream, target):
    upstream.files = {"/cases%20%231.txt": DATA}
    fetch("cases #1.txt", remote(None), target, mirror=upstream.url(""))
    assert target.read_bytes() == DATA
    assert len(upstream.log) == 1  # no folder: one place to look


def test_a_mirror_address_without_the_file(upstream, target):
    upstream.files = {}
    asked = [f"/base/{path}" for path in (f"pcam/{NAME}", NAME, f"pcam/{UNPACKED}", UNPACKED)]
    told = [f"{upstream.url(path)}: HTTP 404 Not Found" for path in asked]
    refused(remote(None), target, *told, mirror=upstream.url("/base"), folder="pcam")
    assert [exchange.path for exchange in upstream.log] == asked


# Files that somebody has unpacked


def unpacked_pin(target: Path) -> Path:
    return pin_of(target).with_name(f"{UNPACKED}.sha256")


@pytest.mark.parametrize("layout", ["pcam", "."], ids=["nested", "flat"])
def test_an_unpacked_file_in_a_mirror_is_taken_and_recorded(upstream, target, tmp_path, caplog, layout):
    place = write(tmp_path / "mirror" / layout / UNPACKED, DATA)
    source, mirror = remote(upstream.url(), gzip.compress(DATA)), {"mirror": str(tmp_path / "mirror"), "folder": "pcam"}
    fetched(source, target, **mirror)
    assert unpacked_pin(target).read_text() == f"{hashlib.sha256(DATA).hexdigest()}  {NAME}\n"
    assert f"recorded in {unpacked_pin(target)}" in caplog.text
    assert beside(target) == [NAME]

    place.unlink()
    fetched(source, target, **mirror)  # it is there
    fetched(source, target)
    assert upstream.log == []


def test_an_unpacked_file_is_held_to_its_first_copy(upstream, target, tmp_path):
    write(tmp_path / UNPACKED, DATA)
    source, mirror = remote(upstream.url(), gzip.compress(DATA)), {"mirror": str(tmp_path)}
    fetched(source, target, **mirror)
    write(target, DATA[:-1])
    fetched(source, target, **mirror)
    assert bad_of(target).read_bytes() == DATA[:-1]
    target.unlink()
    write(tmp_path / UNPACKED, OTHER)
    told = (UNPACKED, str(tmp_path / UNPACKED), f"recorded in {unpacked_pin(target)}", "delete that record.")
    refused(source, target, *told, **mirror)
    assert not target.exists()


def test_the_published_file_goes_first(upstream, target, tmp_path):
    packed = gzip.compress(DATA)
    for name, data in ((UNPACKED, OTHER), (NAME, packed)):
        write(tmp_path / name, data)
    fetched(remote(None, packed), target, packed, mirror=str(tmp_path), folder="pcam")
    assert not unpacked_pin(target).exists()
    # Its digests hold, whatever else the mirror has.
    write(tmp_path / NAME, packed[:-1])
    target.unlink()
    refused(remote(None, packed), target, "another file than expected", mirror=str(tmp_path), folder="pcam")


def test_nothing_passes_for_unpacked_without_a_record(upstream, target):
    upstream.files[f"/{NAME}"] = packed = gzip.compress(DATA)
    write(target, DATA)
    fetched(remote(upstream.url(), packed), target, packed)
    assert bad_of(target).read_bytes() == DATA


def test_upstream_is_not_asked_for_an_unpacked_file(upstream, target):
    upstream.files = {f"/{UNPACKED}": DATA}
    refused(remote(upstream.url()), target, "HTTP 404")
    assert [exchange.path for exchange in upstream.log] == [f"/{NAME}"]


# Disks


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond `ROOM`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_part(upstream, target):
    upstream.files[f"/{NAME}"] = LARGE
    part = target.with_name(f"{NAME}.part")
    with full_disk():
        told = (NAME, str(target), os.strerror(errno.EFBIG), "Make room", str(part))
        refused(remote(upstream.url(), LARGE), target, *told)
    assert part.stat().st_size == ROOM
    fetched(remote(upstream.url(), LARGE), target, LARGE)
    assert [exchange.range for exchange in upstream.log] == [None, f"bytes={ROOM}-"]


def test_a_folder_that_cannot_be_made(upstream, target):
    write(target.parent, b"a file where a folder should be")
    refused(remote(upstream.url()), target, "permissions", str(target))
