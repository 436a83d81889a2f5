"""Patches of one's own: image files in folders by class, the layout of ``keras.utils.image_dataset_from_directory``.

``<path>/<train|valid|test>/<0|1>/<file>`` where the folders give the split (``split: published``), or
``<path>/<0|1>/<file>`` where the configuration draws one. What stands before ``__`` in a file's name is its slide or
patient.
"""

import logging
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
    files = _files(folder, tally, published=published)
    files = [path for path in files if _fits(path, size, path.relative_to(folder).as_posix(), tally)]
    ids = _names(folder, files)
    groups = [path.name.split("__")[0] if "__" in path.name else "" for path in files]
    labels = [int(path.parts[-2]) for path in files]
    if isinstance(dataset.split, str):
        splits = [path.parts[-3] for path in files]
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
    tally.total = len(files)
    held = chunk(size)
    for split in SPLITS:
        chosen = [number for number, name in enumerate(splits) if name == split]
        for start in range(0, len(chosen), held):
            some, pixels = chosen[start : start + held], []
            for number in some:
                with images.reading(str(files[number])):
                    pixels.append(images.decode(files[number].read_bytes(), size, ids[number], tally))
            yield Patches(
                split,
                np.stack(pixels),
                np.array([labels[number] for number in some], np.uint8),
                [ids[number] for number in some],
                [groups[number] for number in some],
                np.full((len(some), 2), -1, np.int32),
            )


def _files(folder: Path, tally: Tally, *, published: bool) -> list[Path]:
    """Return the image files of the folder, sorted; refuse those that are not in the layout."""
    layout = "<train|valid|test>/<0|1>/<file>" if published else "<0|1>/<file>"
    if not folder.is_dir():
        raise HistobenchError(f"{folder}: not a folder; expected patches of your own as {layout}")
    files, litter = upstream.walk(folder)
    if litter:
        tally.count(tally.ignored, upstream.LITTER_IN_WORDS, *litter)
    kept, others = [], []
    for path in sorted(folder / name for name in files):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in images.SUFFIXES:
            others.append(path)
        elif len(parts) != 2 + published or parts[-2] not in ("0", "1") or (published and parts[0] not in SPLITS):
            raise HistobenchError(f"{path}: expected {layout} below {folder}")
        else:
            kept.append(path)
    if others:
        tally.count(tally.ignored, "not an image", *_names(folder, others))
        kinds = Counter(path.suffix or "without a suffix" for path in others).most_common()
        log.warning(
            "%s: ignored %d files that are no images by their suffix: %s; for instance %s. Images are %s",
            *(folder, len(others), ", ".join(f"{number} {kind}" for kind, number in kinds), others[0]),
            ", ".join(sorted(images.SUFFIXES)),
        )
    return kept


def _names(folder: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def _fits(path: Path, size: int, name: str, tally: Tally) -> bool:
    """Say whether a patch has this height and width, by the first bytes of its file; count it if not.

    A whole slide among the patches would fill the memory.
    """
    with images.reading(str(path)), path.open("rb") as file:
        found = images.size(file)
    if found != (size, size):
        tally.count(tally.excluded, f"not {size}x{size} px", "{}, {}x{} px".format(name, *found))
    return found == (size, size)
