"""Results that need no training: scores averaged over flips and turns of a patch, or over the seeds of a cell.

Such a result has a recipe of its own, called after that of the runs behind it: `strong.d4`, `strong.seeds` and, of
both, `strong.d4.seeds`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

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
