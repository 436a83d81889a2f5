"""All results of a study on the published values alone."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from support.project import copy_project, make, snakemake

TARGET = ("--profile", "profiles/local", "--configfile", "config/paper_check.yaml", "--cores", "1", "--nolock")
RESULTS = "results/paper_check"


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Path:
    """A clone in which it has run."""
    folder = copy_project(tmp_path_factory.mktemp("check") / "clone")
    snakemake(folder, *TARGET)
    return folder


def test_it_gives_the_printed_tests_the_claims_the_figures_and_the_page(checked):
    folder = checked / RESULTS
    tests = (folder / "tables/tests.md").read_text(encoding="utf-8")
    for printed in ("-2.5527", "16.285", "0.02108", "-3.5998", "8.4843", "0.006335", "0.0118", "0.0099"):
        assert printed in tests
    claims = pd.read_csv(folder / "tables/claims.csv")
    assert (claims["published_verdict"] == "does not hold").sum() == 6
    assert set(claims["our_verdict"]) == {"cannot be told", "holds"}  # that all models are public
    for figure in ("auc_against_size", "auc_by_mode", "forest"):
        assert {path.suffix for path in folder.glob(f"figures/{figure}.*")} == {".svg", ".png"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Missing runs: 121 of 121." in page.replace("</strong>", "")
    assert not (checked / "results/downloads").exists()
    assert not (checked / "results/data").exists()


def test_every_published_value_stands_in_a_table_beside_a_gap(checked):
    published = {name: pd.read_csv(checked / f"config/paper/{name}.csv") for name in ("table2", "table3", "table4")}
    for dataset, name in (("pcam", "table3"), ("idc", "table4")):
        table = pd.read_csv(checked / RESULTS / f"tables/performance_{dataset}.csv")
        found = table.dropna(subset=["published_auc"])
        assert len(found) == len(published[name])
        assert sorted(found["published_auc"]) == sorted(published[name]["auc"])
        assert table["auc"].isna().all()
        assert table["gap"].str.match("not run yet|left out: ").all()
    speed = pd.read_csv(checked / RESULTS / "tables/speed.csv").query("recipe == 'timing'")
    assert sorted(speed["published_seconds"]) == sorted(published["table2"]["seconds_per_epoch"])
    assert len(speed) == 16


def test_where_a_printed_test_no_longer_comes_out_make_fails_with_the_message_of_the_job(checked, tmp_path):
    """Without a home folder, too."""
    project = Path(shutil.copytree(checked, tmp_path / "clone", symlinks=True))
    table = project / "config/paper/table3.csv"
    table.write_text(table.read_text().replace("vgg19,full,0.43,0.86,0.95", "vgg19,full,0.43,0.86,0.94"))
    output = make(project, "paper_check", "results/paper_check/tables/tests.md", env={"HOME": "/dev/null"}, fails=True)
    assert "Welch's test on PCam: expected" in output
    assert "-2.5527" in output
    assert (project / ".snakemake/cache/snakemake").exists()
