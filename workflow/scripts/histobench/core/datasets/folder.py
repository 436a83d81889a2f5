"""Patches of one's own in a folder or an archive by class, as ``keras.utils.image_dataset_from_directory`` has them.

``<train|valid|test>/<class>/<file>`` where the folders give the split (``split: published``), or ``<class>/<file>``
where the configuration draws one. What stands before ``__`` in a file's name is its slide or patient, or the name of a
folder between class and file. A `pattern` finds any of this elsewhere in the path.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from histobench.core.datasets import Patches, Tally, archives, images, own, upstream
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset, Source

log = logging.getLogger(__name__)


def files(source: Source) -> tuple[Path, list[str] | None]:
    """Return the folder of a source and the files in it that count, None for all."""
    path = Path(source.folder)
    return (path.parent, [path.name]) if path.is_file() else (path, None)


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the folder; see :func:`histobench.core.datasets.read`."""
    with archives.opened(folder) as found:
        names, litter = found.names()
        if litter:
            tally.count(tally.ignored, upstream.LITTER_IN_WORDS, *litter)
        listed = _listed(dataset, found, _images(found, names, tally))
        yield from own.read(dataset, found, listed, tally, "file names <slide or patient>__<patch>, see `pattern`")


def _images(found: archives.Files, names: list[str], tally: Tally) -> list[str]:
    """Return the names of the image files."""
    kept = [name for name in names if own.suffix(name) in images.SUFFIXES]
    others = [name for name in names if own.suffix(name) not in images.SUFFIXES]
    if others:
        tally.count(tally.ignored, "not an image", *others)
        kinds = Counter(Path(name).suffix or "without a suffix" for name in others).most_common()
        log.warning(
            "%s: ignored %d files that are no images by their suffix: %s; for instance %s. Images are %s",
            *(found.path, len(others), ", ".join(f"{number} {kind}" for kind, number in kinds), others[0]),
            ", ".join(sorted(images.SUFFIXES)),
        )
    return kept


def _listed(dataset: Dataset, found: archives.Files, names: list[str]) -> Iterator[own.Listed]:
    """Yield what the path of each file says of it; refuse those that are not in the layout."""
    about, published = dataset.source.own, isinstance(dataset.split, str)
    assert about is not None
    pattern = re.compile(about.pattern) if about.pattern else None
    known = set(pattern.groupindex) if pattern else set()
    folders = ["<train|valid|test>"] * (published and "split" not in known) + ["<class>"] * ("label" not in known)
    layout = "/".join([*folders, "<file>"])
    for name in names:
        where = found.where(name)
        parts = name.split("/")
        if "label" not in known and not len(folders) < len(parts) <= len(folders) + 2:
            raise HistobenchError(f"{where}: expected {layout}, or a folder by slide or patient between class and file")
        said: dict[str, str] = {}
        if pattern:
            match = pattern.search(name)
            if match is None:
                raise HistobenchError(f"{where}: expected a path in which the pattern {about.pattern!r} is found")
            said = {key: value or "" for key, value in match.groupdict().items()}
        if published and "split" not in known:
            said["split"] = parts[0]
        if "label" not in known:
            said["label"] = parts[len(folders) - 1]
        if "group" not in known:
            before, has_group, _ = parts[-1].partition("__")
            between = parts[len(folders) : -1] if "label" not in known else []
            said["group"] = between[0] if between else before if has_group else ""
        yield own.Listed(
            name,
            name,
            own.label(about, said["label"], where),
            said["group"],
            own.split(about, said["split"], where) if published else "",
            *own.place(said.get("x", ""), said.get("y", ""), where),
        )
