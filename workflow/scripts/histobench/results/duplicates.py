"""Patches of a data set that show the same: equal pixel for pixel, as stored, turned or mirrored, or in part.

Equal ones have the same digest, the least over the eight ways to turn and mirror a square. Those that show a part of
the same, shifted by some pixels, are looked for by a difference hash (dHash: one bit for each pair of neighbours on a
small grid, which of them is brighter). The hash of a whole patch changes with every pixel of a shift, so that of a few
windows is taken, each around a place that its surroundings alone decide: one of the darkest, mostly a nucleus. It moves
with the tissue, turns with it, and with it the window.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import minimum_filter, uniform_filter
from scipy.spatial import cKDTree

from histobench.core.datasets import chunk

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Take = Callable[[Integers], Bytes]
"""Returns the patches with these numbers: (n,) to (n, side, side, 3) uint8."""

TURNS = 8

WINDOWS = 6
"""Windows of a patch. Of 500 patches of PCam, shifted by 6 px and turned, four found all again, and of IDC's, which are
half as large, 93 of 100; six found 99."""

GRID = 9
"""Cells along the side of a window: nine give eight differences in a row."""

BANDS, BITS = 4, 16
"""A hash of 64 bits in bands: of two hashes that differ in fewer bits than there are bands, one band is equal."""

MOST_DIFFERENT = BANDS - 1

COMPARED = 10_000
"""With how many others of an equal band a window is compared at most."""

ALIKE = 0.6
"""Least correlation of the details of two patches that show the same, see :func:`alike`.

Of patches of PCam and IDC that are shifted, with noise of a deviation of 3 or JPEG of quality 80, 99 of 100 lay above
0.8; the highest of 3,400 unrelated pairs with similar hashes was 0.35.
"""

OVERLAP = 0.25
"""Least share of a patch's area that another one of the same slide covers by its place to be taken for a candidate."""

MOST_PAIRS = 1_000_000
"""Candidates whose pixels are compared at most: some 0.2 ms each."""

TOO_MANY_PLACES = "patches of slides on which too many overlap"
TOO_MANY_ALIKE = "windows with too many others alike"
TOO_MANY_PAIRS = "pairs of patches"
"""What is skipped, see `Found`."""

UNIFORM = 5.0
"""Deviation of green, in levels of 256, below which a patch is nearly uniform: background, of which no two are told
apart by what they show."""


@dataclass
class Found:
    """What :func:`find` found.

    Attributes
    ----------
    equal, copies : (n,) number of a patch's class: of those that are equal pixel for pixel as they are stored, and of
        those that are when turned and mirrored. Numbers follow the first patch of a class.
    turns : (n,) uint8, by which a patch becomes the first one of its class of `copies`, see :func:`turned`.
    uniform : (n,) whether a patch is nearly uniform.
    near : a row for each pair of patches that show the same in part; of those that are equal the first stands for all:

        - `first`, `second`: numbers of the patches.
        - `first_turn`, `second_turn`: see :func:`turned`. So turned, the pixel (y, x) of the second is (y + `dy`, x +
          `dx`) of the first; where places say so that may lie between pixels.
        - `by_place`: whether the places of the patches say so, else their pixels alone do.
        - `correlation`: see :func:`alike`. `overlap`: the share of a patch's area that both show.
    unlike : pairs whose places overlap and whose pixels do not agree.
    skipped : what was not compared since there was too much of it, by what it is.
    """

    equal: Integers
    copies: Integers
    turns: Bytes
    uniform: npt.NDArray[np.bool_]
    near: pd.DataFrame
    unlike: int
    skipped: dict[str, int]


def find(
    take: Take,
    equal: Integers,
    uniform: npt.NDArray[np.bool_],
    groups: Integers,
    places: Integers,
    downsample: float = 1.0,
) -> Found:
    """Find the patches of a data set that show the same.

    Parameters
    ----------
    take : gives the patches; they are read in order, in small batches, and candidates once more.
    equal : (n,) number of each patch's class of patches that are equal as stored; classes are numbered as they begin.
    uniform : (n,) whether it is nearly uniform, see `UNIFORM`: such patches are compared for equality alone.
    groups : (n,) number of its slide, -1 where unknown.
    places : (n, 2) x and y of its upper left corner in its slide, -1 where unknown.
    downsample : pixels of the slide, in which places are given, in a pixel of a patch.
    """
    _, first = np.unique(equal, return_index=True)
    seen, sums, side = _look(take, first, uniform)
    classes, turns = _turned_copies(take, first, sums)
    copies = classes[equal]
    alone = np.zeros(len(equal), bool)
    alone[np.unique(copies, return_index=True)[1]] = True
    skipped: dict[str, int] = {}
    pairs = pd.concat(
        [
            by_place(groups, places, downsample, side, np.flatnonzero(alone), skipped),
            by_hash(seen[alone[seen["patch"]]], side, skipped),
        ]
    ).drop_duplicates(["first", "second"])
    if len(pairs) > MOST_PAIRS:
        skipped[TOO_MANY_PAIRS] = len(pairs) - MOST_PAIRS
    pairs = _compared(take, pairs.head(MOST_PAIRS).sort_values(["first", "second"], ignore_index=True), side)
    same = pairs["correlation"] >= ALIKE
    unlike = int((pairs["by_place"] & ~same).sum())
    return Found(equal, copies, turns[equal], uniform, pairs[same].reset_index(drop=True), unlike, skipped)


