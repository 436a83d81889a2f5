"""Cells of a study's matrix, and the runs of a cell."""

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

    @property
    def cell(self) -> Cell:
        """The cell of the run."""
        return Cell(**{name: getattr(self, name) for name in NAMES})
