"""The exception for errors that a user can correct, and what is said of a name that is not known."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any


class HistobenchError(Exception):
    """An error that a user can correct.

    Its message names the file and the item, what was expected, what was found and what to do. Scripts log it without a
    traceback.
    """


def for_user(error: BaseException) -> HistobenchError | None:
    """Return the error for users that an exception is or holds, if there is one.

    TensorFlow keeps the text alone of what a Python function raised that reads patches for it.
    """
    if isinstance(error, HistobenchError):
        return error
    found = re.search(r"\bHistobenchError: (.+?)\nTraceback ", str(error), re.DOTALL)
    return HistobenchError(found[1]) if found else None


def named(where: str, name: str, known: Mapping[str, Any]) -> Any:
    """Return what a name of the configuration stands for; refuse one that is not known, `where` says in which place."""
    if name not in known:
        raise HistobenchError(
            f"configuration: {where}: {name!r} is not defined{nearest(name, known)}; known: {', '.join(known)}"
        )
    return known[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