def turned(images: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """Return images, (..., side, side), turned or mirrored in one of eight ways; 0 leaves them as they are.

    By bits: 4 exchanges rows and columns, then 1 mirrors up and down, and 2 left and right.
    """
    if turn & 4:
        images = images.swapaxes(-1, -2)
    if turn & 1:
        images = images[..., ::-1, :]
    return images[..., ::-1] if turn & 2 else images


def between(first: int, second: int) -> int:
    """Return the turn by which a patch becomes another one, where the two are equal turned by `first` and `second`."""
    square = np.arange(9).reshape(3, 3)
    return next(turn for turn in range(TURNS) if (turned(turned(square, turn), second) == turned(square, first)).all())


def _look(take: Take, numbers: Integers, uniform: npt.NDArray[np.bool_]) -> tuple[pd.DataFrame, Integers, int]:
    """Return the windows of patches, two sums that do not change when a patch is turned, (n, 2), and the side."""
    found: list[pd.DataFrame] = []
    sums: list[Integers] = []
    side = 0
    for some, images in _batches(take, numbers):
        side = images.shape[1]
        green = images[..., 1].astype(np.int64)
        sums.append(np.stack([green.sum((1, 2)), np.einsum("nyx,nyx->n", green, green)], axis=1))
        wanted = ~uniform[some]
        found.append(windows(images[wanted, :, :, 1], some[wanted]))
    return pd.concat(found, ignore_index=True), np.concatenate(sums), side


def _batches(take: Take, numbers: Integers) -> Iterator[tuple[Integers, Bytes]]:
    step, start = 1, 0
    while start < len(numbers):
        some = numbers[start : start + step]
        images = take(some)
        yield some, images
        start, step = start + step, chunk(images.shape[1])


def windows(green: Bytes, numbers: Integers) -> pd.DataFrame:
    """Return the windows of patches and their hashes, at most `WINDOWS` of each patch.

    They lie around the darkest places: those where the mean of green over a small square is the least of all around.
    All is computed in whole numbers and from what lies in the window alone, so that a place that two patches show has
    the same hash in both, if it is among the darkest of both. Of the eight hashes of a window the least is taken.

    Parameters
    ----------
    green : (n, side, side) uint8.
    numbers : (n,) of the patches.

    Returns
    -------
    windows : `patch`, the number; `y` and `x`, row and column of the window's centre; `turn`, by which it gets its
        least hash, see :func:`turned`; `hash`, uint64.
    """
    n, side = green.shape[:2]
    cell = 2 * max(round((side / 20 - 1) / 2), 0) + 1  # odd, as GRID: then a window has a centre
    half, blur = GRID * cell // 2, max(1, side // 24)
    if not n or side < 2 * half + 3:
        none = np.empty(0, np.int64)
        return _windows(none, none, none, none, none.astype(np.uint64))
    sums = np.zeros((n, side + 1, side + 1), np.int32)  # of all pixels above and to the left
    np.cumsum(green, axis=1, dtype=np.int32, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], axis=2, out=sums[:, 1:, 1:])
    box = 2 * blur + 1
    blurred = sums[:, box:, box:] - sums[:, :-box, box:] - sums[:, box:, :-box] + sums[:, :-box, :-box]
    inside = slice(half - blur, blur - half)
    lowest = minimum_filter(blurred, size=(1, box, box))[:, inside, inside]
    centres = blurred[:, inside, inside]
    bright = np.iinfo(np.int32).max
    darkness = np.where(centres == lowest, centres, bright).reshape(n, -1)
    chosen = np.argpartition(darkness, min(WINDOWS, darkness.shape[1]) - 1, axis=1)[:, :WINDOWS]
    patch, which = np.nonzero(np.take_along_axis(darkness, chosen, axis=1) < bright)
    y, x = (place + half for place in np.divmod(chosen[patch, which], centres.shape[2]))
    edges = np.arange(GRID + 1) * cell - half
    corners = sums[patch[:, None, None], (y[:, None] + edges)[:, :, None], (x[:, None] + edges)[:, None, :]]
    hashes, turns = _hashes(np.diff(np.diff(corners, axis=1), axis=2))
    return _windows(numbers[patch], y, x, turns, hashes)


