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
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import wait_fixed, wait_none

from histobench.core import downloads
from histobench.core.downloads import fetch
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote

NAME = "patches.h5.gz"
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
        self.etag: str | None = '"one"'
        self.modified: str | None = None
        self.ranges = True  # False: answers 200 to a Range request
        self.obeys_if_range = True
        self.shift = 0  # an answer to a Range request begins this much too far on
        self.statuses: list[int] = []  # of the next answers, before it behaves
        self.cuts: list[int] = []  # bytes of body after which the next answers break off
        self.resets = False  # break off by RST instead of an orderly close
        self.changes: tuple[bytes, str] | None = None  # content and validator from the first break on
        self.says_length = True
        self.encoding: str | None = None
        self.gate: threading.Event | None = None  # to wait for after `free` bytes of a body
        self.free = 0
        self.stalls: list[float] = []  # seconds of silence after half of the body of the next answers
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
        validator = server.etag or server.modified
        body, extent = data or b"", None
        if status == 200 and exchange.range and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", exchange.range)[1])
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
        headers = {"Content-Range": extent, "ETag": server.etag, "Last-Modified": server.modified}
        for key, value in (headers | {"Content-Encoding": server.encoding}).items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts and status in (200, 206) else len(body)
        stall = server.stalls.pop(0) if server.stalls and status in (200, 206) else 0.0
        step = 1024 if server.gate else len(body) // 2 if stall else max(len(body), 1)
        for at in range(0, min(cut, len(body)), step):
            if server.gate and at >= server.free:
                server.gate.wait(15)
            piece = body[at : min(at + step, cut)]
            self.wfile.write(piece)
            exchange.sent += len(piece)
            time.sleep(stall)
        if cut < len(body):
            if server.resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            if server.changes:
                (server.files[self.path], changed), server.changes = server.changes, None
                if server.etag:
                    server.etag = changed
                else:
                    server.modified = changed


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
def upstream(server: Upstream) -> Upstream:
    server.reset()
    return server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "pcam" / NAME


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "histobench.core.downloads")


def beside(target: Path) -> list[str]:
    """Return what a fetch has left in the folder."""
    return sorted(path.name for path in target.parent.iterdir())


