"""The page of a study of which seconds alone entered the results."""

import pandas as pd

from support.project import TINY, snakemake


def test_a_study_of_seconds_alone_has_its_page(copy):
    path = copy / "tests/configs/tiny.yaml"
    path.write_text(
        path.read_text().replace("best_epoch: val_accuracy", "best_epoch: val_accuracy\n    timing_only: true")
    )
    snakemake(copy, *TINY, "--config", "missing_runs=gap", "--", "report", "tables")
    speed = pd.read_csv(copy / "results/tiny/tables/speed.csv")
    # One epoch alone, which holds the start-up.
    assert set(speed["gap"]) == {"a single epoch, which holds the start-up"}
    page = (copy / "results/tiny/report.html").read_text(encoding="utf-8")
    assert "Seconds per epoch" in page
    assert "ROC" not in page
