"""Which patch of a prepared data set each row of a table of embeddings belongs to, and what is wrong with them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histobench.core import prepared
from histobench.core.embeddings import Ids, Places, Positions, Rows
from histobench.core.errors import HistobenchError

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.int64]

# Where to look for a place that was computed from micrometres, the nearest first.
EXACT = [(0, 0)]
NEAR = sorted(((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)), key=lambda step: (abs(step[0]) + abs(step[1]), step))
# Places in whole pixels that differ by a smaller factor are of one level.
ANOTHER_LEVEL = 1.1
SHOWN = 3
ADVICE = "Compute the missing ones, or leave these patches out of the data set"


@dataclass
class Tally:
    """What joining counted: filled while it goes on.

    Attributes
    ----------
    rows : of the table.
    unused : those that belong to no patch of the data set, since a slide may have more tissue than patches were cut of.
    width : number of features of a patch; 0 before the first row.
    found : what the files say of how they were made.
    """

    rows: int = 0
    unused: int = 0
    width: int = 0
    found: Mapping[str, str] = field(default_factory=dict)


class Index:
    """The patches of a prepared data set, as rows of embeddings name them.

    Attributes
    ----------
    splits : from a split to the numbers of its patches, in the order of their positions. The number of a patch is its
        row in the index.
    positions, labels : (n,) int64, by number.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        columns = ["split", "position", "patch_id", "group", "label", "x", "y"]
        self._frame: pd.DataFrame = prepared.index(data, columns)
        self._frame = self._frame.reset_index(drop=True)
        ordered = self._frame.sort_values("position", kind="stable")
        self.splits: dict[str, Integers] = {
            str(split): rows.index.to_numpy(np.int64)
            for split, rows in ordered.groupby("split", sort=False, observed=True)
        }
        self.positions: Integers = self._frame["position"].to_numpy(np.int64)
        self.labels: Integers = self._frame["label"].to_numpy(np.int64)

    def __len__(self) -> int:
        return len(self._frame)

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._frame["patch_id"])}

    @cached_property
    def of_slide(self) -> dict[str, Integers]:
        """From a slide to the numbers of its patches; patches whose slide or place is unknown are refused."""
        frame = self._frame
        if (unknown := (frame["group"] == "") | (frame["x"] == -1)).any():
            raise HistobenchError(
                f"{self.data}: expected the slide and the place of each patch, by which these embeddings know it, "
                f"found {int(unknown.sum())} of {len(frame)} without, for instance "
                f"{frame['patch_id'][unknown].iloc[0]}; give embeddings by id (npz, parquet), or "
                "patches whose places are known"
            )
        return {str(name): np.asarray(rows, np.int64) for name, rows in frame.groupby("group").indices.items()}

    def name(self, number: int) -> str:
        """Return how messages call a patch."""
        row = self._frame.iloc[number]
        at = f" (slide {row['group']}, x {row['x']}, y {row['y']})" if row["group"] and row["x"] != -1 else ""
        return f"{row['patch_id']}{at}"

    def places(self, numbers: Integers) -> Integers:
        """Return x and y of patches, (n, 2)."""
        return self._frame[["x", "y"]].to_numpy(np.int64)[numbers]

    def slide(self, number: int) -> str:
        """Return the slide of a patch."""
        return str(self._frame["group"].iloc[number])

    def match(self, rows: Rows) -> tuple[Integers, Integers]:
        """Return the numbers of patches, and for each the row that holds its features, where there is one.

        Raises
        ------
        HistobenchError
            if several of these rows belong to one patch, or they name a split that the data set does not have.
        """
        patches = rows.patches
        if isinstance(patches, Places):
            return self._at_places(rows.file, patches)
        if isinstance(patches, Ids):
            found = np.array([self._by_id.get(name, -1) for name in patches.names], np.int64)
        else:
            found = self._at_positions(rows.file, patches)
        taken = np.flatnonzero(found >= 0)
        numbers, times = np.unique(found[taken], return_counts=True)
        if (times > 1).any():
            raise _doubled(rows.file, self.name(int(numbers[times.argmax()])))
        return found[taken], taken

    def _at_positions(self, file: Path, patches: Positions) -> Integers:
        if patches.split not in self.splits:
            raise HistobenchError(
                f"{file}: knows patches by their positions in the {patches.split} part, but {self.data} has the parts "
                f"{', '.join(self.splits)}; give embeddings by id (npz, parquet) or by place"
            )
        numbers = self.splits[patches.split]
        if len(patches.numbers) and (last := int(patches.numbers.max())) >= len(numbers):
            raise HistobenchError(
                f"{file}: expected positions below {len(numbers)}, the number of {patches.split} patches in "
                f"{self.data}, found {last}; the embeddings are of other patches"
            )
        return numbers[patches.numbers]

    def _at_places(self, file: Path, patches: Places) -> tuple[Integers, Integers]:
        wanted = self.of_slide.get(patches.slide, np.empty(0, np.int64))
        if not len(wanted) or not len(patches.pixels):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        steps = EXACT if patches.microns_per_pixel is None else NEAR
        row_of, times = _rows_at(self.places(wanted), patches.pixels, steps)
        if (times > 1).any():
            raise _doubled(file, self.name(int(wanted[times.argmax()])))
        return wanted[row_of >= 0], row_of[row_of >= 0]


