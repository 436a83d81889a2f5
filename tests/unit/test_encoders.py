"""Models that are tables of embeddings: what the configuration says of them, and what tables make of that."""

import pandas as pd
import pytest

from histobench.core import features, paths, runs, source_files
from histobench.core.catalogue import OF_OTHERS
from histobench.core.costs import Costs
from histobench.core.errors import HistobenchError
from histobench.core.files import write_sealed
from histobench.results import printing
from histobench.results.tables import encoders, models
from support import frames
from support.paper import configuration, study

UNI = {"format": "trident", "path": "/data/uni", "encoder": "UNI"}
BLOCK = {
    "datasets": ["pcam"], "models": ["uni"], "modes": ["tl"], "recipes": ["paper"], "devices": ["cpu"], "seeds": [1]
}  # fmt: skip


def made(embeddings=UNI, more=(), **changes):
    matrix = [BLOCK, BLOCK | changes]
    known = configuration()
    recipes = known["recipes"] | dict(more)
    datasets = known["datasets"] | {"cv": {"source": "idc", "split": {"by": "group", "folds": 3, "seed": 1}}}
    models = {"uni": {"embeddings": UNI | embeddings}}
    return study(models=models, matrix=matrix, recipes=recipes, datasets=datasets)


def test_a_head_is_trained_on_embeddings_as_on_cached_features():
    found = made()
    (run,) = found.runs
    spec = found.specification(run)
    assert (spec["input"], spec["model"]["application"], spec["model"]["weights_origin"]) == (None, None, OF_OTHERS)
    assert found.models["uni"].name == "uni"
    assert found.features_specification("pcam", "uni", "paper", "cpu")["input"] is None
    assert found.weights_files() == study().weights_files()
    costs = Costs(found)
    assert costs.train(run.cell).seconds < 3600 * 24
    assert costs.predict(run.cell).seconds < 3600


PAPER = configuration()["recipes"]["paper"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({"modes": [mode]}, "heads alone can be trained (mode `tl`)") for mode in ("full", "scratch", "finetune")),
        ({"recipes": ["paper-end-to-end"]}, "without a network for `transfer: end_to_end` or `augmentation`"),
        ({"recipes": ["augmented"]}, "without a network for `transfer: end_to_end` or `augmentation`"),
        ({"recipes": ["resized"]}, "without patches to `resize`"),
        ({"datasets": ["idc"], "embeddings": {"path": {"pcam": "/data/uni"}}}, "no embeddings of this data set"),
        ({"recipes": ["half"], "devices": ["k80"]}, "k80 has no mixed_float16"),
        ({"datasets": ["cv"], "recipes": ["short"]}, "seconds are measured on a data set with one split"),
    ],
)
def test_cells_that_need_a_network_are_left_out_with_a_reason(changes, reason):
    others = {"augmented": {"augmentation": ["d4"]}, "resized": {"resize": 128}, "half": {"precision": "mixed_float16"}}
    others["short"] = {"timing_only": True}
    recipes = {
        name: {key: value for key, value in PAPER.items() if key != "transfer"} | more for name, more in others.items()
    }
    found = made(more=recipes, **changes)
    assert len(found.runs) == 1
    (line,) = found.left_out_in_words()
    assert reason in line


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"vgg19": {"embeddings": UNI}}, "models.vgg19.embeddings: vgg19 is a CNN of the catalogue"),
        ({"uni": {"embeddings": UNI, "weights": "random"}}, "models.uni: weights is for CNNs"),
        (
            {"uni": {"embeddings": UNI | {"format": "tridnet"}}},
            "models.uni.embeddings.format: 'tridnet' is not defined; did",
        ),
        (
            {"uni": {"embeddings": UNI | {"format": "stamp"}}},
            "STAMP's places are in micrometres, so it needs microns_per",
        ),
        (
            {"uni": {"embeddings": UNI | {"path": {"pcm": "x"}}}},
            "models.uni.embeddings.path: 'pcm' is not defined; did",
        ),
        (
            {"uni": {"embeddings": UNI | {"path": {"pcam-10": "x"}}}},
            "models.uni.embeddings.path: pcam-10 has a part of the patches of pcam and uses its embeddings; name pcam",
        ),
        ({"uni": {"embeddings": {"format": "npz"}}}, "models.uni.embeddings: 'path' is a required property"),
        ({"uni": {"embeddings": UNI | {"path": "/{a}"}}}, "without braces"),
        ({"uni": {"embeddings": UNI | {"license": "MIT"}}}, "unknown key 'license'; did you mean 'licence'"),
    ],
)
def test_blocks_that_are_refused(models, message):
    subset = {"pcam-10": {"subset_of": "pcam", "train_fraction": 0.1}}
    with pytest.raises(HistobenchError) as error:
        study(models=models, datasets=configuration()["datasets"] | subset)
    assert message in str(error.value)


