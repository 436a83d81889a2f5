"""Patches of one's own: image files in folders by class, the layout of ``keras.utils.image_dataset_from_directory``.

``<path>/<train|valid|test>/<0|1>/<file>`` where the folders give the split (``split: published``), or
``<path>/<0|1>/<file>`` where the configuration draws one. What stands before ``__`` in a file's name is its slide or
patient.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histobench.core import splitting
from histobench.core.datasets import Patches, Tally, chunk, images, upstream
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset
from histobench.core.prepared import SPLITS

log = logging.getLogger(__name__)


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the folder; see :func:`histobench.core.datasets.read`."""
    published = isinstance(dataset.split, str)
    size = dataset.source.patch_size
    # Of each patch only its name is kept as a text of its own; equal groups are one text.
    ids = [name for name in _files(folder, tally, published=published) if _fits(folder, name, size, tally)]
    groups = [sys.intern(_group(name)) for name in ids]
    labels = [int(name.split("/")[-2]) for name in ids]
    if isinstance(dataset.split, str):
        splits = [sys.intern(name.split("/")[-3]) for name in ids]
    else:
        try:
            splits = splitting.draw(dataset.split, ids, groups, labels)
        except HistobenchError as error:
            left_out = "; ".join(tally.in_words(tally.excluded) + tally.in_words(tally.ignored)) or "nothing"
            raise HistobenchError(f"{folder}: {error}. Left out: {left_out}") from error
    if unknown := [name for name, group in zip(ids, groups, strict=True) if not group]:
        tally.count(tally.notes, "patches whose slide or patient is unknown", *unknown)
        if len(unknown) < len(ids):
            log.warning(
                "%s: %d of %d patches have no slide or patient, for instance %s; intervals over slides or patients "
                "need file names <slide or patient>__<patch>",
                *(folder, len(unknown), len(ids), unknown[0]),
            )
    tally.total = len(ids)
    held = chunk(size)
    for split in SPLITS:
        chosen = [number for number, name in enumerate(splits) if name == split]
        for start in range(0, len(chosen), held):
            some, pixels = chosen[start : start + held], []
            for number in some:
                path = folder / ids[number]
                with images.reading(str(path)):
                    pixels.append(images.decode(path.read_bytes(), size, ids[number], tally))
            yield Patches(
                split,
                np.stack(pixels),
                np.array([labels[number] for number in some], np.uint8),
                [ids[number] for number in some],
                [groups[number] for number in some],
                np.full((len(some), 2), -1, np.int32),
            )


def _group(name: str) -> str:
    before, found, _ = name.rpartition("/")[2].partition("__")
    return before if found else ""


def _files(folder: Path, tally: Tally, *, published: bool) -> list[str]:
    """Return the image files of the folder by their paths in it, in order; refuse those that are not in the layout."""
    layout = "<train|valid|test>/<0|1>/<file>" if published else "<0|1>/<file>"
    if not folder.is_dir():
        raise HistobenchError(f"{folder}: not a folder; expected patches of your own as {layout}")
    files, litter = upstream.walk(folder)
    if litter:
        tally.count(tally.ignored, upstream.LITTER_IN_WORDS, *litter)
    kept, others = [], []
    for name in files:
        parts = name.split("/")
        if os.path.splitext(parts[-1])[1].lower() not in images.SUFFIXES:  # noqa: PTH122  # a Path takes ten times as long
            others.append(name)
        elif len(parts) != 2 + published or parts[-2] not in ("0", "1") or (published and parts[0] not in SPLITS):
            raise HistobenchError(f"{folder / name}: expected {layout} below {folder}")
        else:
            kept.append(name)
    if others:
        tally.count(tally.ignored, "not an image", *others)
        kinds = Counter(Path(name).suffix or "without a suffix" for name in others).most_common()
        log.warning(
            "%s: ignored %d files that are no images by their suffix: %s; for instance %s. Images are %s",
            *(folder, len(others), ", ".join(f"{number} {kind}" for kind, number in kinds), folder / others[0]),
            ", ".join(sorted(images.SUFFIXES)),
        )
    return kept


def _fits(folder: Path, name: str, size: int, tally: Tally) -> bool:
    """Say whether a patch has this height and width, by the first bytes of its file; count it if not.

    A whole slide among the patches would fill the memory.
    """
    path = os.path.join(folder, name)  # noqa: PTH118  # a Path takes five times as long
    with images.reading(path), open(path, "rb") as file:  # noqa: PTH123
        found = images.size(file)
    if found != (size, size):
        tally.count(tally.excluded, f"not {size}x{size} px", "{}, {}x{} px".format(name, *found))
    return found == (size, size)
