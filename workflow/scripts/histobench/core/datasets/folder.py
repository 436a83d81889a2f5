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
import numpy.typing as npt

from histobench.core import splitting
from histobench.core.datasets import CHUNK, Patches, Tally, images, upstream
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset
from histobench.core.prepared import SPLITS

log = logging.getLogger(__name__)

# Bytes above which a file is opened for its size in pixels before it is read: a whole slide would fill the memory.
LARGE = 1 << 28


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the folder; see :func:`histobench.core.datasets.read`."""
    published = isinstance(dataset.split, str)
    files = _files(folder, tally, published=published)
    ids = _names(folder, files)
    groups = [path.name.split("__")[0] if "__" in path.name else "" for path in files]
    labels = [int(path.parts[-2]) for path in files]
    if isinstance(dataset.split, str):
        splits = [path.parts[-3] for path in files]
    else:
        splits = splitting.draw(dataset.split, ids, groups, labels)
    if unknown := [name for name, group in zip(ids, groups, strict=True) if not group]:
        tally.count(tally.notes, "patches whose slide or patient is unknown", *unknown)
        if len(unknown) < len(ids):
            log.warning(
                "%s: %d of %d patches have no slide or patient, for instance %s; intervals over slides or patients "
                "need file names <slide or patient>__<patch>",
                *(folder, len(unknown), len(ids), unknown[0]),
            )
    tally.total = len(files)
    size = dataset.source.patch_size
    for split in SPLITS:
        chosen = [number for number, name in enumerate(splits) if name == split]
        for start in range(0, len(chosen), CHUNK):
            pixels, kept = [], []
            for number in chosen[start : start + CHUNK]:
                try:
                    pixels.append(_pixels(files[number], size, ids[number], tally))
                    kept.append(number)
                except images.AnotherSizeError as found:
                    tally.count(tally.excluded, f"not {size}x{size} px", f"{ids[number]}, {found}")
            if kept:
                yield Patches(
                    split,
                    np.stack(pixels),
                    np.array([labels[number] for number in kept], np.uint8),
                    [ids[number] for number in kept],
                    [groups[number] for number in kept],
                    np.full((len(kept), 2), -1, np.int32),
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


def _pixels(path: Path, size: int, name: str, tally: Tally) -> npt.NDArray[np.uint8]:
    """Return the pixels of a patch; the file is read once."""
    with images.reading(str(path)):
        if path.stat().st_size > LARGE:
            with path.open("rb") as file:
                if (found := images.size(file)) != (size, size):
                    raise images.AnotherSizeError("{}x{} px".format(*found))
        return images.decode(path.read_bytes(), size, name, tally)
