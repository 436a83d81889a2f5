"""The classes of ``keras.optimizers`` and their arguments, by the source of the Keras that is installed.

To read the source takes milliseconds; the Snakefile must not wait for the import of Keras.
"""

import ast
from collections.abc import Mapping
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError, nearest

# Arguments that a recipe cannot give, and why.
EXCLUDED = {
    "jit_compile": "the recipe has a `jit_compile` of its own",
    **dict.fromkeys(
        ("use_ema", "ema_momentum", "ema_overwrite_frequency"),
        "the recipe has `average_weights`; with this, each epoch, a `fit` of its own, would go on from the average",
    ),
}


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse an optimizer that Keras does not have, whatever the case of its name, or arguments that it does not take.

    When the Snakefile is read the Keras beside Snakemake decides, if there is one. A job asks again before it trains,
    since its own may be another: that of a K80 is older.

    Raises
    ------
    HistobenchError
        which names the optimizers or arguments that there are.
    """
    known, optimizer = classes(), recipe["optimizer"]["name"].lower()
    where = f"configuration: recipes.{name}.optimizer"
    if not known:
        return
    if optimizer not in known:
        raise HistobenchError(
            f"{where}.name: Keras {version('keras')} has no {optimizer!r}{nearest(optimizer, known)}; "
            f"known: {', '.join(known)}"
        )
    for key, value in recipe["optimizer"].items():
        if key in EXCLUDED:
            raise HistobenchError(f"{where}.{key}: leave it out: {EXCLUDED[key]}")
        if key not in ("name", *known[optimizer]):
            raise HistobenchError(
                f"{where}.{key}: {optimizer} of Keras {version('keras')} takes no {key!r}"
                f"{nearest(key, known[optimizer])}; known: {', '.join(known[optimizer])}"
            )

        if key != "name" and not _fits(value, default := known[optimizer][key]):
            raise HistobenchError(f"{where}.{key}: expected a value like Keras's default, {default}, found {value!r}")


def _fits(value: Any, default: Any) -> bool:
    """Return whether a value can be meant where Keras has this default; None stands for a number or a list, too."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return default is None or isinstance(value, int | float)


@cache
def classes() -> dict[str, dict[str, Any]]:
    """Return the optimizers with a learning rate, in lower case, and the defaults of their arguments by name.

    There are none where there is no Keras.
    """
    spec = PathFinder.find_spec("keras")
    if spec is None or not spec.submodule_search_locations:
        return {}
    packages = Path(spec.submodule_search_locations[0]).parent
    exports = ast.parse((packages / "keras" / "optimizers" / "__init__.py").read_text(encoding="utf-8"))
    found = {}
    for node in ast.walk(exports):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src.optimizers."):
            path = packages / f"{(node.module or '').replace('.', '/')}.py"
            for alias in node.names:
                if arguments := _arguments(path, alias.name):
                    kept = {name: each for name, each in arguments.items() if name not in ("name", *EXCLUDED)}
                    found[alias.name.lower()] = kept
    return found


def _arguments(path: Path, name: str) -> dict[str, Any]:
    """Return the arguments of a class in a module with their defaults; nothing for one without a learning rate."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    names = [argument.arg for argument in each.args.args[1:]]
                    defaults = each.args.defaults if "learning_rate" in names else []
                    return dict(zip(names, map(ast.literal_eval, defaults), strict=False))
    return {}
