"""From a run's ``predictions.csv`` to its ``metrics.json`` and ``bootstrap.csv``."""

from pathlib import Path

import pandas as pd

from histobench.core.files import digest, unchanged, write_sealed
from histobench.results.columns import write_csv


def read(path: Path) -> pd.DataFrame:
    """Read a run's ``predictions.csv``, as :func:`histobench.results.metrics.evaluate` takes it."""
    return pd.read_csv(unchanged(path), dtype={"patch_id": str, "group": str}, keep_default_na=False)


def write(predictions: Path, to_metrics: Path, to_replicates: Path) -> None:
    """Evaluate predictions, see :func:`histobench.results.metrics.evaluate`, and write the results."""
    # Imported here, since jobs that only read predictions do not need scikit-learn.
    from histobench.results import metrics

    values, replicates = metrics.evaluate(read(predictions))
    write_sealed(to_metrics, {"predictions_sha256": digest(predictions)} | values)
    write_csv(to_replicates, replicates)
