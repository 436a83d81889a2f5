"""Content of the page of a study, and its order."""

import pandas as pd
import pytest

from histobench.results import printing, registry, report_content
from support.frames import cells, run

MANIFEST = {
    "dataset": "idc",
    "split": "published",
    "patches_are": "subset",
    "format": "idc",
    "patches": {
        "train": {"n": 1314, "tumour": 420, "tumour_fraction": 0.32, "groups": 0},
        "test": {"n": 300, "tumour": 150, "tumour_fraction": 0.5, "groups": 4},
    },
    "excluded": {"not 50x50 px, at the edge of the tissue": 128},
}


def about(device="cpu", memory=1000, keras="3.15.1", code="c"):
    versions = {"python": "3.11.7", "keras": keras}
    of_job = {"peak_memory_mib": memory, "threads": 2, "code": code}
    return {"specification": {"run": {"device": device}}, "versions": versions} | of_job


@pytest.fixture
def files(tmp_path):
    """Tables and figures of two data sets."""
    for name in ("performance_b", "performance_a", "claims", "best"):
        printing.write(printing.Table(f"Table {name}", pd.DataFrame({"model": ["B2"]})), tmp_path / name, "mine")
    for name in ("roc_a", "gallery_a", "auc_by_mode", "forest", "forest_narrow", "roc_a_narrow"):
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    return {"printed": sorted(tmp_path.glob("*.json")), "svgs": sorted(tmp_path.glob("*.svg"))}


def test_what_matters_comes_first_then_data_sets_in_their_order_then_the_study(files):
    found = report_content.sections(["b", "a"], **files)
    assert [(section.title, [item.name for item in section.items]) for section in found] == [
        ("At a glance", ["best", "forest"]),
        ("Data set b", ["performance_b"]),
        ("Data set a", ["performance_a", "roc_a", "gallery_a"]),
        ("Transfer learning against full training", ["auc_by_mode"]),
        ("Claims of the paper", ["claims"]),
    ]


def test_a_table_that_has_nothing_to_tell_is_not_on_the_page(files, tmp_path):
    table = printing.Table("Claims", pd.DataFrame({"claim": ["a"]}), on_page=False)
    printing.write(table, tmp_path / "claims", "mine")
    found = report_content.sections(["a"], **files)
    assert "Claims of the paper" not in [section.title for section in found]


def test_titles_leave_out_the_study_and_figures_have_their_captions(files):
    found = report_content.sections(["a"], **files)[1].items
    assert [item.title for item in found] == ["Table performance_a", "ROC curves", "The surest errors"]
    assert [item.caption for item in found[1:]] == [registry.ITEMS[name].caption for name in ("roc", "gallery")]


def test_a_figure_of_the_study_has_its_narrow_one_and_one_of_a_data_set_no_other_data_sets(files):
    found = report_content.sections(["a", "a_narrow"], **files)
    figures = {item.name: item.narrow for section in found for item in section.items if item.kind == "figure"}
    assert figures["forest"].name == "forest_narrow.svg"
    assert figures["roc_a"] is None
    assert "roc_a_narrow" in figures
    assert "forest_narrow" not in figures


def lead(*rows, missing=(), manifests=None):
    return report_content.lead(pd.DataFrame(rows, columns=list(run())), cells(*rows, missing=missing), manifests or {})


def test_the_lead_says_what_was_compared_on_what_and_how_much_of_it_is_there():
    out = {"model": "vgg19", "mode": "finetune", "gap": "left out: why", "left_out": True}
    rows = [run(train_seconds=80.0, validation_seconds=10.0), run("b6", mode="tl", dataset="idc", train_seconds=0)]
    found = lead(*rows, missing=(out, {"model": "mobilenet", "gap": "not run yet"}), manifests={"idc": MANIFEST})
    assert found == (
        "3 models, by transfer learning and full training, on pcam and idc (1,314 training, 300 test patches): "
        "2 of 3 runs finished; 100 s of device time."
    )


def test_the_counts_of_a_cross_validation_are_those_of_all_folds():
    fold = MANIFEST | {"dataset": "cv.fold-1", "split": {"by": "group", "folds": 3, "seed": 1}}
    rows = [run(dataset="cv", n_train=1314, n_valid=300, n_test=1914)]
    told = "cv (1,914 test patches in 3 folds, 1,314 training and 300 validation patches in each): 1 of 1"
    assert told in lead(*rows, manifests={"cv": fold})
    facts = report_content.facts(pd.DataFrame(rows), {"cv": fold}, [about()], [])
    assert "idc; of cv.fold-1, the first of its parts: train: 1,314 patches" in dict(facts["Data sets"])["cv"]


def test_an_extraction_that_several_heads_share_counts_once():
    heads = [
        run("vgg19", seed, mode="tl", train_seconds=10.0, validation_seconds=5.0, features_seconds=100.0)
        for seed in (1, 2)
    ]
    assert lead(*heads).endswith("; 2 min of device time.")  # 2 x 15 + 100 s


def test_without_a_run_there_is_no_time_to_tell():
    assert lead(missing=({"model": "b2"},)) == "1 model, by full training, on pcam: 0 of 1 runs finished."


def test_facts_tell_of_data_versions_devices_and_cells_that_cannot_run():
    rows = [
        run(found_device="Tesla", device="k80", train_seconds=7200.0, validation_seconds=60.0),
        run(found_device="some CPU"),
    ]
    abouts = [about("k80", 2000), about("cpu", 500, keras="2.14.0", code="d")]
    told = report_content.facts(pd.DataFrame(rows), {"idc": MANIFEST}, abouts, ["Left out: a."])
    found = {title: dict(facts) for title, facts in told.items()}
    assert found["Exclusions of patches"] == {"idc": "128 not 50x50 px, at the edge of the tissue"}
    assert "train: 1,314 patches, 32% tumour, slides or patients unknown" in found["Data sets"]["idc"]
    assert "test: 300 patches, 50% tumour, 4 slides or patients" in found["Data sets"]["idc"]
    # Versions that differ are counted.
    versions, devices = found["Versions"], found["Devices"]
    assert (versions["python"], versions["keras"]) == ("3.11.7", "3.15.1 (1 run), 2.14.0 (1 run)")
    assert versions["code that trained"].startswith("2 versions")
    assert devices["k80"].startswith("Tesla; 1 run; training 2.0 h, validation 60 s")
    assert "2,000 MiB" in devices["k80"]
    assert "some CPU" in devices["cpu"]
    assert found["Cells that cannot run"] == {"": "Left out: a."}
