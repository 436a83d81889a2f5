"""External validation: who is tested where, what is refused, and the table and figure of it."""

import numpy as np
import pandas as pd
import pytest

from histobench.core import runs
from histobench.core.cells import Cell
from histobench.core.errors import HistobenchError
from histobench.core.files import write_sealed
from histobench.results.columns import names
from histobench.results.figures.external import auc_by_training
from histobench.results.printing import Table, printed
from histobench.results.tables.external import COLUMNS, FIRST, external
from support.frames import NAMES, run
from support.paper import configuration, study


def made(external=("idc",), **changes):
    block = {"datasets": ["pcam", "idc"], "models": ["b2"], "modes": ["full"], "recipes": ["paper"]}
    block |= {"devices": ["cpu"], "seeds": [1], "external": list(external)}
    folds = {"source": "idc", "split": {"by": "group", "folds": 5, "seed": 1}}
    part = {"subset_of": "pcam", "train_fraction": 0.5, "seed": 1}
    datasets = configuration()["datasets"] | {"idc-cv": folds, "pcam-half": part}
    more = {key: changes.pop(key) for key in ("models_block",) if key in changes}
    return study(datasets=datasets, matrix=[block | changes], models=more.get("models_block", {}))


def cell(dataset="pcam", model="b2", mode="full", recipe="paper"):
    return Cell(dataset, model, mode, recipe, "cpu")


def test_a_cell_is_tested_on_the_other_data_sets_of_its_block():
    found = made(["pcam", "idc", "idc-cv"])
    assert found.external == {cell(): ["idc", "idc-cv"], cell("idc"): ["pcam", "idc-cv"]}
    assert found.runs == made(["idc"]).runs  # nothing is trained for it


@pytest.mark.parametrize(
    ("tested_cell", "dataset", "reason"),
    [
        (cell(), "idc", ""),
        (cell("idc"), "idc-cv", "it has learned from idc, whose patches are of the same source as those of idc-cv"),
        (cell("pcam-half"), "pcam", "it has learned from pcam-half"),
        (cell(recipe="timing"), "idc", "it is there for its seconds"),
        (cell(model="mobilenet", mode="tl"), "idc", ""),
        (cell(model="mobilenet", mode="tl", recipe="knn"), "idc", "it has no network that could score other patches"),
        (cell("idc", model="inceptionv3"), "pcam", "it needs patches of at least 75 px"),
        (cell("idc", model="mobilenet-pcam"), "pcam", "it has learned from pcam, whose patches"),
    ],
)
def test_who_has_seen_patches_of_a_source_is_not_tested_on_it(tested_cell, dataset, reason):
    models = {"mobilenet-pcam": {"weights": {"run": "pcam/mobilenet/full/paper/cpu/seed-1"}}}
    found = made(models_block=models).why_not_external(tested_cell, dataset)
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_the_same_patches_under_another_name_are_no_other_data_set(tmp_path):
    own = {"format": "folder", "path": str(tmp_path / "patches"), "patch_size": 96}
    sources = {"a": own, "b": {**own, "path": f"{tmp_path}/./patches"}, "c": {**own, "path": str(tmp_path / "others")}}
    sources |= {"idc": {"format": "idc"}, "idc-again": {"format": "idc"}}
    datasets = {name: {"source": name} for name in sources}
    for name in "abc":
        datasets[name]["split"] = {"by": "patch", "train": 0.6, "valid": 0.2, "test": 0.2, "seed": 1}
    block = {
        "datasets": ["a"],
        "models": ["b2"],
        "modes": ["full"],
        "recipes": ["paper"],
        "devices": ["cpu"],
        "seeds": [1],
    }
    found = study(sources=sources, datasets=datasets, matrix=[block])
    refused = {(on, other) for on in sources for other in sources if found.why_not_external(cell(on), other)}
    same = [{"a", "b"}, {"idc", "idc-again"}]
    assert refused == {(on, other) for on in sources for other in sources if on == other or {on, other} in same}