def wait_until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def part_of(target: Path, data: bytes, address: str, validator: str = '"one"') -> Path:
    """Leave the part that a killed process leaves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{NAME}.part")
    part.write_bytes(data)
    target.with_name(f"{NAME}.part.origin").write_text(f"{address}\n{validator}\n")
    return part


# Downloads that end well


def test_a_plain_download(upstream, target, caplog):
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
    assert beside(target) == [NAME]
    assert [exchange.accept_encoding for exchange in upstream.log] == ["identity"]
    assert upstream.log[0].range is None
    assert f"downloading {upstream.url()}" in caplog.text
    assert f"{NAME}: verified, {len(DATA)} bytes" in caplog.text


def test_a_broken_download_is_continued(upstream, target, caplog):
    upstream.cuts = [5000, 7000]
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
    assert beside(target) == [NAME]
    assert [exchange.range for exchange in upstream.log] == [None, "bytes=5000-", "bytes=12000-"]
    assert [exchange.if_range for exchange in upstream.log] == [None, '"one"', '"one"']
    assert [exchange.sent for exchange in upstream.log] == [5000, 7000, len(DATA) - 12000]
    assert f"continued at byte 5000 from {upstream.url()}" in caplog.text
    assert f"{NAME}: connection lost" in caplog.text
    assert "next attempt in 0.0 s" in caplog.text


def test_many_breaks_are_no_failure_while_bytes_arrive(upstream, target):
    upstream.cuts = [1000] * 15
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
    assert len(upstream.log) == 16


def test_a_silent_server_is_left_and_asked_again(upstream, target, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "TIMEOUT", (5.0, 0.5))
    upstream.stalls = [1.0]
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
    assert upstream.log[1].range == f"bytes={len(DATA) // 2}-"
    assert "timed out" in caplog.text


def test_a_body_without_length_is_held_to_the_known_size(upstream, target, caplog):
    upstream.says_length, upstream.cuts = False, [5000]
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
    assert f"the answer ended at byte 5000 of {len(DATA)}" in caplog.text


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range obeyed", "If-Range ignored"])
@pytest.mark.parametrize(
    ("etag", "modified", "changed"),
    [
        ('"one"', None, '"two"'),
        (None, "Mon, 01 Jan 2018 00:00:00 GMT", "Tue, 01 Jan 2019 00:00:00 GMT"),
    ],
    ids=["ETag", "Last-Modified"],
)
def test_a_file_that_changes_between_two_parts_is_not_spliced(upstream, target, etag, modified, changed, obeys):
    upstream.etag, upstream.modified, upstream.obeys_if_range = etag, modified, obeys
    upstream.cuts, upstream.changes = [5000], (OTHER, changed)
    fetch(NAME, Remote(url=upstream.url()), target)  # no digest: nothing but the protocol guards it
    assert target.read_bytes() == OTHER
    assert upstream.log[1].if_range == (etag or modified)


def test_a_weak_etag_does_not_promise_equal_bytes(upstream, target):
    upstream.etag, upstream.cuts, upstream.changes = 'W/"one"', [5000], (OTHER, 'W/"one"')
    fetch(NAME, Remote(url=upstream.url()), target)
    assert target.read_bytes() == OTHER
    assert [exchange.range for exchange in upstream.log] == [None, None]


def test_without_validator_only_a_known_digest_lets_a_part_be_continued(upstream, target):
    upstream.etag, upstream.cuts = None, [5000]
    fetch(NAME, Remote(url=upstream.url()), target)
    assert upstream.log[1].range is None
    target.unlink()
    upstream.cuts = [5000]
    fetch(NAME, remote(upstream.url()), target)
    assert upstream.log[3].range == "bytes=5000-"
    assert upstream.log[3].if_range is None
    assert target.read_bytes() == DATA


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
    fetch(NAME, Remote(url=upstream.url(), **expected), target)
    assert target.read_bytes() == DATA
    assert [exchange.status for exchange in upstream.log] == statuses
    assert set(beside(target)) <= {NAME, ".pins"}


def test_content_encoding_gzip_is_not_decoded(upstream, target):
    compressed = gzip.compress(DATA)
    upstream.files[f"/{NAME}"], upstream.encoding = compressed, "gzip"
    fetch(NAME, remote(upstream.url(), compressed), target)
    assert target.read_bytes() == compressed


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
    etag=st.sampled_from(['"one"', 'W/"one"', None]),
    known=st.booleans(),
)
def test_any_cuts_give_the_same_bytes(server, seed, size, cuts, ranges, resets, etag, known):
    server.reset()
    data = random.Random(seed).randbytes(size)
    server.files[f"/{NAME}"], server.cuts, server.ranges = data, cuts, ranges
    server.resets, server.etag = resets, etag
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "ATTEMPTS", 8)  # more than there are cuts
        patch.setattr(downloads, "CHUNK", 256)
        target = Path(folder, NAME)
        fetch(NAME, remote(server.url(), data) if known else Remote(url=server.url()), target)
        assert target.read_bytes() == data
        assert set(beside(target)) <= {NAME, ".pins"}


def test_a_process_killed_in_mid_download_is_continued_by_the_next(upstream, target):
    data = os.urandom(300 * 1024)
    upstream.files[f"/{NAME}"], upstream.gate, upstream.free = data, threading.Event(), 100 * 1024
    code = (
        "import sys; from pathlib import Path;"
        "from histobench.core.downloads import fetch; from histobench.core.files import Remote;"
        "fetch(sys.argv[1], Remote(url=sys.argv[2], sha256=sys.argv[3]), Path(sys.argv[4]))"
    )
    source = remote(upstream.url(), data, bytes=None)
    environment = os.environ | {"PYTHONPATH": str(Path(downloads.__file__).parents[2])}
    child = subprocess.Popen(
        [sys.executable, "-c", code, NAME, source.url, source.sha256, str(target)],
        env=environment,
    )
    part = target.with_name(f"{NAME}.part")
    try:
        wait_until(lambda: child.poll() is not None or (part.exists() and part.stat().st_size > 50_000))
        assert child.poll() is None, "the child ended before it could be killed"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        upstream.gate.set()
    arrived = part.stat().st_size
    assert 50_000 < arrived < len(data)
    assert data.startswith(part.read_bytes())
    assert not target.exists()

    fetch(NAME, source, target)
    assert upstream.log[-1].range == f"bytes={arrived}-"
    assert upstream.log[-1].sent == len(data) - arrived
    assert len(upstream.log) == 2
    assert target.read_bytes() == data
    assert beside(target) == [NAME]


@pytest.mark.parametrize("first", [DATA, OTHER], ids=["first one ends well", "first one gets a bad file"])
def test_a_second_process_waits_for_the_first(upstream, target, caplog, first):
    # flock belongs to the open file, not to the process: two threads stand for two processes.
    upstream.files[f"/{NAME}"], upstream.gate = first, threading.Event()
    outcomes: list[HistobenchError | None] = []

    def run() -> None:
        try:
            fetch(NAME, remote(upstream.url()), target)
            outcomes.append(None)
        except HistobenchError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    try:
        threads[0].start()
        wait_until(lambda: upstream.log)
        threads[1].start()
        wait_until(lambda: "another process is writing it; waiting" in caplog.text)
    finally:
        upstream.files[f"/{NAME}"] = DATA
        upstream.gate.set()
        for thread in threads:
            thread.join()
    assert target.read_bytes() == DATA
    if first == DATA:
        assert outcomes == [None, None]
        assert len(upstream.log) == 1
        assert beside(target) == [NAME]
    else:
        assert "another file than expected" in str(outcomes[0])
        assert outcomes[1] is None
        assert target.with_name(f"{NAME}.bad").read_bytes() == OTHER
        assert beside(target) == [NAME, f"{NAME}.bad"]


def test_a_file_system_without_locks_is_used_all_the_same(upstream, target, monkeypatch, caplog):
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
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
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
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
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, remote(upstream.url()), target)
    for piece in (NAME, upstream.url(), "stopped at byte 5000", "HTTP 503", "3 attempts", str(part), "`mirror`"):
        assert piece in str(caught.value)
    assert len(upstream.log) == 3
    assert part.read_bytes() == DATA[:5000]
    assert not target.exists()


def test_nobody_at_the_address(target):
    with socket.socket() as placeholder:  # bound, never listening: connections are refused
        placeholder.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{placeholder.getsockname()[1]}/{NAME}"
        with pytest.raises(HistobenchError, match="connection lost") as caught:
            fetch(NAME, remote(address), target)
    assert address in str(caught.value)
    assert beside(target) == []


@pytest.mark.parametrize("status", [403, 404, 410, 401])
def test_a_final_refusal_is_not_tried_again(upstream, target, status):
    upstream.statuses = [status] * 5
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, remote(upstream.url()), target)
    for piece in (NAME, upstream.url(), f"HTTP {status} ", "configuration"):
        assert piece in str(caught.value)
    assert len(upstream.log) == 1
    assert beside(target) == []


def test_an_address_of_unknown_kind(target):
    with pytest.raises(HistobenchError, match=r"ftp://127\.0\.0\.1/x: No connection adapters"):
        fetch(NAME, remote("ftp://127.0.0.1/x"), target)


def test_no_address_and_no_mirror(target):
    with pytest.raises(HistobenchError, match=rf"{NAME}: no address is known .* `mirror`"):
        fetch(NAME, remote(None), target)


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
    expected, bad = remote(upstream.url(), **changes), target.with_name(f"{NAME}.bad")
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, expected, target)
    message = str(caught.value)
    for piece in (NAME, upstream.url(), str(bad), "run again", "sources.<source>.files"):
        assert piece in message
    for key in ("bytes", "sha256", "md5"):
        if (value := getattr(expected, key)) is not None:
            assert f"{key} {value}" in message.splitlines()[1]
    sizes = f"found bytes {len(served)}, sha256 {hashlib.sha256(served).hexdigest()}"
    assert sizes in message or expected.sha256 is None
    assert f"sha256 {hashlib.sha256(served).hexdigest()}" in message.splitlines()[2]
    assert f"bytes {len(served)}" in message.splitlines()[2]
    if expected.md5:
        assert f"md5 {hashlib.md5(served).hexdigest()}" in message.splitlines()[2]
    assert bad.read_bytes() == served
    assert beside(target) == [bad.name]

    upstream.files[f"/{NAME}"] = DATA
    fetch(NAME, expected, target)
    assert upstream.log[-1].range is None
    assert target.read_bytes() == DATA


def test_a_foreign_beginning_is_found_and_not_used_twice(upstream, target):
    part = part_of(target, OTHER[:5000], upstream.url())
    with pytest.raises(HistobenchError, match="another file than expected"):
        fetch(NAME, remote(upstream.url()), target)
    assert target.with_name(f"{NAME}.bad").read_bytes() == OTHER[:5000] + DATA[5000:]
    assert not part.exists()
    fetch(NAME, remote(upstream.url()), target)
    assert target.read_bytes() == DATA
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
    target.parent.mkdir(parents=True)
    target.write_bytes(DATA[:100])
    fetch(NAME, remote(upstream.url()), target)
    bad = target.with_name(f"{NAME}.bad")
    assert target.read_bytes() == DATA
    assert bad.read_bytes() == DATA[:100]
    assert f"moved to {bad}" in caplog.text


# Digests of first downloads


def pin_of(target: Path) -> Path:
    return target.parent / ".pins" / f"{NAME}.sha256"


def test_the_first_download_is_recorded_as_sha256sum_would(upstream, target):
    fetch(NAME, Remote(url=upstream.url()), target)
    assert pin_of(target).read_text() == f"{hashlib.sha256(DATA).hexdigest()}  {NAME}\n"
    subprocess.run(["sha256sum", "--check", "--strict", pin_of(target)], cwd=target.parent, check=True)


def test_a_later_download_is_held_to_the_first(upstream, target):
    fetch(NAME, Remote(url=upstream.url()), target)
    target.unlink()
    upstream.files[f"/{NAME}"], upstream.etag = OTHER, '"two"'
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, Remote(url=upstream.url()), target)
    for piece in (str(pin_of(target)), "first download", "delete that record", "sources.<source>.files"):
        assert piece in str(caught.value)
    for data in (DATA, OTHER):
        assert hashlib.sha256(data).hexdigest() in str(caught.value)
    assert not target.exists()
    assert hashlib.sha256(DATA).hexdigest() in pin_of(target).read_text()

    pin_of(target).unlink()  # as the message says
    fetch(NAME, Remote(url=upstream.url()), target)
    assert target.read_bytes() == OTHER
    assert hashlib.sha256(OTHER).hexdigest() in pin_of(target).read_text()


@pytest.mark.parametrize("left_out", ["sha256", "md5"])
def test_a_configured_digest_needs_no_record_and_heeds_none(upstream, target, left_out):
    fetch(NAME, remote(upstream.url(), **{left_out: None}), target)
    assert not pin_of(target).exists()
    target.unlink()
    pin_of(target).parent.mkdir()
    pin_of(target).write_text(f"{hashlib.sha256(OTHER).hexdigest()}  {NAME}\n")
    fetch(NAME, remote(upstream.url(), **{left_out: None}), target)
    assert target.read_bytes() == DATA


def test_a_file_without_digest_that_is_there_is_recorded(upstream, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(DATA)
    fetch(NAME, Remote(url=upstream.url()), target)
    assert upstream.log == []
    assert hashlib.sha256(DATA).hexdigest() in pin_of(target).read_text()


def test_a_damaged_record_is_no_licence(upstream, target):
    pin_of(target).parent.mkdir(parents=True)
    pin_of(target).write_text("half a dig")
    with pytest.raises(HistobenchError, match="found 'half a dig'") as caught:
        fetch(NAME, Remote(url=upstream.url()), target)
    assert str(pin_of(target)) in str(caught.value)
    assert not target.exists()


# Mirrors


@pytest.mark.parametrize("scheme", [False, True], ids=["path", "file://"])
@pytest.mark.parametrize("layout", ["pcam", "."], ids=["nested", "flat"])
def test_a_mirror_folder(upstream, target, tmp_path, caplog, layout, scheme):
    mirror = tmp_path / "our mirror"
    original = mirror / layout / NAME
    original.parent.mkdir(parents=True)
    original.write_bytes(DATA)
    before = original.stat()
    base = mirror.as_uri() if scheme else str(mirror)
    fetch(NAME, remote(upstream.url()), target, mirror=base, folder="pcam")
    assert target.read_bytes() == DATA
    assert beside(target) == [NAME]
    assert upstream.log == []
    assert target.stat().st_ino != before.st_ino
    assert (original.stat().st_mtime_ns, original.stat().st_nlink) == (before.st_mtime_ns, 1)
    assert f"copying from {original}" in caplog.text


def test_a_mirror_folder_under_home(target, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / NAME).write_bytes(DATA)
    fetch(NAME, remote(None), target, mirror="~/mirror")
    assert target.read_bytes() == DATA


def test_a_mirror_folder_prefers_the_nested_file_and_is_verified(upstream, target, tmp_path):
    mirror = tmp_path / "mirror"
    (mirror / "pcam").mkdir(parents=True)
    (mirror / "pcam" / NAME).write_bytes(OTHER)
    (mirror / NAME).write_bytes(DATA)
    part_of(target, DATA[:5000], upstream.url())
    with pytest.raises(HistobenchError, match="another file than expected") as caught:
        fetch(NAME, remote(upstream.url()), target, mirror=str(mirror), folder="pcam")
    assert str(mirror / "pcam" / NAME) in str(caught.value)
    assert target.with_name(f"{NAME}.bad").read_bytes() == OTHER
    assert not target.exists()
    assert (mirror / "pcam" / NAME).read_bytes() == OTHER


def test_a_mirror_folder_without_the_file(upstream, target, tmp_path):
    mirror = tmp_path / "mirror"
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, remote(upstream.url()), target, mirror=str(mirror), folder="pcam")
    for piece in (f"{mirror / 'pcam' / NAME}: no such file", f"{mirror / NAME}: no such file", "`mirror`"):
        assert piece in str(caught.value)
    assert upstream.log == []
    assert beside(target) == []


def test_a_copy_that_was_interrupted_is_not_continued_from_an_address(upstream, target, tmp_path):
    (tmp_path / NAME).write_bytes(LARGE)
    part = part_of(target, DATA[:100], upstream.url())
    on_a_full_disk(lambda: fetch(NAME, Remote(), target, mirror=str(tmp_path)))
    assert part.stat().st_size == ROOM
    upstream.files[f"/{NAME}"] = OTHER * 300
    fetch(NAME, Remote(url=upstream.url()), target)
    assert target.read_bytes() == OTHER * 300


@pytest.mark.parametrize("layout", ["/pcam", ""], ids=["nested", "flat"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_address(upstream, target, layout, slash):
    upstream.files = {f"/base{layout}/{NAME}": DATA}
    fetch(NAME, remote("http://upstream.invalid/"), target, mirror=upstream.url(f"/base{slash}"), folder="pcam")
    assert target.read_bytes() == DATA
    asked = [f"/base/pcam/{NAME}", f"/base/{NAME}"]
    assert [exchange.path for exchange in upstream.log] == (asked[:1] if layout else asked)


def test_a_flat_mirror_address_is_continued_past_the_404(upstream, target):
    upstream.files = {f"/base/{NAME}": DATA}
    part_of(target, DATA[:5000], upstream.url(f"/base/{NAME}"))
    fetch(NAME, remote(None), target, mirror=upstream.url("/base"), folder="pcam")
    assert target.read_bytes() == DATA
    assert [(exchange.range, exchange.status) for exchange in upstream.log] == [(None, 404), ("bytes=5000-", 206)]


def test_a_mirror_address_quotes_names(upstream, target):
    upstream.files = {"/cases%20%231.txt": DATA}
    fetch("cases #1.txt", remote(None), target, mirror=upstream.url(""))
    assert target.read_bytes() == DATA
    assert len(upstream.log) == 1  # no folder: one place to look


def test_a_mirror_address_without_the_file(upstream, target):
    upstream.files = {}
    with pytest.raises(HistobenchError) as caught:
        fetch(NAME, remote(None), target, mirror=upstream.url("/base"), folder="pcam")
    for path in (f"/base/pcam/{NAME}", f"/base/{NAME}"):
        assert f"{upstream.url(path)}: HTTP 404 Not Found" in str(caught.value)
    assert len(upstream.log) == 2


# Disks


def on_a_full_disk(action) -> str:
    """Run `action` where no file can grow beyond `ROOM`, and return the error's message."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        with pytest.raises(HistobenchError) as caught:
            action()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return str(caught.value)


def test_a_full_disk_keeps_the_part(upstream, target):
    upstream.files[f"/{NAME}"] = LARGE
    part = target.with_name(f"{NAME}.part")
    message = on_a_full_disk(lambda: fetch(NAME, remote(upstream.url(), LARGE), target))
    for piece in (NAME, str(target), os.strerror(errno.EFBIG), "Make room", str(part)):
        assert piece in message
    assert part.stat().st_size == ROOM
    fetch(NAME, remote(upstream.url(), LARGE), target)
    assert target.read_bytes() == LARGE
    assert [exchange.range for exchange in upstream.log] == [None, f"bytes={ROOM}-"]


def test_a_folder_that_cannot_be_made(upstream, target):
    target.parent.parent.mkdir()
    target.parent.write_text("a file where a folder should be")
    with pytest.raises(HistobenchError, match="permissions") as caught:
        fetch(NAME, remote(upstream.url()), target)
    assert str(target) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(upstream, target):
    target.parent.mkdir(parents=True)
    target.parent.chmod(0o500)
    with pytest.raises(HistobenchError, match="Permission denied") as caught:
        fetch(NAME, remote(upstream.url()), target)
    assert str(target) in str(caught.value)
    assert upstream.log == []
