"""The inputs of tables and figures: files, each read when it is first used."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histobench.core.files import unchanged
from histobench.core.prepared import Records, manifest, tested
from histobench.results import announcements, collect, evaluation, paper
from histobench.results.cells import without_averages


class Inputs:
    """The inputs of a table or a figure.

    Parameters
    ----------
    files : paths by the names of the inputs, see :class:`histobench.results.registry.Item`.
    dataset : the data set that the item is about, "" for the whole study.
    study : values of the configuration that are in no file, see `STUDY_FACTS` in ``rules/items.smk``.
    """

    def __init__(self, files: Mapping[str, str | Sequence[str]], dataset: str, study: Mapping[str, Any]) -> None:
        self.files = {
            name: [Path(path) for path in ([paths] if isinstance(paths, str) else paths)]
            for name, paths in files.items()
        }
        self.dataset, self.study = dataset, study

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Those of `runs.csv` that were trained: averages of their scores are no runs to count, time or choose from."""
        return without_averages(self.all_runs, self.all_cells)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Those of `cells.csv` whose runs are trained."""
        return without_averages(self.all_cells, self.all_cells)

    @cached_property
    def all_runs(self) -> pd.DataFrame:
        """All of `runs.csv`, averages included."""
        return collect.read(self.files["runs"][0])

    @cached_property
    def all_cells(self) -> pd.DataFrame:
        """All of `cells.csv`, averages included."""
        return collect.read(self.files["cells"][0])

    @cached_property
    def published(self) -> paper.Published:
        """The published values."""
        return paper.read(self.files["published"][0].parent)

    @property
    def encoders(self) -> Mapping[str, Mapping[str, Any]]:
        """Models that are tables of embeddings, by their keys, and what the configuration says of them."""
        encoders: Mapping[str, Mapping[str, Any]] = self.study.get("encoders", {})
        return encoders

    @property
    def first_seeds(self) -> Mapping[str, int]:
        """By data sets of which each seed draws its own part: the seed whose part audit and controls are about."""
        seeds: Mapping[str, int] = self.study.get("first_seeds", {})
        return seeds

    @property
    def gathered(self) -> Mapping[str, int]:
        """By data sets whose results are gathered from runs on others: from how many each is."""
        runs: Mapping[str, int] = self.study.get("gathered", {})
        return runs

    def by_run(self, name: str) -> Mapping[str, pd.DataFrame]:
        """Return "replicates" or "predictions" by run folder."""
        if name == "predictions":
            return _Predictions(self.files[name])
        return {str(path.parent): pd.read_csv(unchanged(path)) for path in self.files[name]}

    def folders(self, name: str) -> list[Path]:
        """Return the folders of the files of this input, each once."""
        return list(dict.fromkeys(path.parent for path in self.files[name]))

    def announcements(self, cells: pd.DataFrame | None = None, **options: Any) -> list[str]:
        """Return the notes on some cells, by default those of the data set or all, as `announcements` does."""
        if cells is None:
            cells = self.cells[self.cells["dataset"] == self.dataset] if self.dataset else self.cells
        return announcements.announcements(self.runs, cells, **options)

    @property
    def test_patches(self) -> Records:
        """The test patches of the data set."""
        folder = self.files["patches"][0].parent
        return Records(folder, tested(folder))

    def test_images(self, ids: "Sequence[str] | pd.Series[Any]") -> npt.NDArray[np.uint8]:
        """Return the test patches of these names, (n, height, width, 3)."""
        test = self.test_patches
        position = test.positions(ids)
        return test.take(np.array([position[name] for name in ids], np.int64))

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the data set."""
        return manifest(self.files["manifest" if "manifest" in self.files else "patches"][0].parent)


class _Predictions(Mapping[str, pd.DataFrame]):
    """Predictions by run folder, read whenever they are asked for: those of all runs may be more than the memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = {str(path.parent): path for path in paths}

    def __getitem__(self, folder: str) -> pd.DataFrame:
        return evaluation.read(self._paths[folder])

    def __contains__(self, folder: object) -> bool:
        return folder in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