def _windows(patch: Integers, y: Integers, x: Integers, turn: Integers, hashes: npt.NDArray[np.uint64]) -> pd.DataFrame:
    # Few bytes for each: there are two million windows in PCam.
    kinds = {"patch": np.int32, "y": np.int16, "x": np.int16, "turn": np.uint8}
    return pd.DataFrame({"patch": patch, "y": y, "x": x, "turn": turn, "hash": hashes}).astype(kinds)


def _hashes(cells: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.uint64], Integers]:
    """Return the least difference hash over all turns of grids of cells, (n, GRID, GRID), and its turn."""
    hashes = np.empty((len(cells), TURNS), np.uint64)
    for turn in range(TURNS):
        grid = turned(cells, turn)
        rows = grid[:, 1:] + grid[:, :-1]  # eight of nine rows, without preferring an end
        bits = np.packbits((rows[:, :, 1:] > rows[:, :, :-1]).reshape(len(cells), -1), axis=1)
        hashes[:, turn] = bits.view(np.uint64)[:, 0]
    turns = hashes.argmin(axis=1)
    return np.take_along_axis(hashes, turns[:, None], axis=1)[:, 0], turns


def _turned_copies(take: Take, numbers: Integers, sums: Integers) -> tuple[Integers, Bytes]:
    """Return the classes of patches, all different as stored, that are equal when turned, and the turns to their first.

    Those that are have equal sums, so only of patches whose sums another one has as well the digests are computed.

    Parameters
    ----------
    numbers : (n,) of the patches.
    sums : (n, 2), see :func:`_look`.
    """
    _, which, counts = np.unique(sums, axis=0, return_inverse=True, return_counts=True)
    suspected = np.flatnonzero(counts[which.ravel()] > 1)
    classes, turns = np.arange(len(numbers)), np.zeros(len(numbers), np.uint8)
    known: dict[bytes, tuple[int, int]] = {}
    for some, images in _batches(lambda places: take(numbers[places]), suspected):
        planes = np.moveaxis(images, 3, 1)
        for number, image in zip(some.tolist(), planes, strict=True):
            digests = [sha256(turned(image, turn).tobytes()).digest() for turn in range(TURNS)]
            turn = digests.index(min(digests))
            classes[number], first = known.setdefault(digests[turn], (number, turn))
            turns[number] = between(turn, first)
    return np.unique(classes, return_inverse=True)[1], turns


def by_hash(windows: pd.DataFrame, side: int, skipped: dict[str, int]) -> pd.DataFrame:
    """Return pairs of patches with a window each whose hashes differ in at most `MOST_DIFFERENT` bits.

    Parameters
    ----------
    windows : see :func:`windows`.
    side : of a patch in pixels.
    skipped : gets the number of windows with more others in a band than are compared.

    Returns
    -------
    pairs : see `Found.near`, without what only pixels tell.
    """
    patches, hashes = windows["patch"].to_numpy(), windows["hash"].to_numpy()
    found = [np.empty((0, 2), np.int64)]
    too_many = np.zeros(len(hashes), bool)
    for band in range(BANDS):
        part = (hashes >> np.uint64(BITS * band)).astype(np.uint16)
        order = np.argsort(part, kind="stable")
        part, hash_there, patch_there = part[order], hashes[order], patches[order]
        # Each is compared with the next in order, then with the one after that, as long as the band is equal.
        left = np.arange(len(order))
        for distance in range(1, len(order)):
            left = left[: np.searchsorted(left, len(order) - distance)]
            left = left[part[left] == part[left + distance]]
            if distance > COMPARED:
                too_many[order[left]] = True
            if distance > COMPARED or not len(left):
                break
            close = left[np.bitwise_count(hash_there[left] ^ hash_there[left + distance]) <= MOST_DIFFERENT]
            close = close[patch_there[close] != patch_there[close + distance]]
            found.append(np.stack([order[close], order[close + distance]], axis=1))
    if too_many.any():
        skipped[TOO_MANY_ALIKE] = int(too_many.sum())
    # Windows are in the order of their patches.
    first, second = (windows.iloc[at] for at in np.sort(np.concatenate(found), axis=1).T)
    (first_y, first_x), (second_y, second_x) = (_centres(some, side) for some in (first, second))
    pairs = pd.DataFrame(
        {
            **{
                f"{end}{name}": some[column].to_numpy()
                for end, some in (("first", first), ("second", second))
                for name, column in (("", "patch"), ("_turn", "turn"))
            },
            "dy": (first_y - second_y).astype(np.float64),
            "dx": (first_x - second_x).astype(np.float64),
            "by_place": False,
            "bits": np.bitwise_count(first["hash"].to_numpy() ^ second["hash"].to_numpy()),
        }
    )
    # Of several pairs of windows the most alike stands for two patches.
    return pairs.sort_values("bits", kind="stable").drop_duplicates(["first", "second"]).drop(columns="bits")


