"""What a configuration says of patches of one's own: which file is which patch, of which class, slide and split."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from histobench.core.errors import HistobenchError, named
from histobench.core.prepared import SPLITS

# What a table can say of a patch.
COLUMNS = ("path", "label", "id", "group", "split", "x", "y")
# What a path can say of it, by a pattern.
IN_PATHS = ("label", "group", "split", "x", "y")
CLASSES = {"normal": 0, "tumour": 1}
# What pandas writes of a number or text that is missing.
MISSING = ("nan", "NaN", "<NA>")
IN_BRACES = re.compile(r"\{([^{}]*)\}")
# Which keys of a source are for which format.
KEYS = {
    "folder": ("labels", "splits", "pattern", "crop_to_aspect_ratio", "downsample"),
    "table": ("labels", "splits", "pattern", "crop_to_aspect_ratio", "downsample", "root", "columns", "where"),
}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Own:
    """How a folder or a table tells what its patches are, see "Patches of your own" in config/README.md.

    Attributes
    ----------
    labels : from values of the class, as text, to the label: 1 is tumour.
    splits : from values of the split, as text, to "train", "valid" or "test".
    pattern : a regular expression, found in the path, whose named groups are further columns; "" for none.
    crop_to_aspect_ratio : whether a larger image is cut to its central square, and that resized to the patch size.
    downsample : pixels of the slide, in which places are given, in a pixel of a patch.
    root : what the paths of a table are relative to, a folder or an archive; "" for the table's folder.
    columns : of a table, from names in `COLUMNS` to a column, or to a text with names of columns in braces.
    where : of a table, from a column to the values of the rows that count.
    """

    labels: Mapping[str, int] = field(default_factory=lambda: {"0": 0, "1": 1})
    splits: Mapping[str, str] = field(default_factory=lambda: SPLIT_NAMES)
    pattern: str = ""
    crop_to_aspect_ratio: bool = False
    downsample: float = 1
    root: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: {"path": "path", "label": "label"})
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def as_text(value: Any) -> str:
    """Return a value of a table, of a path or of the configuration as text, such that equal ones are equal texts.

    1, 1.0 and "1.0" are "1"; true and "True" are "true"; nothing, NaN, or a text of `MISSING` is "".
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value).strip()
    if text in MISSING:
        return ""
    if text.lower() in ("true", "false"):
        return text.lower()
    return text[: text.index(".")] if re.fullmatch(r"-?\d+\.0+", text) else text


def fields(text: str) -> list[str]:
    """Return the names in braces of a text, of any characters but braces; refuse one whose braces are no such names."""
    found = IN_BRACES.findall(text)
    if "" in found or set("{}") & set(IN_BRACES.sub("", text)):
        raise ValueError("expected the name of a column in each pair of braces")
    return found


def own(name: str, block: Mapping[str, Any]) -> Own:
    """Return what a source of patches of one's own says; refuse what contradicts itself."""
    where, kind = f"configuration: sources.{name}", block["format"]
    given = {key: block[key] for keys in KEYS.values() for key in keys if key in block}
    if foreign := sorted(set(given) - set(KEYS[kind])):
        raise HistobenchError(f"{where}: {', '.join(foreign)} is not for `format: {kind}`, which takes {KEYS[kind]}")
    for key, meanings in (("labels", CLASSES), ("splits", {split: split for split in SPLITS})):
        if key in given:
            given[key] = _by_value(f"{where}.{key}", given[key], meanings)
    if "pattern" in given:
        _check_pattern(f"{where}.pattern", given["pattern"], kind)
    if "columns" in given:
        given["columns"] = {"path": "path", "label": "label"} | given["columns"]
        for key, text in given["columns"].items():
            named(f"{where}.columns", key, dict.fromkeys(COLUMNS))
            try:
                fields(text)
            except ValueError as error:
                raise HistobenchError(f"{where}.columns.{key}: {error}, found {text!r}") from None
    if "where" in given:
        given["where"] = {column: tuple(map(as_text, values)) for column, values in given["where"].items()}
    return Own(**given)


def _by_value(where: str, given: Mapping[str, list[Any]], meanings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each value means."""
    result: dict[str, Any] = {}
    for name, values in given.items():
        for value in map(as_text, values):
            if result.setdefault(value, meanings[name]) != meanings[name]:
                raise HistobenchError(f"{where}: {value!r} stands under {name} and elsewhere; it means one of them")
    return result


def _check_pattern(where: str, pattern: str, kind: str) -> None:
    try:
        names = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise HistobenchError(f"{where}: expected a regular expression, found {pattern!r}: {error}") from None
    if not names or (kind == "folder" and names - set(IN_PATHS)):
        raise HistobenchError(
            f"{where}: expected named groups, (?P<name>...), "
            + (f"of the names {', '.join(IN_PATHS)}" if kind == "folder" else "each of which is a column")
            + f"; found {', '.join(sorted(names)) or 'none'}"
        )
