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

# Arguments that a recipe cannot give, and why. Keras replaces the weights by their moving average when `fit` ends.
EXCLUDED = {
    "jit_compile": "the recipe has a `jit_compile` of its own",
    **dict.fromkeys(
        ("use_ema", "ema_momentum", "ema_overwrite_frequency"),
        "Keras would average the weights of all of training, but every epoch is a `fit` of its own here",
    ),
}


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse an optimizer that Keras does not have, and arguments that it does not take.

    When the Snakefile is read the Keras beside Snakemake decides, if there is one. A job asks again before it trains,
    since its own may be another: that of a K80 is older.

    Parameters
    ----------
    name : of the recipe.
    recipe : its `optimizer` has the `name` of the class, in upper or lower case, and its arguments.

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
    for key in recipe["optimizer"]:
        if key in EXCLUDED:
            raise HistobenchError(f"{where}.{key}: leave it out: {EXCLUDED[key]}")
        if key not in ("name", *known[optimizer]):
            raise HistobenchError(
                f"{where}.{key}: {optimizer} of Keras {version('keras')} takes no {key!r}"
                f"{nearest(key, known[optimizer])}; known: {', '.join(known[optimizer])}"
            )


@cache
def classes() -> dict[str, list[str]]:
    """Return the optimizers with a learning rate, in lower case, and their arguments; none where there is no Keras."""
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
                arguments = _arguments(path, alias.name)
                if "learning_rate" in arguments:
                    found[alias.name.lower()] = [name for name in arguments if name not in (*EXCLUDED, "name")]
    return found


def _arguments(path: Path, name: str) -> list[str]:
    """Return the names of the arguments of a class in a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    return [argument.arg for argument in each.args.args[1:]]
    return []
