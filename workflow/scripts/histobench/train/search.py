"""A search for hyperparameters, by one job or by several that come and go.

All jobs are alike: each asks KerasTuner's chief for trials and trains them. Whoever holds the lease on the search's
``.state`` is the chief as well, in a thread, and says in the file ``chief-<number of the lease>`` where; the others
wait for the lease meanwhile. When the chief's job ends, one of them takes over, from the files in which every decision
was kept.

``.state/search`` is KerasTuner's folder, undeclared. When the search has ended the chief writes the outputs and
deletes it, see :mod:`histobench.core.state`.
"""

import json
import logging
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import keras_tuner as kt
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient

from histobench.core import optimizers, runs, searches
from histobench.core.errors import HistobenchError
from histobench.core.features import Features
from histobench.core.files import atomic
from histobench.core.lease import Lease, Onlooker, add_event, held
from histobench.core.prepared import Records
from histobench.core.state import OUTPUTS, State, fingerprint
from histobench.train import hardware, oracle, outcome, provenance, trials

log = logging.getLogger(__name__)

STATE = ".state"
# Where the chief answers, by the number of its lease.
CHIEF = re.compile(r"chief-(\d+)")
LOOPBACK = "127.0.0.1"
# There is no test part to see.
SPLITS = ("train", "valid")
# Seconds: for an answer of the chief, and between two looks for a chief or for work.
ANSWER, LOOK = 30.0, 1.0
# A chief that is gone, or on its way.
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
TOKEN = "histobench-search"


def search(
    *,
    spec: dict[str, Any],
    data: Path,
    features: Path | None,
    weights: Path | None,
    folder: Path,
    code: str,
    threads: int,
    card: str,
    worker: int,
    workers: int,
) -> None:
    """Take part in a search until it has ended; the first worker then writes its outputs, `core.searches`.

    Parameters
    ----------
    spec : see :meth:`histobench.core.study.Study.search_specification`.
    data, features, weights, code, threads, card : see :func:`histobench.train.run.train`.
    folder : where the outputs go, the same for all workers.
    worker : our number, from 1. A second job with the same number waits until the first has ended.
    workers : how many there may be; one alone is its own chief, and speaks to nobody else.
    """
    name = searches.worker_name(worker)
    with held(folder / searches.worker_folder(name)) as lease:
        hardware.check(spec["run"]["device"], card)
        optimizers.check(spec["run"]["recipe"], spec["recipe"])
        inputs = runs.inputs(data, features, weights)
        identity = {"specification": spec, "code": code, "inputs": inputs}
        about = provenance.About(spec=spec, code=code, inputs=inputs, threads=threads, card=card)
        chief = Chief(folder, identity, alone=workers == 1)
        chief.start()

        def check() -> None:
            lease.check()
            chief.check()

        try:
            _work(spec, data, features, weights, chief, name, check)
            while True:
                check()
                chief.finish(about)
                if (folder / STATE / OUTPUTS).exists():
                    break
                time.sleep(LOOK)
        finally:
            chief.leave()
        if worker == 1:
            State(folder / STATE, identity).publish(folder)


def _work(
    spec: dict[str, Any],
    data: Path,
    features: Path | None,
    weights: Path | None,
    chief: "Chief",
    name: str,
    check: Callable[[], None],
) -> None:
    """Train what the chief gives out, until it has no more."""
    train_part, valid_part = (Features(data, features, split) if features else Records(data, split) for split in SPLITS)
    known = oracle.build(spec["recipe"]["search"], chief.project)
    trials.Tuner(
        known,
        Client(known, chief.find, check, name),
        trials.Model(spec, train_part, valid_part, weights),
        chief.project,
        name,
        partial(add_event, chief.folder),
        check,
    ).search(epochs=spec["recipe"]["search"]["max_epochs"])


class Address(NamedTuple):
    """Where a chief answers, and what it wants to hear first: it talks to those who can read the search's folder.

    Attributes
    ----------
    place : host and port.
    token : of this chief alone: another search's, which got the port of one that is gone, does not know it.
    """

    place: str
    token: str