def test_facts_that_the_user_fills_in_import_nothing_anew():
    facts = {
        "encoder": "UNI2-h",
        "patch_size": 256,
        "microns_per_pixel": 0.25,
        "licence": "MIT",
        "pretraining_overlap": True,
    }
    one, two = made(), made(facts)
    names = ("pcam", "uni", "paper", "cpu")
    assert one.features_specification(*names) == two.features_specification(*names)
    assert one.specification(one.runs[0]) == two.specification(two.runs[0])
    assert two.models["uni"].embeddings.pretraining_overlap == "yes"
    # But for STAMP's places.
    one, two = (made({"format": "stamp", "microns_per_pixel": microns}) for microns in (0.25, 0.5))
    assert one.features_specification(*names) != two.features_specification(*names)


def test_results_of_other_embeddings_are_gaps(tmp_path, monkeypatch):
    """Where nothing is trained, the files that the configuration names must be those that were imported."""
    monkeypatch.chdir(tmp_path)
    for name in ("before", "after"):
        (tmp_path / f"{name}.npz").write_text(name)

    def gap(path):
        found = made({"format": "npz", "path": str(path)})
        (run,) = found.runs
        return found, run, found.gap(run)

    found, run, reason = gap("before.npz")
    assert reason == "not run yet"
    data, folder = paths.of(paths.DATA, run), paths.of(found.paths.run, run)
    write_sealed(data / "manifest.json", {"patches_sha256": "p", "definition": found.datasets["pcam"].definition()})
    (data / "index.parquet").touch()
    imported = {"sha256": {"train": "f"}, "embeddings": {"sha256": source_files.read(tmp_path, ["before.npz"]).sha256}}
    write_sealed(found.features_folder(run) / features.ABOUT, imported)
    about = {"specification": found.specification(run), "inputs_sha256": {"patches": "p"}, "features": imported}
    write_sealed(folder / runs.ABOUT, about)
    for name in (runs.HISTORY, runs.TIMING, runs.PREDICTIONS):
        (folder / name).touch()
    assert gap("before.npz")[2] == ""
    assert gap("after.npz")[2] == "out of date: trained on other embeddings"
    assert gap("gone.npz")[2] == ""  # results are looked at on other machines, too
    assert gap(tmp_path / "results")[2].startswith("its embeddings cannot be read: ")
    # They were imported anew, and the head was not trained anew yet.
    write_sealed(found.features_folder(run) / features.ABOUT, imported | {"sha256": {"train": "g"}})
    assert gap("before.npz")[2] == "out of date: trained on other features"


STATED = {"format": "trident", "encoder": "UNI", "patch_size": 256, "microns_per_pixel": 0.25, "licence": "MIT"}
STATED |= {"pretraining_overlap": "no"}
NOTHING = {name: None if name in ("patch_size", "microns_per_pixel") else "" for name in STATED} | {"format": "npz"}


def test_the_table_says_what_is_stated_and_what_is_not():
    cells = frames.cells(missing=tuple(frames.run(name, mode="tl") for name in ("uni", "mine", "b2")))
    embeddings = {"found": {"encoder": "uni_v1", "patch_size": "256"}, "features": 1024, "files": 3, "rows_not_used": 7}
    run = {"dataset": "pcam", "model": "uni"}
    about = {"specification": {"run": run}, "features": {"embeddings": embeddings}}
    names = {"uni": "UNI", "mine": "Mine"}
    table = encoders.encoders({"uni": STATED, "mine": NOTHING}, names, cells, [about])
    assert table["model"].tolist() == ["uni", "mine"]
    first, second = table.to_dict("records")
    assert (first["features"], first["files"], first["rows_not_used"]) == (1024, 3, 7)
    assert first["said"] == "encoder uni_v1, patch size 256"
    assert pd.isna(second["features"])
    printed = printing.printed(printing.Table("t", table, encoders.COLUMNS), "encoders")
    rows = {row[0]: row for row in printed.grids[0].rows}
    assert "not stated" not in rows["UNI"]
    # Encoder, patch size, micrometres, licence, overlap.
    assert rows["Mine"].count("not stated") == 5


def test_subsets_share_the_row_of_the_whole():
    subset = frames.run("uni", mode="tl", dataset="tenth") | {"subset_of": "pcam"}
    embeddings = {"found": {}, "features": 1024, "files": 3, "rows_not_used": 7}
    about = {"specification": {"run": {"dataset": "tenth", "model": "uni"}}, "features": {"embeddings": embeddings}}
    for missing in ((frames.run("uni", mode="tl"), subset), (subset,)):
        table = encoders.encoders({"uni": STATED}, {"uni": "UNI"}, frames.cells(missing=missing), [about])
        assert table[["dataset", "features"]].to_numpy().tolist() == [["pcam", 1024]]


def test_a_study_of_embeddings_alone_has_an_empty_table_of_models():
    sizes = pd.DataFrame({"model": ["b2"], "all_layers": [10], "depth": [10], "parameters_millions": [9.5]})
    table = models.compare(models.read(None, sizes, {}), sizes, {})
    assert table.empty
    assert list(table)[:2] == ["model", "model_name"]
    scores = frames.performances(frames.run("uni", mode="tl"))
    assert scores.merge(models.in_short(models.read(None, sizes, {}), sizes), on="model").empty
