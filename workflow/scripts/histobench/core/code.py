"""Digests of code, by which Snakemake notices which results an edit makes out of date."""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from histobench.core.errors import HistobenchError

LIBRARY = Path(__file__).parents[1]
SCRIPTS = LIBRARY.parent
# Tokens that cannot change a result: retraining takes days.
IGNORED = {"COMMENT", "NL", "ENDMARKER"}
# Modules that no weights, scores or metrics depend on: they write files, raise errors, log, describe the machine in
# run.json, refuse what cannot be trained, or compute what is among the params of a rule anyway.
EXEMPT = {
    *("core/catalogue", "core/code", "core/errors", "core/files", "core/job", "core/lease"),
    *("core/optimizers", "core/runs", "core/study"),
    *("train/hardware", "train/nvml", "train/provenance"),
}
# Modules that a script imports, but for which its result is not worth making anew.
WITHOUT_EFFECT = {
    "prepare": {"core/formats"},  # the files are inputs of the rule, and what is expected of them is among its params
    "train": {"train/model_size"},  # counts for the table of seconds, in run.json: those of finished runs stay
    "tune": {"train/checkpoints"},  # a trial has no saved state
    "predict": {"train/random_state"},  # the initial weights are replaced by trained ones
    "describe_models": {"train/random_state"},  # sizes do not depend on the values of weights
}


def digest(script: str, *further: str) -> str:
    """Return a digest of a rule's script and of all library modules and templates that it imports, also indirectly.

    Parameters
    ----------
    script : name of a file in ``workflow/scripts``, without its suffix.
    further : modules that it imports by a name known at run time only, such as "core/datasets/idc".

    Notes
    -----
    Comments, docstrings, blank lines, paths and modification times of the files do not count.
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
    if path.suffix != ".py":
        return hashlib.sha256(source).hexdigest()
    strings = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    code = hashlib.sha256()
    for kind, start, text in tokens(source.decode("utf-8")):
        if start not in strings:
            code.update(f"{kind} {text}\n".encode())
    return code.hexdigest()


def tokens(source: str) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Yield the kind, the place (line, column) and the text of the tokens of Python code that can change a result.

    They are the same in every version of Python: up to 3.11 an f-string is one token, and numbers of kinds differ.
    """
    lines, depth, first = source.splitlines(keepends=True), 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            first = first if depth else token.start
            depth += 1
        elif kind == "FSTRING_END":
            depth -= 1
            if not depth:
                (row, column), (last_row, end) = first, token.end
                inside = [*lines[row - 1 : last_row - 1], lines[last_row - 1][:end]]
                yield "STRING", first, "".join([inside[0][column:], *inside[1:]])
        elif not depth and kind not in IGNORED:
            yield kind, token.start, token.string


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