class Chief:
    """The chief of a search, who may be us: KerasTuner's oracle and its server, in a thread.

    Parameters
    ----------
    folder : of the search.
    identity : what the search is of, see :class:`histobench.core.state.State`; one of anything else is set aside.
    alone : nobody else will ask.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, alone: bool) -> None:
        self.folder, self.project = folder / STATE, folder / STATE / searches.PROJECT
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity, self._alone = identity, alone
        self._searched_for = fingerprint(identity)
        self._lease = Lease(self.folder)
        self._state: State | None = None
        self._oracle: oracle.HyperbandOracle | oracle.RandomSearchOracle | None = None
        self._server: grpc.Server | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="chief", daemon=True)

    def start(self) -> None:
        """Become the chief as soon as there is no other."""
        self._thread.start()

    def check(self) -> None:
        """Raise what has made it impossible to be the chief."""
        if self._error:
            raise self._error

    def find(self) -> Address | None:
        """Return where the chief of our search answers, whoever it is; None while there is none."""
        numbered = [(match, path) for path in self.folder.iterdir() if (match := CHIEF.fullmatch(path.name))]
        if not numbered:
            return None
        _, path = max((int(match[1]), path) for match, path in numbered)
        try:
            found = runs.read_json(path)
        except OSError:  # its successor has deleted it
            return None
        return Address(found["place"], found["token"]) if found["search"] == self._searched_for else None

    def finish(self, about: provenance.About) -> None:
        """Write the outputs, if we are the chief."""
        if self._state and self._oracle and not self._oracle.over:
            self._oracle.over = True
            outcome.write(self._state, self._oracle, about)

    def leave(self) -> None:
        """Make room for another."""
        if self._server:
            self._server.stop(grace=ANSWER).wait(ANSWER)
            (self.folder / f"chief-{self._lease.number:06d}").unlink(missing_ok=True)
        self._lease.release()

    def _run(self) -> None:
        try:
            self._lease.take()
            self._serve()
        except BaseException as error:  # the main thread raises it
            self._error = error

    def _serve(self) -> None:
        state = State(self.folder, self._identity, self._lease)
        decides = oracle.build(self._identity["specification"]["recipe"]["search"], self.project)
        onlooker = Onlooker(thorough=True)
        of_workers = self.folder.parent
        decides.alive = lambda name: onlooker.holder(of_workers / searches.worker_folder(name)) is not None
        decides.event, decides.check = state.event, self._lease.check
        decides.over = state.finished()
        if not decides.over:
            decides.reload()
        host, token = LOOPBACK if self._alone else own_address(), uuid.uuid4().hex
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), interceptors=[_Doorkeeper(token)])
        protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(decides), self._server)
        try:
            port = self._server.add_insecure_port(f"{host}:0")
        except RuntimeError as error:
            raise HistobenchError(
                f"{self.folder}: expected to be reached by other jobs of this search at {host}, which this machine has "
                f"by SLURM's NodeAddr; gRPC says: {error}. With `workers: 1` in the recipe's search nobody has to be"
            ) from error
        self._server.start()
        for path in self.folder.glob("chief-*"):
            path.unlink()
        told = {"place": f"{host}:{port}", "token": token, "search": self._searched_for}
        with atomic(self.folder / f"chief-{self._lease.number:06d}") as temporary:
            temporary.touch(0o600)
            temporary.write_text(json.dumps(told), encoding="utf-8")
        self._state, self._oracle = state, decides


def own_address() -> str:
    """Return by which name or number other jobs reach this machine: SLURM's own, or loopback where there is none."""
    node = os.environ.get("SLURMD_NODENAME")
    if not node:
        return LOOPBACK
    asked = subprocess.run(
        ["scontrol", "show", "node", node], capture_output=True, text=True, timeout=ANSWER, check=False
    )
    found = re.search(r"NodeAddr=(\S+)", asked.stdout)
    return found[1] if found else node


class _Doorkeeper(grpc.ServerInterceptor):
    """Lets nobody in who does not know the token."""

    def __init__(self, token: str) -> None:
        def refuse(request: Any, context: grpc.ServicerContext) -> None:  # noqa: ARG001
            context.abort(grpc.StatusCode.UNAVAILABLE, "another search")

        self._token, self._refusal = token, grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return who handles a call."""
        known = (TOKEN, self._token) in map(tuple, details.invocation_metadata)
        return continuation(details) if known else self._refusal


class Client(OracleClient):
    """KerasTuner's client, which finds the next chief when one is gone.

    Parameters
    ----------
    known : an oracle of the same search, for what never changes.
    find : returns where the chief answers, None while there is none.
    check : raises an error if the job is to end.
    worker : our name.
    """

    def __init__(
        self, known: kt.Oracle, find: Callable[[], Address | None], check: Callable[[], None], worker: str
    ) -> None:
        # Not KerasTuner's, which reads one address from the environment, for good.
        self._oracle, self.tuner_id = known, worker
        self.multi_worker, self.should_report = False, True
        self.stub = _Stub(find, check)

    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial; KerasTuner asks again and again while others must end first."""
        trial = super().create_trial(tuner_id)
        if trial.status == "IDLE":
            time.sleep(LOOK)
        return trial


class _Stub:
    """Calls to whoever is the chief, made again until one has answered."""

    def __init__(self, find: Callable[[], Address | None], check: Callable[[], None]) -> None:
        self._find, self._check = find, check
        self._address: Address | None = None
        self._channel: grpc.Channel | None = None

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: str, request: Any, **_: Any) -> Any:
        while True:
            self._check()
            address = self._find()
            if address:
                stub = protos.get_service_grpc().OracleStub(self._to(address))
                try:
                    return getattr(stub, method)(request, timeout=ANSWER, metadata=((TOKEN, address.token),))
                except grpc.RpcError as error:
                    if error.code() not in PASSING:
                        raise RefusedError(f"the search's chief at {address.place} says: {error.details()}") from error
                    log.info("no answer from the search's chief at %s: %s", address.place, error.code().name)
            time.sleep(LOOK)

    def _to(self, address: Address) -> grpc.Channel:
        if address != self._address or self._channel is None:
            if self._channel:
                self._channel.close()
            self._address, self._channel = address, grpc.insecure_channel(address.place)
        return self._channel


class RefusedError(HistobenchError, kt.errors.FatalError):
    """The chief could not do what was asked. Of another error KerasTuner would make a failed trial."""
