"""The chief of a search: KerasTuner's oracle behind a gRPC server, in a thread of one of the search's jobs.

The chief is the job that holds the lease on the ``.state`` of the search. It writes its address to the file
``chief-<number of the lease>``. All other jobs wait for the lease; when the chief's job ends, one of them becomes the
chief and continues from the files in which every decision was saved.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import uuid
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import atomic
from histobench.core.lease import HolderLookup, Lease
from histobench.core.state import State, fingerprint
from histobench.train import provenance
from histobench.tuning import oracle, outputs
from histobench.tuning.search_files import PROJECT, worker_folder

STATE = ".state"
LOOPBACK = "127.0.0.1"
# Seconds: for an answer, and between two looks for a chief or for work.
TIMEOUT, POLL = 30.0, 1.0
# Key of the token among the metadata of a call.
TOKEN = "histobench-search"


class Address(NamedTuple):
    """Host and port of a chief, and the token that it asks for.

    The token proves that a worker can read the folder of the search. A worker of another search, whose chief had the
    same port before, does not know it.
    """

    place: str
    token: str


class Chief:
    """The chief of a search, which this job becomes as soon as there is no other.

    Parameters
    ----------
    folder : of the search.
    identity : specification, code and inputs of the search, see :class:`histobench.core.state.State`.
    alone : whether this job is the only worker; the server then listens on the loopback interface only.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, alone: bool) -> None:
        self.folder, self.project = folder / STATE, folder / STATE / PROJECT
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity, self._alone = identity, alone
        self._fingerprint = fingerprint(identity)
        self._lease = Lease(self.folder)
        self._state: State | None = None
        self._oracle: oracle.HyperbandOracle | oracle.RandomSearchOracle | None = None
        self._server: grpc.Server | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="chief", daemon=True)

    def start(self) -> None:
        """Start to wait for the lease, in a thread."""
        self._thread.start()

    def check(self) -> None:
        """Raise the error of the thread, if there was one."""
        if self._error:
            raise self._error

    def find(self) -> Address | None:
        """Return the address of the chief of our search, whichever job that is; None while there is none."""
        path = max(self.folder.glob("chief-*"), default=None)  # of the last lease
        if path is None:
            return None
        try:
            address = runs.read_json(path)
        except (OSError, ValueError):  # the next chief has deleted it, or it is damaged
            return None
        return Address(address["place"], address["token"]) if address["search"] == self._fingerprint else None

    def finish(self, about: provenance.About) -> None:
        """Write the outputs, if this job is the chief and has not yet done so."""
        if self._state and self._oracle and not self._oracle.over:
            self._oracle.over = True
            outputs.write(self._state, self._oracle, about)

    def leave(self) -> None:
        """Stop the server and release the lease, so that another job can become the chief."""
        if self._server:
            self._server.stop(grace=TIMEOUT).wait(TIMEOUT)
            (self.folder / f"chief-{self._lease.number:06d}").unlink(missing_ok=True)
        self._lease.release()

    def _run(self) -> None:
        try:
            self._lease.take()
            self._serve()
        except BaseException as error:  # raised by `check` in the main thread
            self._error = error

    def _serve(self) -> None:
        state = State(self.folder, self._identity, self._lease)
        served = oracle.build(self._identity["specification"]["recipe"]["search"], self.project)
        lookup = HolderLookup(thorough=True)
        folder = self.folder.parent
        served.alive = lambda name: lookup.holder(folder / worker_folder(name)) is not None
        served.event, served.check = state.event, self._lease.check
        served.over = state.finished()
        if not served.over:
            try:
                served.reload()
            except HistobenchError as error:
                damaged = self.project.with_name(f"damaged-{PROJECT}")
                shutil.rmtree(damaged, ignore_errors=True)
                self.project.rename(damaged)
                state.event(f"{PROJECT} is damaged ({error}): kept as {damaged.name}, starting anew")
        host, token = LOOPBACK if self._alone else own_address(), uuid.uuid4().hex
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), interceptors=[_TokenCheck(token)])
        protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(served), self._server)
        try:
            port = self._server.add_insecure_port(f"{host}:0")
        except RuntimeError as error:
            raise HistobenchError(
                f"{self.folder}: expected to be reached by other jobs of this search at {host}, which this machine has "
                f"by SLURM's NodeAddr; gRPC says: {error}. With `workers: 1` in the recipe's search this is not needed"
            ) from error
        self._server.start()
        for path in self.folder.glob("chief-*"):
            path.unlink()
        address = {"place": f"{host}:{port}", "token": token, "search": self._fingerprint}
        with atomic(self.folder / f"chief-{self._lease.number:06d}") as temporary:
            temporary.touch(0o600)
            temporary.write_text(json.dumps(address), encoding="utf-8")
        self._state, self._oracle = state, served


def own_address() -> str:
    """Return the address at which other jobs reach this machine: SLURM's NodeAddr, or loopback outside of SLURM."""
    node = os.environ.get("SLURMD_NODENAME")
    if not node:
        return LOOPBACK
    answer = subprocess.run(
        ["scontrol", "show", "node", node], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    address = re.search(r"NodeAddr=(\S+)", answer.stdout)
    return address[1] if address else node


class _TokenCheck(grpc.ServerInterceptor):
    """Refuses calls without the chief's token."""

    def __init__(self, token: str) -> None:
        def refuse(request: Any, context: grpc.ServicerContext) -> None:  # noqa: ARG001
            context.abort(grpc.StatusCode.UNAVAILABLE, "another search")

        self._token, self._refusal = token, grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return the handler of a call."""
        known = (TOKEN, self._token) in map(tuple, details.invocation_metadata)
        return continuation(details) if known else self._refusal
