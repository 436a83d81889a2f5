"""The client by which a worker of a search talks to the chief, whichever job that is."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import keras_tuner as kt
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_client import OracleClient

from histobench.core.errors import HistobenchError
from histobench.tuning.chief import POLL, TIMEOUT, TOKEN, Address

log = logging.getLogger(__name__)

# Errors of a call to a chief that is gone or about to start, after which the call is repeated.
TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


class ChiefError(HistobenchError, kt.errors.FatalError):
    """The chief failed to answer a call. KerasTuner would take any other error for that of a trial."""


class Client(OracleClient):
    """KerasTuner's client, which also finds the next chief if one is gone.

    Parameters
    ----------
    oracle : an oracle of the same search, for its constant properties.
    find : returns the address of the chief, None while there is no chief.
    check : raises an error if the job is to end.
    worker : name of this worker.
    """

    def __init__(
        self, oracle: kt.Oracle, find: Callable[[], Address | None], check: Callable[[], None], worker: str
    ) -> None:
        # Not KerasTuner's, which reads the address from the environment, once.
        self._oracle, self.tuner_id = oracle, worker
        self.multi_worker, self.should_report = False, True
        self.stub = _Stub(find, check)

    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial; KerasTuner asks again while other trials must end first."""
        trial = super().create_trial(tuner_id)
        if trial.status == "IDLE":
            time.sleep(POLL)
        return trial


class _Stub:
    """gRPC calls to the chief, repeated until a chief has answered."""

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
                stub = protos.get_service_grpc().OracleStub(self._connected(address))
                try:
                    return getattr(stub, method)(request, timeout=TIMEOUT, metadata=((TOKEN, address.token),))
                except grpc.RpcError as error:
                    if error.code() not in TRANSIENT:
                        raise ChiefError(
                            f"error of the search's chief at {address.place}: {error.details()}"
                        ) from error
                    log.info("no answer from the search's chief at %s: %s", address.place, error.code().name)
            time.sleep(POLL)

    def _connected(self, address: Address) -> grpc.Channel:
        if address != self._address or self._channel is None:
            if self._channel:
                self._channel.close()
            self._address, self._channel = address, grpc.insecure_channel(address.place)
        return self._channel