def test_scores_of_other_weights_or_patches_are_a_gap(tmp_path):
    there, trained = tmp_path / "there", tmp_path / "run"
    assert runs.external_gap(there, trained, "patches") == "not scored yet"
    for folder in (there, trained):
        folder.mkdir()
    for name in (runs.PREDICTIONS, runs.METRICS, runs.REPLICATES):
        (there / name).touch()
    write_sealed(there / runs.EXTERNAL, {"weights_sha256": ["w"], "patches_sha256": "patches"})
    write_sealed(trained / runs.ABOUT, {"weights_sha256": ["w"]})
    assert runs.external_gap(there, trained, "patches") == ""
    assert runs.external_gap(there, trained, "others") == "out of date: scored on data prepared otherwise"
    write_sealed(trained / runs.ABOUT, {"weights_sha256": ["v"]})
    assert runs.external_gap(there, trained, "patches") == "out of date: scored by other weights"


@pytest.mark.parametrize(
    ("name", "message"), [("idk", "external: 'idk' is not defined"), ("pcam-half", "name pcam instead")]
)
def test_a_data_set_that_is_none_is_refused(name, message):
    with pytest.raises(HistobenchError, match=message):
        made([name])


def metrics(auc, **changes):
    at = {"threshold": 0.4, "balanced_accuracy": auc - 0.1, "sensitivity": auc, "specificity": auc - 0.2}
    test = {"n": 40, "auc": auc, "at_validation_threshold": at}
    return {"collapsed": False, "test": test, "intervals": {"unit": "patch"}} | changes


@pytest.fixture
def asked(tmp_path):
    """Two seeds, tested on their own patches and elsewhere."""
    rows = [run(seed=seed, auc=auc) for seed, auc in ((1, 0.9), (2, 0.8))]
    drawn, elsewhere = {}, []
    for row, there in zip(rows, (0.7, 0.6), strict=True):
        own, other = (tmp_path / name / str(row["seed"]) for name in ("own", "elsewhere"))
        row["folder"] = str(own)
        elsewhere.append(other)
        for place, auc in ((own, row["auc"]), (other, there)):
            place.mkdir(parents=True)
            write_sealed(place / "metrics.json", metrics(auc))
            drawn[str(place)] = pd.DataFrame({"replicate": range(100), "auc": auc + np.linspace(-0.05, 0.05, 100)})
    about = {name: rows[0][name] for name in (*NAMES, "model_name")}
    entry = about | {"tested_on": "idc", "folders": [str(each) for each in elsewhere], "gap": ""}
    refused = about | {"tested_on": "idc-random", "folders": [], "gap": "it has learned from it"}
    return [entry, refused], pd.DataFrame(rows), drawn, elsewhere


def test_a_row_is_the_mean_over_networks_and_one_s_own_patches_come_first(asked):
    entries, finished, drawn, _ = asked
    table = external(entries, finished, drawn)
    assert list(table) == names(COLUMNS)
    assert table["tested_on"].tolist() == ["pcam", "idc", "idc-random"]
    np.testing.assert_allclose(table["auc"][:2], [0.85, 0.65])
    np.testing.assert_allclose(table["sensitivity"][:2], [0.85, 0.65])
    assert table["auc_low"][1] < 0.65 < table["auc_high"][1] and table["networks"].tolist() == [2, 2, 0]
    assert table["gap"].tolist() == ["", "", "it has learned from it"]


def test_a_network_that_collapsed_there_does_not_count(asked):
    entries, finished, drawn, elsewhere = asked
    write_sealed(elsewhere[1] / "metrics.json", metrics(0.5, collapsed=True))
    table = external(entries, finished, drawn)
    assert (table["auc"][1], table["networks"][1]) == (pytest.approx(0.7), 1)


@pytest.mark.parametrize("name", ["recipe", "device"])
def test_a_page_shows_at_once_what_tells_rows_apart(asked, name):
    entries, finished, drawn, _ = asked
    one = external(entries, finished, drawn)
    several = pd.concat([one, one.assign(**{name: "another"})], ignore_index=True)
    for table, shown in ((one, False), (several, True)):
        (grid,) = printed(Table("", table, COLUMNS, first=FIRST), "external").grids
        assert (name.capitalize() in grid.headings[: grid.first]) == shown


def test_the_figure_has_a_panel_for_each_data_set_that_is_tested_on(asked):
    entries, finished, drawn, _ = asked
    figure = auc_by_training(external(entries, finished, drawn))
    assert [axes.get_title() for axes in figure.axes] == ["Tested on pcam", "Tested on idc"]
    assert not auc_by_training(external([], finished, drawn)).axes[0].has_data()
