"""Jobs that are stopped at an exact moment, in the tests' own process: the moment of a SIGKILL is left to chance."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histobench.core.state import State

MOMENTS = ("before", "within", "after")


class Stopped(BaseException):
    """Ends a job as SIGKILL does, but for its lease, which is released: nothing in the library catches it."""


@contextmanager
def stopped_at(step: str, moment: str) -> Iterator[None]:
    """Stop the job inside where its state is written, and fail where it never came to that.

    Parameters
    ----------
    step : of the state, see :class:`histobench.core.state.State`.
    moment : "before" anything of it is written, "within" it, when its files are there and not yet its name, or "after",
        before anything else is done.
    """
    original = State.step

    @contextmanager
    def patched(self: State, name: str) -> Iterator[Path]:
        if name == step and moment == "before":
            raise Stopped
        with original(self, name) as folder:
            yield folder
            if name == step and moment == "within":
                raise Stopped
        if name == step:
            raise Stopped

    State.step = patched
    try:
        yield
    except Stopped:
        return
    finally:
        State.step = original
    raise AssertionError(f"the job ended before it could be stopped {moment} {step}")
