"""Patches of one's own, once it is known what each of their files is: the same for a folder and for a table."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from histobench.core import splitting
from histobench.core.datasets import Patches, Tally, archives, chunk, images
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset
from histobench.core.own_patches import Own, as_text

log = logging.getLogger(__name__)

T = TypeVar("T")

LARGEST = 2**31 - 1


class Listed(NamedTuple):
    """What is known of a patch before its file is read.

    Attributes
    ----------
    name : of its file, see :class:`archives.Files`.
    patch_id : unique in the data set.
    label : 1 is tumour.
    group : the slide or patient, "" where unknown.
    split : "train", "valid" or "test"; "" where one is to be drawn.
    x, y : upper left corner in the slide's pixels, -1 where unknown.
    """

    name: str
    patch_id: str
    label: int
    group: str
    split: str
    x: int
    y: int


def suffix(name: str) -> str:
    """Return the suffix of a file's name in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # a Path takes ten times as long


def label(own: Own, value: object, where: str) -> int:
    """Return the label, 1 is tumour, that a value or the name of a folder stands for."""
    return _meaning(own.labels, "class", "labels", value, where)


def split(own: Own, value: object, where: str) -> str:
    """Return the split that a value or the name of a folder stands for."""
    return _meaning(own.splits, "split", "splits", value, where)


def _meaning(known: Mapping[str, T], what: str, key: str, value: object, where: str) -> T:
    try:
        return known[as_text(value)]
    except KeyError:
        raise HistobenchError(
            f"{where}: expected a {what} of {', '.join(map(repr, known))}, found {as_text(value)!r}. Say under "
            f"`{key}` of the source what it means"
        ) from None


def place(x: object, y: object, where: str) -> tuple[int, int]:
    """Return a place in pixels, (-1, -1) where there is none."""
    texts = as_text(x), as_text(y)
    if texts == ("", ""):
        return -1, -1
    if not all(re.fullmatch(r"\d+", text) and int(text) <= LARGEST for text in texts):
        raise HistobenchError(
            f"{where}: expected whole numbers from 0 to {LARGEST} as x and y, found {' and '.join(map(repr, texts))}"
        )
    return int(texts[0]), int(texts[1])


def read(
    dataset: Dataset, found: archives.Files, listed: Iterable[Listed], tally: Tally, named: str
) -> Iterator[Patches]:
    """Yield the patches of the listed files; see :func:`histobench.core.datasets.read`.

    Parameters
    ----------
    found : the files.
    listed : each patch once, in the order in which those of a split are stored.
    named : how groups are named, for messages.
    """
    about, size = dataset.source.own, dataset.source.patch_size
    assert about is not None
    crop = about.crop_to_aspect_ratio
    # Equal groups are one text.
    patches = [
        each._replace(group=sys.intern(each.group))
        for each in listed
        if _fits(found, each.name, size, tally, crop=crop)
    ]
    if isinstance(dataset.split, str):
        splits = [each.split for each in patches]
    else:
        try:
            columns = ([getattr(each, name) for each in patches] for name in ("patch_id", "group", "label"))
            splits = splitting.draw(dataset.split, *columns)
        except HistobenchError as error:
            left_out = "; ".join(tally.in_words(tally.excluded) + tally.in_words(tally.ignored)) or "nothing"
            raise HistobenchError(f"{found.path}: {error}. Left out: {left_out}") from error
    if unknown := [each.name for each in patches if not each.group]:
        tally.count(tally.notes, "patches whose slide or patient is unknown", *unknown)
        if len(unknown) < len(patches):
            log.warning(
                "%s: %d of %d patches have no slide or patient, for instance %s; intervals over slides or patients "
                "need %s",
                *(found.path, len(unknown), len(patches), unknown[0], named),
            )
    if alike := _alike(dict.fromkeys(each.group for each in patches)):
        tally.count(tally.notes, "slides or patients whose name differs from another's by case or spaces alone", *alike)
        log.warning(
            "%s: %d slides or patients have a name that differs from another's by case or spaces alone, for instance "
            "%s; they count as two, which may stand on both sides of a split. If they are one, write them alike",
            *(found.path, len(alike), alike[0]),
        )
    tally.total = len(patches)
    held = chunk(size)
    for part in dataset.parts:
        chosen = [each for each, name in zip(patches, splits, strict=True) if name == part]
        for start in range(0, len(chosen), held):
            yield _decoded(found, part, chosen[start : start + held], size, tally, crop=crop)


def _alike(groups: Iterable[str]) -> list[str]:
    """Return those of different groups that differ from an earlier one by case or spaces alone, both in words."""
    first: dict[str, str] = {}
    pairs = ((first.setdefault("".join(group.split()).casefold(), group), group) for group in groups)
    return [f"{one!r} and {other!r}" for one, other in pairs if one != other]


def _decoded(found: archives.Files, part: str, some: list[Listed], size: int, tally: Tally, *, crop: bool) -> Patches:
    pixels = []
    for each in some:
        with images.reading(found.where(each.name)), found.open(each.name) as file:
            pixels.append(images.decode(file.read(), size, each.name, tally, crop=crop))
    return Patches(
        part,
        np.stack(pixels),
        np.array([each.label for each in some], np.uint8),
        [each.patch_id for each in some],
        [each.group for each in some],
        np.array([(each.x, each.y) for each in some], np.int32),
    )


def _fits(found: archives.Files, name: str, size: int, tally: Tally, *, crop: bool) -> bool:
    """Say whether an image becomes a patch by its height and width, by the first bytes of its file; count it if not.

    A whole slide among the patches would fill the memory.
    """
    with images.reading(found.where(name)), found.open(name) as file:
        sides = images.size(file)
    if kept := images.fits(sides, size, crop=crop):
        return kept
    what = f"smaller than {size}x{size} px, or of a slide's size" if crop else f"not {size}x{size} px"
    tally.count(tally.excluded, what, "{}, {}x{} px".format(name, *sides))
    return False
