"""The whole study on real patches, to its page."""

import re

import pytest

from support.project import snakemake
from support.real import SHORT, short_study

pytestmark = pytest.mark.real


def test_the_page_announces_the_subset(real_data, tmp_path):
    study = short_study(tmp_path / "clone", real_data)
    snakemake(study, *SHORT)
    page = (study / "results/real/report.html").read_text(encoding="utf-8")
    assert re.search(r"Subset of the published patches:(</\w+>)? pcam, idc", page)
