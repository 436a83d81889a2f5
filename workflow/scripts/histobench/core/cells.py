"""Cells of a study's matrix, and the runs of a cell."""

import re
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, order=True)
class Cell:
    """A cell of the matrix, by names of the configuration."""

    dataset: str
    model: str
    mode: str
    recipe: str
    device: str

    def __str__(self) -> str:
        return "/".join(map(str, astuple(self)))


NAMES = tuple(field.name for field in fields(Cell))


@dataclass(frozen=True, order=True)
class Run(Cell):
    """A cell and a seed."""

    seed: int

    def __str__(self) -> str:
        return f"{self.cell}/seed-{self.seed}"

    @classmethod
    def of(cls, text: str) -> "Run":
        """Return the run of a text such as "pcam/b2/full/paper/a100/seed-1", by which `str` calls it."""
        names, _, seed = text.rpartition("/seed-")
        if len(parts := names.split("/")) != len(NAMES) or not re.fullmatch(r"\d+", seed):
            raise ValueError(f"expected {'/'.join(NAMES)}/seed-1, found {text!r}")
        return cls(**dict(zip(NAMES, parts, strict=True)), seed=int(seed))

    @property
    def cell(self) -> Cell:
        """The cell of the run."""
        return Cell(**{name: getattr(self, name) for name in NAMES})
