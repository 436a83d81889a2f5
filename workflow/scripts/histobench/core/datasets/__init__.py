"""Upstream files to patches: for each of :mod:`histobench.core.formats` a module with the same `read`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from histobench.core.formats import Dataset, Source

# Most patches, and most bytes of pixels, that are held at a time: 256 patches of PCam, enough to make the cost of a
# call small. `prepare` holds two such chunks: one is written while the next is read.
CHUNK, CHUNK_BYTES = 256, 256 * 96 * 96 * 3
# How many examples are kept of what was left out for one reason.
EXAMPLES = 3


@dataclass
class Patches:
    """Some patches of one split, in the order in which they are stored.

    Attributes
    ----------
    split : "train", "valid" or "test"; "all" of a data set that is cross-validated.
    images : (n, height, width, 3) uint8, RGB.
    labels : (n,) uint8, 1 is tumour.
    ids : n texts, unique in the data set; traceable to the upstream file.
    groups : n texts: the slide or patient, "" where unknown.
    places : (n, 2) int32: x and y of the upper left corner in the slide's pixels as upstream gives them, -1 unknown.
    """

    split: str
    images: "npt.NDArray[np.uint8]"
    labels: "npt.NDArray[np.uint8]"
    ids: list[str]
    groups: list[str]
    places: "npt.NDArray[np.int32]"


@dataclass
class Tally:
    """What reading counted besides the patches that it gave: filled while reading goes on.

    Attributes
    ----------
    total : patches that the files announce, for the progress bar; 0 while unknown.
    excluded : patches left out, by reason.
    ignored : entries that are no patches at all, by reason.
    notes : facts for the manifest, such as listed patients that have no patches.
    examples : the first few of what was excluded, ignored or noted, by reason.
    """

    total: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def count(self, counter: Counter[str], reason: str, *items: str) -> None:
        """Count items in one of the counters above, and keep the first few."""
        counter[reason] += len(items)
        if items:
            some = self.examples.setdefault(reason, [])
            some += items[: EXAMPLES - len(some)]

    def in_words(self, counter: Counter[str]) -> list[str]:
        """Return what one of the counters above holds: "18 not 96x96 px, for instance 0/a.png, 64x64 px"."""
        return [
            f"{number} {reason}" + (f", for instance {'; '.join(some)}" if (some := self.examples.get(reason)) else "")
            for reason, number in counter.items()
        ]


def chunk(patch_size: int) -> int:
    """Return how many patches of this height and width in pixels are held at a time."""
    return max(1, min(CHUNK, CHUNK_BYTES // (3 * patch_size**2)))


def read(dataset: "Dataset", tally: Tally) -> Iterator[Patches]:
    """Yield all patches of a data set in chunks, see :func:`chunk`, each of one split.

    Parameters
    ----------
    dataset : which data set; its source names the format and the folder.
    tally : filled in place; complete when the iterator ends.

    Raises
    ------
    HistobenchError
        if a file is damaged or does not hold what it should; the message names the file and the item.
    """
    yield from _module(dataset.source).read(dataset, Path(dataset.source.folder), tally)


def files(source: "Source") -> tuple[Path, list[str] | None]:
    """Return what the patches of a source of one's own come from: a folder, and the files in it, None for all."""
    found: tuple[Path, list[str] | None] = _module(source).files(source)
    return found


def _module(source: "Source") -> Any:
    return import_module(f"histobench.core.datasets.{source.format}")
