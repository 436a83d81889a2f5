"""Digests of code, by which Snakemake notices which results an edit makes out of date."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError

LIBRARY = Path(__file__).parents[1]
SCRIPTS = LIBRARY.parent
# Modules that no weights, scores or metrics depend on: they write files, raise errors, log, describe the machine in
# run.json, refuse what cannot be trained, or compute what is among the params of a rule anyway.
EXEMPT = {
    *("core/catalogue", "core/code", "core/errors", "core/files", "core/job", "core/lease"),
    *("core/optimizers", "core/runs", "core/source_files", "core/study"),
    *("train/hardware", "train/nvml", "train/provenance"),
}
# Modules that a script imports, but for which its result is not worth making anew.
WITHOUT_EFFECT = {
    "simulate": {"core/own_patches", "core/selections"},  # of other patches, or of patches that are prepared
    "prepare": {"core/formats"},  # the files are inputs of the rule, and what is expected of them is among its params
    "train": {"train/model_size"},  # counts for the table of seconds, in run.json: those of finished runs stay
    # A trial has no saved state, and how many steps go on without Python changes no result.
    "tune": {"train/checkpoints", "train/model_size"},
    # Batches are as large as a card's memory allows.
    "extract_features": {"train/model_size", "train/p4m"},  # which has no frozen backbone
    "predict": {"train/model_size"},
    "explain": {"train/model_size"},
    "robustness": {"train/model_size"},
    "export": {"train/model_size"},
    "describe_models": {"train/keras_backend"},  # the versions of Keras differ in values, not in sizes
}


def digest(script: str, *further: str) -> str:
    """Return a digest of a rule's script and of all library modules and templates that it imports, also indirectly.

    Parameters
    ----------
    script : name of a file in ``workflow/scripts``, without its suffix.
    further : modules that it imports by a name known at run time only, such as "core/datasets/idc".

    Notes
    -----
    Comments, docstrings, layout, paths and modification times of the files do not count: retraining takes days.
    """
    return hashlib.sha256(" ".join(map(_digest, files(script, *further))).encode()).hexdigest()[:16]


def files(script: str, *further: str) -> list[Path]:
    """Return the script and the files of the library that its result depends on; parameters as for :func:`digest`."""
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
    if path.suffix == ".py":
        source = repr(_plain(ast.parse(source))).encode()
    return hashlib.sha256(source).hexdigest()


def _plain(part: Any) -> Any:
    """Return a part of a syntax tree as lists of kinds of nodes and what they hold, without places and docstrings.

    What is empty is left out: a newer Python gives nodes further fields, which must not change the digest.
    """
    if isinstance(part, list):
        return [_plain(each) for each in part if not _is_docstring(each)]
    if isinstance(part, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(part)]
        return [type(part).__name__, *(field for field in fields if field[1] not in (None, []))]
    return part


def _is_docstring(node: Any) -> bool:
    """Return whether a statement is a text, or another constant, and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def _imports(path: Path) -> list[Path]:
    """Return the modules, except for exempt ones, and templates of the library that a file imports or names."""
    if not path.exists():
        return []  # reported by `_digest`
    source = path.read_text(encoding="utf-8")
    templates = [path.parent / name for name in re.findall(r'["\']([\w.]+\.j2)["\']', source)]
    if path.suffix != ".py":
        return templates
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("histobench"):
            package = (node.module or "").replace(".", "/").removeprefix("histobench").removeprefix("/")
            for alias in node.names:
                # `from histobench.results import tables` imports a module, `... .tables import write` a function.
                submodule = f"{package}/{alias.name}".removeprefix("/")
                name = submodule if _module(submodule).exists() else package
                if name not in EXEMPT:
                    modules.append(_module(name))
    return modules + templates


def _module(name: str) -> Path:
    """Return the file of a module or package, by its path below the library without a suffix."""
    path = LIBRARY / f"{name}.py"
    return path if path.exists() or not (LIBRARY / name).is_dir() else LIBRARY / name / "__init__.py"
