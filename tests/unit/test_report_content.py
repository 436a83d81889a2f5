"""What the page of a study says, and in which order."""

import pandas as pd
import pytest

from histobench.results import report_content, tables
from histobench.results.performance import performance
from support.frames import PUBLISHED, cells, replicates, run

MANIFEST = {
    "patches_are": "subset",
    "format": "idc",
    "patches": {
        "train": {"n": 1314, "tumour": 420, "tumour_fraction": 0.32, "groups": 0},
        "test": {"n": 300, "tumour": 150, "tumour_fraction": 0.5, "groups": 4},
    },
    "excluded": {"not 50x50 px, at the edge of the tissue": 128},
}


def about(device="cpu", memory=1000, keras="3.15.1", code="c"):
    return {
        "specification": {"run": {"device": device}},
        "versions": {"python": "3.11.7", "keras": keras},
        "peak_memory_mib": memory,
        "threads": 2,
        "code": code,
    }


@pytest.fixture
def files(tmp_path):
    """Tables and figures of two data sets, and captions."""
    for name in ("performance_b", "performance_a", "claims"):
        tables.write(pd.DataFrame({"model": ["B2"]}), tmp_path / name, f"Table {name}, study mine")
    for name in ("roc_a", "gallery_a", "auc_by_mode"):
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    return {
        "printed": sorted(tmp_path.glob("*.json")),
        "svgs": sorted(tmp_path.glob("*.svg")),
        "captions": {"roc": "What it\nshows.\n"},
    }


def test_data_sets_come_first_in_their_order_then_the_study(files):
    found = report_content.sections("mine", ["b", "a"], **files)
    assert [(section.title, [item.name for item in section.items]) for section in found] == [
        ("Data set b", ["performance_b"]),
        ("Data set a", ["performance_a", "roc_a", "gallery_a"]),
        ("Transfer learning against full training", ["auc_by_mode"]),
        ("Claims of the paper", ["claims"]),
    ]


def test_titles_leave_out_the_study_and_figures_have_their_captions(files):
    found = report_content.sections("mine", ["a"], **files)[0].items
    assert [item.title for item in found] == ["Table performance_a", "ROC curves", "The surest errors"]
    assert [item.caption for item in found[1:]] == ["What it shows.", ""]


def summary(*rows, missing=()):
    frame, asked = pd.DataFrame(rows, columns=list(run())), cells(*rows, missing=missing)
    table = performance("pcam", frame, asked, replicates(*rows), PUBLISHED)
    return dict(report_content.summary(frame, asked, table))


def test_the_best_is_chosen_on_validation_and_shown_on_the_test_set():
    rows = [run(auc=0.8, valid_auc=0.95), run("b6", auc=0.9, valid_auc=0.7), run("vgg19", collapsed=True, valid_auc=1)]
    found = summary(*rows, missing=({"model": "mobilenet"},))
    assert found["Finished runs"] == "3 of 4"
    (best,) = [name for name in found if name.startswith("Test AUC")]
    assert best == "Test AUC of B2, full, best on validation of pcam"
    assert found[best].startswith("0.800 (0.")


def test_an_extraction_that_several_heads_share_counts_once():
    heads = [
        run("vgg19", seed, mode="tl", train_seconds=10.0, validation_seconds=5.0, features_seconds=100.0)
        for seed in (1, 2)
    ]
    assert summary(*heads)["Device time"] == "2 min"  # 2 x 15 + 100 s
    assert summary(run(train_seconds=80.0, validation_seconds=10.0))["Device time"] == "90 s"


def test_without_a_run_there_is_nothing_to_sum_up():
    assert summary(missing=({"model": "b2"},)) == {"Finished runs": "0 of 1"}


def facts(rows, abouts, manifests=None, left_out=()):
    found = report_content.facts(pd.DataFrame(rows, columns=list(run())), manifests or {}, abouts, list(left_out))
    return {each.title: dict(each.rows) for each in found}


def test_exclusions_and_counts_of_the_data_are_told():
    found = facts([], [], {"idc": MANIFEST})
    assert found["Exclusions of patches"] == {"idc": "128 not 50x50 px, at the edge of the tissue"}
    assert "train: 1,314 patches, 32% tumour, slides or patients unknown" in found["Data sets"]["idc"]
    assert "test: 300 patches, 50% tumour, 4 slides or patients" in found["Data sets"]["idc"]


def test_versions_that_differ_are_counted():
    found = facts([run()], [about(), about(keras="2.14.0", code="d")])["Versions"]
    assert found["python"] == "3.11.7"
    assert found["keras"] == "3.15.1 (1 run), 2.14.0 (1 run)"
    assert found["code that trained"].startswith("2 versions")


def test_devices_say_what_was_found_and_what_it_took():
    rows = [
        run(found_device="Tesla", device="k80", train_seconds=7200.0, validation_seconds=60.0),
        run(found_device="some CPU"),
    ]
    found = facts(rows, [about("k80", 2000), about("cpu", 500)])["Devices"]
    assert found["k80"].startswith("Tesla; 1 run; training 2.0 h, validation 60 s")
    assert "2,000 MiB" in found["k80"]
    assert "some CPU" in found["cpu"]


def test_cells_that_cannot_run_are_told():
    assert facts([], [], left_out=["Left out: a."])["Cells that cannot run"] == {"": "Left out: a."}
