"""The exception for errors that a user can correct, and what is said of a name that is not known."""

import difflib
import math
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


# Of a value of the configuration.
AS_TEXT = (
    "; it is text: write {}, without quotes, in a file for --configfile; inside --config, Snakemake takes what "
    "stands in braces for text"
)


def number_as_text(text: Any) -> str:
    """Return how a text that was meant as a number must be written, "" for anything else."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    mantissa, exponent, power = text.strip().lower().partition("e")
    # With an exponent, YAML knows a number by its point and its sign.
    number = f"{float(mantissa)}e{int(power):+d}" if exponent else mantissa
    return AS_TEXT.format(f"{value:.0f}" if value.is_integer() else number)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
