"""The `sources` of a configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from histobench.core import own_patches, paths
from histobench.core.errors import HistobenchError, named
from histobench.core.files import Remote
from histobench.core.formats import FORMATS, Format, Source


def source(name: str, block: Mapping[str, Any]) -> Source:
    """Return the source of a block of the configuration's `sources`; refuse one that contradicts itself."""
    where = f"configuration: sources.{name}"
    if name == Path(paths.WEIGHTS).name:
        raise HistobenchError(f"{where}: {paths.WEIGHTS} is for the weights of models; choose another name")
    kind = block["format"]
    known: Format = named(f"sources.{name}.format", kind, FORMATS)
    simulate = block.get("simulate")
    if simulate:
        takes = {"seed": int, **known.simulate}
        if not known.simulate or takes != {key: type(value) for key, value in simulate.items()}:
            words = [key + " by split" * (each is dict) for key, each in sorted(takes.items())]
            raise HistobenchError(
                f"{where}.simulate: format {kind} "
                + (f"takes {', '.join(words)}; found {dict(simulate)}" if known.simulate else "cannot be simulated")
            )
    needed = {"path", "patch_size"}
    if not known.files:
        if missing := needed - set(block):
            raise HistobenchError(f"{where}: patches of your own ({kind}) need {', '.join(sorted(missing))}")
        # One folder has one name: another one would be another data set.
        folder = str(Path(block["path"]).expanduser())
        about = own_patches.own(name, block)
        return Source(name, kind, folder, {}, {}, {}, block["patch_size"], "own", own=about)
    if foreign := (needed | {"microns_per_pixel"} | set(own_patches.KEYS["table"])) & set(block):
        for_own = " or ".join(f"`format: {name}`" for name, each in FORMATS.items() if not each.files)
        raise HistobenchError(
            f"{where}: {', '.join(sorted(foreign))} is for {for_own}; "
            f"files of {kind} come by download, downloads.mirror or simulate"
        )
    files = dict(known.files)
    for file, fields in block.get("files", {}).items():
        # A configured digest replaces what is published: both cannot hold for another file.
        base = named(f"sources.{name}.files", file, files)
        if {"bytes", "sha256", "md5"} & set(fields):
            base = Remote(base.url)
        files[file] = replace(base, **fields)
    if not block.get("slide_metadata", True):
        files = {file: remote for file, remote in files.items() if file not in known.slide_files}
    expected, shares = {**known.expected, **block.get("expected", {})}, known.shares
    if foreign := set(expected) - set(known.expected):
        raise HistobenchError(
            f"{where}.expected: {', '.join(sorted(foreign))} does not go with format {kind}, "
            f"which has {', '.join(known.expected)}"
        )
    patches = "published" if expected == known.expected else "subset"
    if simulate:
        expected, shares = known.simulated(simulate)
        patches = "simulated"
    folder = (paths.SIMULATED if simulate else paths.DOWNLOADS).format(source=name)
    return Source(name, kind, folder, files, expected, shares, known.patch_size, patches, simulate)
