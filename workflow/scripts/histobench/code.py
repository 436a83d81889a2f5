"""Digests of code, by which Snakemake knows what an edit makes out of date."""

import ast
import hashlib
import io
import re
import tokenize
from functools import cache
from pathlib import Path

from histobench.errors import HistobenchError

LIBRARY = Path(__file__).parent
SCRIPTS = LIBRARY.parent
# Retraining costs days: what cannot change a result is no change.
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
# Modules that no result depends on: how files are written and errors raised, where a job logs, what it says about its
# machine, and what reaches a rule through its params anyway.
EXEMPT = {
    *("catalogue", "code", "datasets/published", "errors", "files", "job", "lease", "recipes", "runs", "study"),
    *("train/hardware", "train/nvml", "train/provenance"),
}


@cache
def _digest(path: Path) -> str:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise HistobenchError(f"{path}: a rule declares this piece of code, but it does not exist") from None
    if path.suffix != ".py":
        return hashlib.sha256(source).hexdigest()
    code = hashlib.sha256()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type not in IGNORED:
            code.update(f"{token.type} {token.string}\n".encode())
    return code.hexdigest()


def digest(script: str, *modules: str) -> str:
    """Return a digest of a rule's script and of the library modules that its result depends on.

    Parameters
    ----------
    script : name of a file in ``workflow/scripts``, without its suffix.
    modules : names below the library, such as "train/fit".

    Notes
    -----
    Comments and blank lines do not count, nor does where the files lie or when they were written.
    """
    return _digest_of(SCRIPTS / f"{script}.py", *(LIBRARY / f"{module}.py" for module in modules))


def digest_with_imports(script: str) -> str:
    """Return a digest of a rule's script and of all library modules and templates that it imports, near or far.

    For rules that cost seconds. Those that cost hours declare what their result depends on, see :func:`digest`, so that
    another import never trains anything again by accident.

    Parameters
    ----------
    script : see :func:`digest`.
    """
    first = SCRIPTS / f"{script}.py"
    waiting, seen = [first], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imports(path)
    return _digest_of(first, *sorted(seen - {first}))


def _digest_of(*paths: Path) -> str:
    return hashlib.sha256(" ".join(map(_digest, paths)).encode()).hexdigest()[:16]


@cache
def _imports(path: Path) -> list[Path]:
    """Return the files of the library that a module or template imports or names as a template, but for exempt ones."""
    source = path.read_text(encoding="utf-8")
    templates = [path.parent / name for name in re.findall(r'"([\w.]+\.j2)"', source)]
    if path.suffix != ".py":
        return templates
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("histobench"):
            # `from histobench.results import tables` names a module, `from histobench.results.tables import write` not.
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    modules = [name.partition(".")[2].replace(".", "/") for name in names]
    files = [LIBRARY / f"{module}.py" for module in modules if module and module not in EXEMPT]
    return [file for file in files if file.exists()] + templates