def _rows_at(places: Integers, theirs: Integers, steps: Sequence[tuple[int, int]]) -> tuple[Integers, Integers]:
    """Return for each place the row of `theirs` at the first of these steps from it that has one.

    Returns
    -------
    rows : (n,) int64, -1 where there is none.
    times : (n,) int64, how many rows there are at that step.
    """
    keys = _keys(theirs)
    order = np.argsort(keys, kind="stable")
    keys, rows, times = keys[order], np.full(len(places), -1, np.int64), np.zeros(len(places), np.int64)
    for step in steps:
        left = np.flatnonzero(rows < 0)
        wanted = _keys(places[left] + np.array(step))
        first, after = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
        hit = after > first
        rows[left[hit]], times[left[hit]] = order[first[hit]], (after - first)[hit]
    return rows, times


def _keys(places: Integers) -> Integers:
    """Return a number for each place, (n,) int64, equal for equal places."""
    return (places[:, 0] << 32) + places[:, 1]


def _doubled(file: Path, patch: str) -> HistobenchError:
    return HistobenchError(
        f"{file}: expected one row for each patch, found several for patch {patch}; leave one of them, or name the "
        "folder of one encoder's features"
    )


def join(index: Index, table: Iterable[Rows], tally: Tally) -> Iterator[tuple[Integers, npt.NDArray[np.float32]]]:
    """Yield the features of all patches, some at a time and in any order.

    Yields
    ------
    numbers : (k,) int64, rows of the index.
    features : (k, width) float32, theirs.

    Raises
    ------
    HistobenchError
        if files differ in the number of features or in what they say of the encoder; if a feature is no float, or not
        finite in float32; if a label is another than the patch's; if several rows belong to one patch; and in the end
        if a patch has none.
    """
    done = np.zeros(len(index), bool)
    first: Rows | None = None
    places: dict[str, list[Places]] = {}
    for rows in table:
        if isinstance(rows.patches, Places) and rows.patches.slide in index.of_slide:
            places.setdefault(rows.patches.slide, []).append(rows.patches)
        if not (count := _count(rows)):
            continue
        first = first or rows
        tally.width, tally.found = first.width, first.found
        _check_kind(rows, first)
        numbers, taken = index.match(rows)
        tally.rows, tally.unused = tally.rows + count, tally.unused + count - len(np.unique(taken))
        if not len(numbers):
            continue
        if done[numbers].any():
            raise _doubled(rows.file, index.name(int(numbers[done[numbers].argmax()])))
        _check_labels(index, rows, numbers, taken)
        theirs = rows.take(taken)
        if theirs.dtype.kind != "f":
            what = type(theirs.flat[0]).__name__ if theirs.dtype.kind == "O" else theirs.dtype
            raise HistobenchError(
                f"{rows.file}: expected features that are floats, found values of type {what}; write them as float32"
            )
        with np.errstate(over="ignore"):  # what float32 does not hold is refused below
            values = theirs.astype(np.float32)
        if (wrong := np.flatnonzero(~np.isfinite(values).all(axis=1))).size:
            raise HistobenchError(
                f"{rows.file}: expected finite numbers, found {int((~np.isfinite(values[wrong[0]])).sum())} of "
                f"{rows.width} features of patch {index.name(int(numbers[wrong[0]]))} that are not; compute them anew, "
                "for instance in float32"
            )
        done[numbers] = True
        yield numbers, values
    if not done.all():
        raise HistobenchError(_missing(index, np.flatnonzero(~done), first, places))


