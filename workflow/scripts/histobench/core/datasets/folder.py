"""Patches of one's own: image files in folders by class, the layout of ``keras.utils.image_dataset_from_directory``.

``<path>/<train|valid|test>/<0|1>/<file>`` where the folders give the split (``split: published``), or
``<path>/<0|1>/<file>`` where the configuration draws one. What stands before ``__`` in a file's name is its slide or
patient.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from histobench.core import splitting
from histobench.core.datasets import Patches, Tally, chunk
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset
from histobench.core.prepared import SPLITS

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the folder; see :func:`histobench.core.datasets.read`."""
    published = isinstance(dataset.split, str)
    layout = "<train|valid|test>/<0|1>/<file>" if published else "<0|1>/<file>"
    if not folder.is_dir():
        raise HistobenchError(f"{folder}: not a folder; expected patches of your own as {layout}")
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES:
            tally.ignored["not an image"] += 1
        elif len(parts) != 2 + published or parts[-2] not in ("0", "1") or (published and parts[0] not in SPLITS):
            raise HistobenchError(f"{path}: expected {layout} below {folder}")
        else:
            files.append(path)
    ids = ["/".join(path.relative_to(folder).parts) for path in files]
    groups = [path.name.split("__")[0] if "__" in path.name else "" for path in files]
    splits = [path.parts[-3] for path in files] if published else splitting.draw(dataset.split, ids, groups)  # type: ignore[arg-type]
    tally.total = len(files)
    size = dataset.source.patch_size
    held = chunk(size)
    for split in SPLITS:
        chosen = [number for number, name in enumerate(splits) if name == split]
        for start in range(0, len(chosen), held):
            images, kept = [], []
            for number in chosen[start : start + held]:
                pixels = _pixels(files[number])
                if pixels.shape == (size, size, 3):
                    images.append(pixels)
                    kept.append(number)
                else:
                    tally.excluded[f"not {size}x{size} px"] += 1
            if kept:
                yield Patches(
                    split,
                    np.stack(images),
                    np.array([int(files[number].parts[-2]) for number in kept], np.uint8),
                    [ids[number] for number in kept],
                    [groups[number] for number in kept],
                    np.full((len(kept), 2), -1, np.int32),
                )


def _pixels(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise HistobenchError(f"{path}: expected an image that is whole, found: {error}") from error
