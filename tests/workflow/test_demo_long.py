"""The demo, as `make demo` runs it: every row of its tables has learned something, and so has what maps a slide."""

import re

import pandas as pd

from support.project import snakemake


def test_no_row_of_the_demo_is_at_chance(project):
    snakemake(project, "all", "apply", "--profile", "profiles/demo")
    tables = sorted((project / "results/demo/tables").glob("performance_*.csv"))
    assert len(tables) > 1
    for path in tables:
        table = pd.read_csv(path, keep_default_na=False, na_values={"auc": [""], "auc_low": [""]})
        learned = table[~table["gap"].str.startswith("left out")]
        assert len(learned) > 1
        assert learned["auc_low"].min() > 0.5, learned[["model", "mode", "auc", "auc_low"]]
        assert (learned["collapsed"].astype(int) == 0).all()
        # Simulated patches are not too hard for the simplest CNN.
        assert (learned.loc[learned["model"] == "b2", "auc"] >= 0.85).all()
    assert (project / "results/demo/report.html").exists()
    # The slide's tumour is where the map says.
    page = (project / "results/demo/apply/slide/index.html").read_text(encoding="utf-8")
    auc = re.search(r"Against the labels.*?(0\.\d{3}) ", page, re.DOTALL)
    assert float(auc[1]) > 0.8
