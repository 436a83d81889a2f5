"""Digests of code, by which Snakemake knows what an edit makes out of date."""

import ast
import hashlib
import io
import re
import tokenize
from functools import cache
from pathlib import Path

from histobench.core.errors import HistobenchError

LIBRARY = Path(__file__).parents[1]
SCRIPTS = LIBRARY.parent
# Retraining costs days: what cannot change a result is no change.
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
# Modules that no result depends on: how files are written and errors raised, where a job logs, what it says about its
# machine, what it refuses before it trains, and what reaches a rule through its params anyway.
EXEMPT = {
    *("core/catalogue", "core/code", "core/errors", "core/files", "core/job", "core/lease"),
    *("core/optimizers", "core/runs", "core/study"),
    *("train/hardware", "train/nvml", "train/provenance"),
}
# Modules that a script imports, but whose work is undone before it could show in the script's result.
WITHOUT_EFFECT = {
    "prepare": {"core/formats"},  # the files are the rule's inputs, what is expected of them stands in its params
    "train": {"train/anatomy"},  # what it counts stands beside the seconds, in run.json
    "tune": {"train/checkpoints"},  # a trial has no state of its own
    "predict": {"train/random_state"},  # fresh weights, over which the trained ones are loaded
    "describe_models": {"train/random_state"},  # sizes do not depend on the weights' values
}


def digest(script: str, *further: str) -> str:
    """Return a digest of a rule's script and of all library modules and templates that it imports, near or far.

    Parameters
    ----------
    script : name of a file in ``workflow/scripts``, without its suffix.
    further : modules that it imports by a name that only its inputs say, such as "core/datasets/idc".

    Notes
    -----
    Comments, docstrings and blank lines do not count, nor does where the files lie or when they were written.
    """
    return hashlib.sha256(" ".join(map(_digest, files(script, *further))).encode()).hexdigest()[:16]


def files(script: str, *further: str) -> list[Path]:
    """Return the script, and the files of the library that its result depends on, parameters as for :func:`digest`."""
    first = SCRIPTS / f"{script}.py"
    without_effect = {_module(name) for name in WITHOUT_EFFECT.get(script, ())}
    waiting, seen = [first, *map(_module, further)], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in seen | without_effect:
            seen.add(path)
            waiting += _imports(path)
    return [first, *sorted(seen - {first})]


@cache
def _digest(path: Path) -> str:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise HistobenchError(f"{path}: a rule depends on this piece of code, but it does not exist") from None
    if path.suffix != ".py":
        return hashlib.sha256(source).hexdigest()
    texts = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    code = hashlib.sha256()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type not in IGNORED and token.start not in texts:
            code.update(f"{token.type} {token.string}\n".encode())
    return code.hexdigest()


@cache
def _imports(path: Path) -> list[Path]:
    """Return the files of the library that a module or template imports or names as a template, but for exempt ones."""
    if not path.exists():
        return []  # `_digest` says so
    source = path.read_text(encoding="utf-8")
    templates = [path.parent / name for name in re.findall(r'"([\w.]+\.j2)"', source)]
    if path.suffix != ".py":
        return templates
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("histobench"):
            package = (node.module or "").replace(".", "/").removeprefix("histobench").removeprefix("/")
            for alias in node.names:
                # `from histobench.results import tables` names a module, `... .tables import write` what is in one.
                of_alias = f"{package}/{alias.name}".removeprefix("/")
                name = of_alias if _module(of_alias).exists() else package
                if name not in EXEMPT:
                    found.append(_module(name))
    return [*found, *templates]


def _module(name: str) -> Path:
    """Return the file of a module, or of a package, by its name below the library."""
    path = LIBRARY / f"{name}.py"
    return path if path.exists() or not (LIBRARY / name).is_dir() else LIBRARY / name / "__init__.py"