def _count(rows: Rows) -> int:
    if isinstance(rows.patches, Ids):
        return len(rows.patches.names)
    return len(rows.patches.pixels if isinstance(rows.patches, Places) else rows.patches.numbers)


def _check_kind(rows: Rows, first: Rows) -> None:
    """Refuse rows without features, or that are not of the same encoder as the first ones."""
    if not rows.width:
        raise HistobenchError(f"{rows.file}: expected features of each patch, found none; compute them anew")
    if rows.width != first.width:
        raise HistobenchError(
            f"{rows.file}: expected {first.width} features of a patch, as in {first.file}, found {rows.width}; the "
            "files are of several encoders: name the folder of one"
        )
    if rows.found != first.found:
        raise HistobenchError(
            f"{rows.file}: expected what {first.file} says of how it was made, {in_words(first.found)}, found "
            f"{in_words(rows.found)}; name the folder of one encoder and one size of patches"
        )


def in_words(found: Mapping[str, str]) -> str:
    """Return what files say of how they were made."""
    return ", ".join(f"{name} {value}" for name, value in found.items()) or "nothing"


def _check_labels(index: Index, rows: Rows, numbers: Integers, taken: Integers) -> None:
    if rows.labels is None:
        return
    theirs, ours = rows.labels[taken].tolist(), index.labels[numbers].tolist()
    if wrong := [at for at, pair in enumerate(zip(theirs, ours, strict=True)) if _differs(*pair)]:
        at = wrong[0]
        raise HistobenchError(
            f"{rows.file}: expected the label {ours[at]} of patch {index.name(int(numbers[at]))}, 1 is tumour and 0 is "
            f"not, found {theirs[at]}, and so for {len(wrong)} of these {len(numbers)} patches; the embeddings are "
            "of other patches, or in another order, or their labels mean something else: then leave the labels out"
        )


def _differs(theirs: Any, ours: int) -> bool:
    """Say whether a label says another class than ours; see `Rows.labels`."""
    if theirs is None or theirs == "":
        return False
    try:
        value = float(theirs)
    except (TypeError, ValueError):
        return True
    return not math.isnan(value) and value not in (-1, ours)