def _centres(windows: pd.DataFrame, side: int) -> tuple[Integers, Integers]:
    """Return the row and the column of windows in their patches when these are turned."""
    y, x, turn = (windows[name].to_numpy(np.int64) for name in ("y", "x", "turn"))
    y, x = np.where(turn & 4, x, y), np.where(turn & 4, y, x)
    return np.where(turn & 1, side - 1 - y, y), np.where(turn & 2, side - 1 - x, x)


def by_place(
    groups: Integers, places: Integers, downsample: float, side: int, numbers: Integers, skipped: dict[str, int]
) -> pd.DataFrame:
    """Return pairs of patches of one slide that cover at least `OVERLAP` of each other by their places.

    Parameters
    ----------
    groups, places, downsample : of all patches, see :func:`find`.
    side : of a patch in pixels.
    numbers : of the patches to look at.
    skipped : gets the number of patches of slides with too many pairs.

    Returns
    -------
    pairs : see `Found.near`, without what only pixels tell.
    """
    found = [np.empty((0, 2), np.int64)]
    known = numbers[(groups[numbers] >= 0) & (places[numbers] >= 0).all(axis=1)]
    order = known[np.argsort(groups[known], kind="stable")]
    for some in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        # Places that are all the same are none.
        if len(some) < 2 or (places[some] == places[some[0]]).all():
            continue
        tree = cKDTree(places[some] / (downsample * side))
        if (tree.count_neighbors(tree, 1 - OVERLAP, p=np.inf) - len(some)) // 2 > MOST_PAIRS:
            skipped[TOO_MANY_PLACES] = skipped.get(TOO_MANY_PLACES, 0) + len(some)
            continue
        pairs = some[tree.query_pairs(1 - OVERLAP, p=np.inf, output_type="ndarray")]
        covered = np.prod(1 - np.abs(places[pairs[:, 0]] - places[pairs[:, 1]]) / (downsample * side), axis=1)
        found.append(np.sort(pairs[covered >= OVERLAP], axis=1))
    first, second = np.concatenate(found).T
    dx, dy = ((places[second] - places[first]) / downsample).T
    turns = {"first_turn": np.uint8(0), "second_turn": np.uint8(0)}
    return pd.DataFrame({"first": first, "second": second, **turns, "dy": dy, "dx": dx, "by_place": True})


def _compared(take: Take, pairs: pd.DataFrame, side: int) -> pd.DataFrame:
    """Return pairs with their `correlation` and `overlap`, see `Found.near`."""
    correlation = np.zeros(len(pairs))
    step = chunk(side)
    for start in range(0, len(pairs), step):
        part = pairs.iloc[start : start + step]
        first, second = (details(take(part[end].to_numpy(np.int64))) for end in ("first", "second"))
        columns = (part[name].tolist() for name in ("first_turn", "second_turn", "dy", "dx"))
        for row, (first_turn, second_turn, dy, dx) in enumerate(zip(*columns, strict=True)):
            a, b = turned(first[row], first_turn), turned(second[row], second_turn)
            # A place may lie between two pixels of the patch.
            ys, xs = ({math.floor(shift), math.ceil(shift)} for shift in (dy, dx))
            correlation[start + row] = max(alike(a, b, y, x) for y in ys for x in xs)
    overlap = (1 - pairs["dy"].abs() / side) * (1 - pairs["dx"].abs() / side)
    return pairs.assign(correlation=correlation, overlap=overlap)


def details(images: Bytes) -> npt.NDArray[np.float32]:
    """Return green less its mean over a small square around, (n, side - 2 r, side - 2 r), without the patches' borders.

    Large forms, such as the edge of the tissue, are alike in patches that have nothing to do with each other.
    """
    green = images[..., 1].astype(np.float32)
    radius = max(2, images.shape[1] // 24)
    mean = uniform_filter(green, size=(1, 2 * radius + 1, 2 * radius + 1))
    inside: npt.NDArray[np.float32] = (green - mean)[:, radius:-radius, radius:-radius]
    return inside


def alike(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], dy: int, dx: int) -> float:
    """Return the correlation of what two patches show of the same; 0 where that is nothing, or has no details.

    Parameters
    ----------
    first, second : (side, side), see :func:`details`, both turned.
    dy, dx : see `Found.near`.
    """
    side = len(first)
    height, width = side - abs(dy), side - abs(dx)
    if height <= 0 or width <= 0:
        return 0.0
    a = first[max(dy, 0) :, max(dx, 0) :][:height, :width]
    b = second[max(-dy, 0) :, max(-dx, 0) :][:height, :width]
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
