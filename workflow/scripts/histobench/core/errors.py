"""The one exception that is meant for users, and how a name that is not known is told."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class HistobenchError(Exception):
    """Something that a user can mend.

    Its message names the file and the item, what was expected, what was found and what to do. Scripts print it without
    a traceback.
    """


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