def _missing(index: Index, missing: Integers, first: Rows | None, places: Mapping[str, list[Places]]) -> str:
    some = "; ".join(index.name(int(number)) for number in missing[:SHOWN])
    where = first.file.parent if first else index.data
    found = (
        f"{where}: expected the features of all {len(index)} patches of {index.data}, found "
        f"{len(index) - len(missing)}; without: {some}{'; ...' if len(missing) > SHOWN else ''}. "
    )
    if first is None:
        return found + "The files have no row at all"
    if isinstance(first.patches, Ids):
        ids = f"The files call patches {', '.join(first.patches.names[:SHOWN])}; ids are `patch_id` of "
        ids += f"{index.data / 'index.parquet'}"
        none = "None of theirs is one: write them as they stand there"
        return found + f"{ids}. {none if len(missing) == len(index) else ADVICE}"
    if isinstance(first.patches, Positions):
        return found + ADVICE
    # That by which most can be told of a factor.
    slide = index.slide(int(missing[index.places(missing).max(axis=1).argmax()]))
    if slide not in places:
        return found + (
            f"No file is called {slide}; that of the first slide is called {first.file.name}, and the slides of the "
            f"data set are {', '.join(list(index.of_slide)[:SHOWN])}. {ADVICE}"
        )
    theirs = np.concatenate([each.pixels for each in places[slide]])
    if not len(theirs):
        return found + f"The file of slide {slide} has no row. {ADVICE}"
    return found + _near(index, slide, missing, theirs, places[slide][0].microns_per_pixel)


def _near(index: Index, slide: str, missing: Integers, theirs: Integers, microns: float | None) -> str:
    """Return how the places of a slide differ from those of its patches that have no row, and what to do."""
    numbers = index.of_slide[slide]
    ours = index.places(numbers)
    lost = ours[np.isin(numbers, missing)]
    words = f"Of slide {slide} {len(ours) - len(lost)} of {len(ours)} places match"
    ratio = _ratio(ours, theirs)
    if ratio and microns:
        return words + f"; all would with microns_per_pixel: {microns * ratio:.6g} instead of {microns:g}. Correct it"
    if ratio and abs(math.log(ratio)) > math.log(ANOTHER_LEVEL):
        return words + (
            f"; all would if ours were {ratio:.3g} times as large: they are of another level. Give x and y of the "
            f"patches in the pixels that the files count, those of level 0, with {ratio:.3g} times the `downsample` of "
            "their source, or give embeddings by id (npz, parquet)"
        )
    steps = theirs[None, :, :] - lost[:SHOWN, None, :]
    nearest = np.abs(steps).sum(axis=2).argmin(axis=1)
    x, y = (int(value) for value in theirs[nearest[0]])
    words += f"; the nearest of its places to x {lost[0][0]}, y {lost[0][1]} is x {x}, y {y}"
    dx, dy = (int(value) for value in steps[0, nearest[0]])
    shifted = int(np.isin(_keys(lost + np.array([dx, dy])), _keys(theirs)).sum())
    if shifted == len(lost) > 1:
        words += f"; all others are off by the same x {dx:+d}, y {dy:+d}"
    unit = f"Correct microns_per_pixel: {microns:g} if the slide has another, to six digits. " if microns else ""
    return f"{words}. {unit}{ADVICE}"


def _ratio(ours: Integers, theirs: Integers) -> float | None:
    """Return by which factor all of our places, at least two, are some of theirs, to the pixel; None if there is none.

    A place and the same place times a factor lie on one line with the origin. So there are few places that the one
    farthest from it can be, and each gives a factor to try.
    """
    far = ours[(ours**2).sum(axis=1).argmax()].astype(np.float64)
    if len(ours) < 2 or not (length := np.hypot(*far)):
        return None
    factors = theirs @ far / length**2
    aside = np.abs(theirs[:, 0] * far[1] - theirs[:, 1] * far[0]) / length
    candidates = factors[(factors > 0) & (aside <= np.maximum(1, factors))]
    for factor in candidates[np.abs(np.log(candidates)).argsort(kind="stable")].tolist():
        # In the larger of the two pixels.
        one, other = np.rint(ours * min(1, factor)), np.rint(theirs / max(1, factor))
        rows, _ = _rows_at(one.astype(np.int64), other.astype(np.int64), NEAR)
        if (rows >= 0).all():
            return float((ours * theirs[rows]).sum() / (ours**2).sum())
    return None


def used(tally: Tally) -> dict[str, Any]:
    """Return what a tally counted, for a record."""
    return {
        "rows": tally.rows,
        "rows_not_used": tally.unused,
        "features": tally.width,
        "found": dict(tally.found),
    }
