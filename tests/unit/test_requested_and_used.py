"""The table of what jobs asked for and took."""

import pandas as pd
import pytest

from histobench.core.usage import MB, Usage
from histobench.results import collect, printing
from histobench.results.tables import requested_and_used as table_of

NAMES = {"b2": "B2", "mobilenet": "MobileNet"}
RUN = {"dataset": "pcam", "model": "b2", "mode": "full", "recipe": "paper", "device": "a100"}
JOB = Usage("train", **RUN, requested_minutes=60, seconds=600, requested_mb=8000, peak_memory_mib=4000 * MB)
JOB = JOB._replace(requested_cores=4, cores=1.5, peak_device_memory_mib=3000)


def table(tmp_path, *jobs: Usage) -> pd.DataFrame:
    """Return the table of these jobs, by way of `jobs.csv`."""
    collect.write_jobs(tmp_path / "jobs.csv", jobs)
    return table_of.requested_and_used(collect.read_jobs(tmp_path / "jobs.csv"), NAMES)


def test_jobs_of_a_rule_and_model_share_a_row_whatever_their_data_set(tmp_path):
    slower = JOB._replace(dataset="idc", seconds=1200, requested_minutes=120, peak_memory_mib=2000 * MB, cores=2.5)
    (row,) = table(tmp_path, JOB, slower, slower).to_dict("records")
    assert (row["rule"], row["model_name"], row["jobs"]) == ("train", "B2", 3)
    assert (row["requested_minutes"], row["minutes"], row["minutes_low"], row["minutes_high"]) == (120, 20, 10, 20)
    assert (row["requested_mb"], row["peak_mb"], row["requested_cores"], row["cores"]) == (8000, 4000, 4, 2.5)
    assert (row["time_ratio"], row["memory_ratio"]) == (6, pytest.approx(2))


def test_what_makes_jobs_differ_has_a_row_of_its_own(tmp_path):
    others = [JOB._replace(**{name: "other"}) for name in ("model", "mode", "recipe", "device")]
    found = table(tmp_path, JOB, *others)
    assert found["jobs"].tolist() == [1] * 5
    # Scores take the same, whichever network gave them.
    assert table(tmp_path, *(job._replace(rule="evaluate") for job in (JOB, *others)))["jobs"].tolist() == [5]


def test_rows_stand_in_the_order_of_the_work(tmp_path):
    rules = list(table_of.TOLD_APART)
    found = table(tmp_path, *(Usage(rule) for rule in reversed(rules)))
    assert found["rule"].tolist() == rules


def test_what_is_unknown_is_no_number_and_not_printed(tmp_path):
    found = table(tmp_path, Usage("train", **RUN, seconds=60))
    assert found[["requested_minutes", "requested_mb", "peak_mb", "time_ratio", "cores"]].isna().all(axis=None)
    printed = printing.printed(printing.Table("T", found, table_of.COLUMNS), "t")
    assert printed.grids[0].headings == ["Rule", "Model", "Mode", "Recipe", "Device", "Jobs", "Minutes taken"]
    assert printed.grids[0].rows[0][-1] == "1.00"
    assert len(table(tmp_path)) == 0


def test_whole_jobs_of_slurm_stand_apart(tmp_path):
    found = table(tmp_path, JOB, JOB._replace(accounted=True, seconds=1200, slurm_job="17"))
    grids = table_of.in_print(found)
    assert [len(grid) for grid in grids.values()] == [1, 1]
    assert list(grids) == ["", table_of.ACCOUNTED]
    assert grids[table_of.ACCOUNTED]["minutes"].tolist() == [20]
    assert list(table_of.in_print(found.head(1))) == [""]


def test_lines_to_copy_are_printed_as_they_are(tmp_path):
    text = "set-resources:\n  train:\n    mem_mb: \"(2000, 8000)[attempt > 1] & '<b>'\"\n"
    made = printing.Table("T", table(tmp_path, JOB), table_of.COLUMNS, to_copy=text)
    printing.write(made, tmp_path / "t")
    assert text in (tmp_path / "t.md").read_text()
    assert "(2000, 8000)[attempt &gt; 1] &amp; &#39;&lt;b&gt;&#39;" in (tmp_path / "t.html").read_text()
    assert printing.read(tmp_path / "t.json").to_copy == text
