"""Results that need no training: scores averaged over flips and turns of a patch, the seeds of a cell, or cells.

A result of one cell has a recipe of its own, called after that of the runs behind it: `strong.d4`, `strong.seeds` and,
of both, `strong.d4.seeds`. An ensemble of cells has a name, which stands for the model; its mode and recipe are
"ensemble".
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from typing import NamedTuple

from histobench.core.cells import Cell
from histobench.core.errors import HistobenchError

D4, SEEDS = "d4", "seeds"
# In the order in which scores are averaged.
KINDS = (D4, SEEDS)


class Averaged(NamedTuple):
    """What is averaged: scores of runs by this recipe, over these `KINDS`."""

    recipe: str
    kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        """The recipe that the result has."""
        return ".".join((self.recipe, *self.kinds))

    @property
    def of_each_seed(self) -> str:
        """The recipe of the results, one a seed, that an average over seeds is made of."""
        return Averaged(self.recipe, tuple(kind for kind in self.kinds if kind != SEEDS)).name


def combinations(kinds: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the averages that are made where these kinds are asked for: each by itself, then both at once."""
    asked = [kind for kind in KINDS if kind in set(kinds)]
    for number in range(1, len(asked) + 1):
        yield from itertools.combinations(asked, number)


class Member(NamedTuple):
    """A cell of an ensemble or a contrast, whichever the data set."""

    model: str
    mode: str
    recipe: str
    device: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def of(cls, cell: Cell) -> "Member":
        """Return what a cell is but for its data set."""
        return cls(*astuple(cell)[1:])

    def on(self, dataset: str) -> Cell:
        """Return the cell on a data set."""
        return Cell(dataset, *self)


def members(where: str, texts: Iterable[str]) -> tuple[Member, ...]:
    """Return the cells that a key of the configuration, `where`, names: "b2/full/paper/a100" each."""
    found = []
    for text in texts:
        if len(parts := text.split("/")) != len(Member._fields):
            raise HistobenchError(f"configuration: {where}: expected {'/'.join(Member._fields)}, found {text!r}")
        found.append(Member(*parts))
    return tuple(found)


def seeds_in_common(cells: Mapping[Cell, list[int]], of: Iterable[Cell]) -> list[int]:
    """Return the seeds that all of these cells have, in the order of the first."""
    first, *others = (cells[cell] for cell in of)
    return [seed for seed in first if all(seed in each for each in others)]
