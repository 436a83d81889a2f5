"""Where results lie, relative to the working directory.

Names in braces are wildcards of Snakemake. :func:`of` fills them in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = "results"
DATA = f"{RESULTS}/data/{{dataset}}"
DOWNLOADS = f"{RESULTS}/downloads/{{source}}"
SIMULATED = f"{RESULTS}/simulated/{{source}}"
WEIGHTS = f"{RESULTS}/downloads/weights"
LOGS = f"{RESULTS}/logs"

CELL = "{dataset}/{model}/{mode}/{recipe}/{device}"
RUN = f"{CELL}/seed-{{seed}}"


@dataclass(frozen=True)
class StudyPaths:
    """Where the results of a study lie.

    Attributes
    ----------
    study : its name.
    """

    study: str

    @property
    def results(self) -> str:
        """The folder of the study."""
        return f"{RESULTS}/{self.study}"

    @property
    def logs(self) -> str:
        """The folder of its logs and benchmarks."""
        return f"{LOGS}/{self.study}"

    @property
    def configuration(self) -> str:
        """Its configuration, as it was when it started."""
        return f"{self.results}/study.json"

    @property
    def run(self) -> str:
        """The folder of a run."""
        return f"{self.results}/runs/{RUN}"

    @property
    def run_log(self) -> str:
        """The folder of a run's logs."""
        return f"{self.logs}/{RUN}"

    @property
    def features(self) -> str:
        """The folder of the cached features of a backbone."""
        return f"{self.results}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}"

    @property
    def search(self) -> str:
        """The folder of a search for hyperparameters."""
        return f"{self.results}/searches/{CELL}"

    @property
    def search_log(self) -> str:
        """The folder of a search's logs."""
        return f"{self.logs}/searches/{CELL}"

    @property
    def controls(self) -> str:
        """The folder of a data set's colour floor and shuffled-label control."""
        return f"{self.results}/controls/{{dataset}}"

    @property
    def errors(self) -> str:
        """The surest errors on a data set."""
        return f"{self.results}/errors/{{dataset}}.csv"

    @property
    def heatmaps(self) -> str:
        """Grad-CAM of these errors."""
        return f"{self.results}/explain/{{dataset}}.npz"

    @property
    def tables(self) -> str:
        """The folder of its tables."""
        return f"{self.results}/tables"

    @property
    def figures(self) -> str:
        """The folder of its figures."""
        return f"{self.results}/figures"


def of(path: str, names: Any = None, **more: str) -> Path:
    """Return a path with its wildcards filled in.

    Parameters
    ----------
    path : with names in braces.
    names : an object whose attributes are called so, such as a :class:`histobench.core.cells.Run`.
    more : further names.
    """
    return Path(path.format(**(vars(names) if names is not None else {}), **more))
