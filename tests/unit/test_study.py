"""The configuration: what it makes, and what it says of what it cannot make."""

import re
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from histobench.core import devices, paths, recipes, submission
from histobench.core.cells import Cell, Run
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote
from histobench.core.plan import SCHEMA
from histobench.core.study import Study, check_keys
from support.paper import configuration, study
from support.project import ROOT


@pytest.fixture
def config():
    return configuration()


RANDOM = {"by": "patch", "train": 0.8, "valid": 0.1, "test": 0.1, "seed": 1}


def block(**changes):
    return {
        "datasets": ["pcam"],
        "models": ["b2"],
        "modes": ["full"],
        "recipes": ["paper"],
        "devices": ["cpu"],
        "seeds": [1],
    } | changes


def test_the_default_is_the_papers_study():
    runs = study().runs
    performance = {(r.dataset, r.model, r.mode) for r in runs if r.recipe != "timing"}
    assert len({model for _, model, _ in performance}) == 12
    # Table 3: ten models by TL, twelve in full; Table 4 has no InceptionV3.
    assert len([cell for cell in performance if cell[0] == "pcam"]) == 22
    assert len([cell for cell in performance if cell[0] == "idc"]) == 20
    # The backbones whose features could not be cached to the bit are trained end to end, as in the author's code.
    assert {r.model for r in runs if r.recipe == "paper-end-to-end"} == {f"efficientnetv2b{i}" for i in range(3)}
    # Table 2: B2, B6, IV3-TL and IV3-F on four cards.
    timing = [(r.model, r.mode, r.device) for r in runs if r.recipe == "timing"]
    assert len(timing) == 16
    assert {device for _, _, device in timing} == {"k80", "p100", "v100", "a100"}


def test_the_matrix_is_a_product_without_repetitions():
    twice = [block(models=["b2", "b6"], seeds=[1, 2]), block()]
    runs = study(matrix=twice).runs
    assert runs == [Run("pcam", model, "full", "paper", "cpu", seed) for model in ("b2", "b6") for seed in (1, 2)]
    assert str(runs[0]) == "pcam/b2/full/paper/cpu/seed-1"  # the folder names every part of the cell


def test_cells_that_cannot_run_are_left_out_with_a_reason():
    matrix = [block(datasets=["pcam", "idc"], models=["b6", "inceptionv3"], modes=["tl", "full"])]
    made = study(matrix=matrix)
    assert {(c.dataset, c.model, c.mode) for c in made.left_out} == {
        ("pcam", "b6", "tl"),
        ("idc", "b6", "tl"),
        ("idc", "inceptionv3", "tl"),
        ("idc", "inceptionv3", "full"),
    }
    assert made.left_out_in_words() == [
        "Left out: tl of B6 on pcam, idc by paper: it has no pretrained backbone to transfer from.",
        "Left out: tl, full of InceptionV3 on idc by paper: it needs patches of at least 75 px, not of 50 px; "
        "see `resize`.",
    ]


def test_what_cannot_run_says_why_where_it_is_asked_for():
    with pytest.raises(HistobenchError, match=r"idc/inceptionv3/full.*at least 75 px, not of 50 px"):
        study().specification(Run("idc", "inceptionv3", "full", "paper", "a100", 1))
    with pytest.raises(HistobenchError, match=r"makes no run.*no pretrained backbone"):
        study(matrix=[block(modes=["tl"])])
    for model, reason in (("b6", "it has no backbone"), ("inceptionv3", "at least 75 px")):
        wanted = rf"features of {model} on idc \(paper\) cannot be extracted: .*{reason}"
        with pytest.raises(HistobenchError, match=wanted):
            study().features_specification("idc", model, "paper", "cpu")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("recipes.paper.epoch", 3, r"recipes\.paper: unknown key 'epoch'; did you mean 'epochs'\?"),
        ("studdy", "x", r"top level: unknown key 'studdy'; did you mean 'study'\?"),
        ("recipes.paper.batch_size", "many", r"recipes\.paper\.batch_size: 'many' is not of type 'integer'"),
        ("recipes.paper.best_epoch", "val_acc", r"recipes\.paper\.best_epoch: 'val_acc' is not one of"),
        ("study", "a b", r"study: expected at most 50 letters, digits, .*; found 'a b'"),
        ("matrix.0.models", ["b2", "resnet5"], r"matrix block 1, models: 'resnet5'.*did you mean 'resnet50'\?"),
        ("matrix.0.datasets", ["pcam2"], r"matrix block 1, datasets: 'pcam2'.*did you mean 'pcam'\?"),
        ("sources.pcam.format", "pcm", r"sources\.pcam\.format: 'pcm'.*did you mean 'pcam'\?"),
        ("sources.idc.simulate", {"seed": 1, "patients": 9, "patches_per_patient": 9}, "patients by split"),
        ("sources.idc.simulate", {"seed": 1, "patients": {"train": 1}}, "'valid' is a req"),
        ("sources", {"mine": {"format": "folder", "simulate": {"seed": 1}}}, "format folder cannot be simulated"),
        ("matrix.0.modes", ["transfer"], r"matrix block 1, modes: 'transfer'.*known: tl, full, scratch"),
        (
            "matrix.0.recipes",
            ["paper", "native.d4.seeds"],
            r"recipes: native\.d4\.seeds is an average.* name native, and say `average_scores: \[d4, seeds\]`",
        ),
        ("matrix.0.recipes", ["papr.d4"], r"block 1, recipes: 'papr\.d4' is not defined"),
        ("matrix.0.average_scores", ["tta"], r"matrix block 1, average_scores item 1: 'tta' is not one of"),
        ("matrix.1", {}, r"configuration: matrix block 2: 'datasets' is a required property"),
        (
            "contrasts",
            [["b2/full/paper/cpu", 2]],
            r"configuration: contrasts item 1, item 2: 2 is not of type 'string'",
        ),
        ("datasets.idc.source", "idcc", r"datasets\.idc\.source: 'idcc'.*did you mean 'idc'\?"),
        ("datasets.idc.split", {"by": "patch"}, r"datasets\.idc\.split.*'train' is a required property"),
        ("datasets.idc-random.split.test", 0.2, r"fractions sum to 1\.1, not to 1"),
        ("datasets.pcam.split", RANDOM, "pcam is split by its files"),
        ("sources.pcam.path", "/patches", "`format: folder`"),
        (
            "sources",
            {"mine": {"format": "folder", "path": "a/{b}/c", "patch_size": 9}},
            r"mine\.path: .* without braces",
        ),
        ("sources.pcam.files", {"train_x.gz": {"bytes": 1}}, r"sources\.pcam\.files: 'train_x\.gz' is not"),
        ("sources.pcam.expected", {"patients": 3}, "patients does not go with format pcam"),
        ("sources.pcam.simulate", {"seed": 1}, r"simulate: format pcam takes patches by split, seed, sl"),
        ("recipes.paper.augmentation", ["stains"], r"recipes\.paper\.augmentation: 'stains'.*did you mean 'stain'\?"),
        ("recipes.tuned.tuned_from", "papr", r"recipes\.tuned\.tuned_from: 'papr'.*did you mean 'paper'"),
        ("recipes.paper.optimizer.name", "adm", r"recipes\.paper\.optimizer\.name: Keras .* has no 'adm'"),
        ("recipes.paper.optimizer.beta_1", "0.9", r"recipes\.paper\.optimizer\.beta_1: '0\.9' is not of type"),
        ("recipes.paper.augmentation", ["d4"], r"recipes\.paper: `transfer: cached`.*`transfer: end_to_end`"),
        ("recipes.linear.dense_units", -1, r"recipes\.linear\.dense_units: -1 is less than the minimum of 0"),
        (
            "recipes.linear.transfer",
            "end_to_end",
            r"linear: `standardize` works on features that are the same in every",
        ),
        ("recipes.linear.augmentation", ["d4"], r"recipes\.linear: `(standardize|transfer: cached)`"),
        (
            "recipes.knn.transfer",
            "end_to_end",
            r"recipes\.knn: `knn` works on features that are the same in every epoch",
        ),
        (
            "recipes.knn.epochs",
            15,
            r"recipes\.knn: epochs does not go with `knn`, by which nothing is trained; leave out",
        ),
        ("recipes.knn.dropout", 0.5, r"recipes\.knn: dropout does not go with `knn`"),
        (
            "recipes.knn.knn.metric",
            "manhattan",
            r"knn\.knn\.metric: 'manhattan' is not one of \['cosine', 'euclidean'\]",
        ),
        ("recipes.knn.knn.neighbours", 5, r"recipes\.knn\.knn: unknown key 'neighbours'.*n_neighbors"),
        ("recipes.knn.knn.n_neighbors", 0, r"n_neighbors: 0 is less than the minimum of 1"),
        ("recipes.mine", {"input_scaling": "paper"}, r"recipes\.mine: 'epochs' is a required property"),
        ("recipes.native.finetune.head_epochs", 15, r"native\.finetune\.head_epochs: 15 of 15 epochs leave none"),
        (
            "recipes.native.schedule",
            {"name": "linear"},
            r"native\.schedule\.name: 'linear' is not one of \['cosine', 'plateau'\]",
        ),
        (
            "recipes.native.schedule",
            {},
            "schedule: expected `name: cosine` or `name: plateau`, with its keys; found {}$",
        ),
        ("recipes.native.optimizer", {}, "^[^\\n]*optimizer: expected the `name` of a class of .*; found {}$"),
        (
            "ensembles",
            {"one": ["b2/full/paper/cpu"]},
            r"ensembles\.one: expected two or more different cells; found \['b2/full/paper/cpu'\]$",
        ),
        ("matrix.0.seeds", [], r"matrix block 1, seeds: expected one or more seeds, each once; found \[\]$"),
        ("recipes.native.schedule", {"name": "plateau", "monitor": "val_auc"}, r"schedule: 'factor' is a required"),
        ("recipes.native.schedule", {"name": "cosine", "patience": 1}, r"native\.schedule: unknown key 'patience'"),
        (
            "recipes.native.schedule",
            {"name": "cosine", "warmup_epochs": 5},
            r"native\.schedule\.warmup_epochs: 5 of 5 epochs of a stage of `finetune` leave none for the decay",
        ),
        (
            "recipes.native.schedule",
            {"name": "plateau", "monitor": "val_auc", "factor": 0.1, "patience": 1, "min_learning_rate": 0.0001},
            r"schedule\.min_learning_rate: 0\.0001 is above the learning rate of `finetune`, 1e-05, which a plateau",
        ),
        (
            "recipes.tuned.early_stopping",
            {"monitor": "val_auc", "patience": 2},
            r"recipes\.tuned: early_stopping cannot stand beside `search`",
        ),
        (
            "recipes.native.early_stopping",
            {"monitor": "val_auc", "patience": 15},
            r"recipes\.native\.early_stopping\.patience: 15 epochs are never stopped early after 15 that are",
        ),
        ("recipes.native.early_stopping", {"monitor": "auc", "patience": 2}, r"monitor: 'auc' is not one of"),
        ("recipes.native.average_weights", {"momentum": 1}, r"momentum: expected a number below 1, found 1"),
        (
            "recipes.native.class_weights",
            "equal",
            r"class_weights: expected `balanced`, or no such key; found 'equal'$",
        ),
        ("recipes.knn.schedule", {"name": "cosine"}, r"knn: schedule does not go with `knn`"),
        ("recipes.native.finetune.upper_layers", 1.5, r"native\.finetune\.upper_layers: 1\.5 is greater"),
        (
            "datasets.idc.split",
            {"by": "group", "train": 1, "valid": 0.1, "test": 0.1, "seed": 1},
            r"split\.train: expected a number below 1, found 1",
        ),
        ("models", {"mine": {"application": "X"}}, r"models\.mine is not in .*needs preprocessing, smallest_i"),
        ("models", {"b2": {"weights": "random"}}, r"models\.b2\.weights: B2 has no pretrained backbone"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_known(config, place, value, message):
    *folders, key = (int(part) if part.isdigit() else part for part in place.split("."))
    reduce(getitem, folders, config)[key] = value
    with pytest.raises(HistobenchError, match=message):
        study(**config)


def value_of(yaml_text: str):
    return yaml.safe_load(f"value: {yaml_text}")["value"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", "1.0e-3"),
        ("5E-4", "5.0e-4"),
        ("25e-5", "25.0e-5"),
        ("2e0", "2"),
        ("'0.9'", "0.9"),
        ("'1.0e-3'", "1.0e-3"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "optimizer.learning_rate",
        "optimizer.beta_1",
        "finetune.learning_rate",
        "search.space.learning_rate.min",
        "dropout",
    ],
)
def test_a_number_that_yaml_takes_for_text_is_told_how_to_write(config, place, text, number):
    recipe = config["recipes"]["tuned"]
    recipe["finetune"] = {"head_epochs": 1, "upper_layers": 0.5, "learning_rate": 0.1}
    *folders, key = place.split(".")
    assert isinstance(value_of(text), str)
    assert isinstance(value_of(number), float | int)  # the advice holds
    reduce(getitem, folders, recipe)[key] = value_of(text)
    where = re.escape(f"recipes.tuned.{place}: ")
    with pytest.raises(HistobenchError, match=rf"{where}.*it is text: write {re.escape(number)}, without quotes"):
        study(**config)


def test_null_takes_a_key_away(config):
    """So that an overlay can, of which Snakemake merges the mappings key by key."""
    both, without = configuration(), config
    at_the_top = ("apply", "ablation", "contrasts", "ensembles", "models", "env_modules", "missing_runs")
    both |= dict.fromkeys(at_the_top)
    both["downloads"] = {"mirror": None}
    both["recipes"]["tuned"] |= dict.fromkeys(("schedule", "augmentation", "resize"))
    both["recipes"]["tuned"]["search"]["workers"] = None
    both["recipes"]["native"]["schedule"] = {"name": "cosine", "monitor": None, "factor": None, "patience": None}
    both["recipes"]["paper"]["optimizer"]["clipnorm"] = None
    both["recipes"]["gone"] = both["devices"]["gone"] = both["datasets"]["gone"] = None
    both["matrix"][0]["external"] = None
    for key in at_the_top:
        without.pop(key, None)
    without["downloads"] = {}
    del without["recipes"]["tuned"]["search"]["workers"]
    without["recipes"]["native"]["schedule"] = {"name": "cosine"}
    taken, absent = study(**both), Study(without, SCHEMA)
    assert taken.configuration == absent.configuration
    assert list(map(taken.specification, taken.runs)) == list(map(absent.specification, absent.runs))
    assert both["recipes"]["gone"] is None  # what Snakemake merged is left as it is
    assert all(study(robustness=None, export=None).chosen[key].best for key in ("robustness", "models"))


@pytest.mark.parametrize(
    ("path", "place"),
    [((), "top level"), (("recipes", "native"), "recipes.native"), (("matrix", 0), "matrix block 1")],
    ids=str,
)
def test_null_behind_an_unknown_key_is_a_slip(config, path, place):
    reduce(getitem, path, config)["schedle"] = None
    with pytest.raises(HistobenchError, match=rf"{re.escape(place)}: unknown key 'schedle'"):
        study(**config)


def test_a_list_holds_no_null(config):
    config["matrix"][0]["seeds"] = [1, None]
    with pytest.raises(
        HistobenchError, match=r"matrix block 1, seeds item 2: None is not of type 'integer': nothing stands there"
    ):
        study(**config)


def overlaid(name):
    """Return the configuration with an overlay of its folder, merged as Snakemake does."""
    config, overlay = configuration(), yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    return overlay | {
        key: value | overlay.get(key, {}) if isinstance(value, dict) else overlay.get(key, value)
        for key, value in config.items()
    }


def test_the_strong_recipe_is_a_step_of_the_ablation():
    recipes = overlaid("ablation.yaml")["recipes"]
    assert recipes["strong"] == recipes["resized"]
    assert "finetune/resized" in study(**overlaid("ablation.yaml")).ablation


def test_the_strong_study_has_each_contrast_on_a_data_set_and_leaves_nothing_out():
    found = study(**overlaid("strong.yaml"))
    assert len(found.contrasts) == 7 and not found.left_out
    on = {pair: [d for d in ("pcam", "idc") if all(each.on(d) in found.cells for each in pair)]
          for pair in found.contrasts}  # fmt: skip
    assert all("pcam" in datasets for datasets in on.values())
    assert sum("idc" in datasets for datasets in on.values()) == 3


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (["b2/full/paper/cpu", "b6/full/paper"], "contrasts: expected model/mode/recipe/device, found 'b6/full/paper'"),
        (["b2/full/paper/cpu", "b6/full/papr/cpu"], "found 'b6/full/papr/cpu'; did you mean 'b6/full/paper/cpu'"),
        (["b2/full/paper/cpu", "b2/full/timing/cpu"], "cells of the matrix with scores, found 'b2/full/timing/cpu'"),
        (["b2/full/paper/cpu", "vgg19/full/paper/cpu"], "has b2/full/paper/cpu and vgg19/.* on no data set together"),
        (["b2/full/paper/cpu"] * 2, "item 1: expected two different cells; found"),
        (["b2/full/paper/cpu"], r"expected two different cells; found \['b2/full/paper/cpu'\]$"),
    ],
)
def test_a_contrast_of_what_is_not_there_is_refused(pair, message):
    matrix = [block(models=["b2", "b6"], recipes=["paper", "timing"]), block(datasets=["idc"], models=["vgg19"])]
    with pytest.raises(HistobenchError, match=message):
        study(matrix=matrix, contrasts=[pair])


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        ("recipes.paper.batch_size", "08", r"'08' is not of type 'integer'; it is text: write 8,"),
        ("recipes.paper.batch_size", "1e2", r"'1e2' is not of type 'integer'; it is text: write 100,"),
        ("recipes.paper.batch_size", "many", r"'many' is not of type 'integer'$"),
        ("recipes.paper.batch_size", "'nan'", r"'nan' is not of type 'integer'$"),
        ("recipes.paper.batch_size", "", r"recipes\.paper: 'batch_size' is a required property"),
        ("recipes.native.augmentation", "d4", r"'d4' is not of type 'array': write it as a list, \[d4\]$"),
        ("recipes.tuned", "", r"recipes: 'tuned' is not defined"),
        ("matrix", "", r"top level: 'matrix' is a required property"),
        ("recipes.paper.jit_compile", "'yes'", r"it is text: write true or false, without quotes"),
        ("recipes.paper.jit_compile", "'True'", r"it is text: write true or false, without quotes"),
        ("recipes.paper.jit_compile", "1", r"1 is not of type 'boolean'$"),
        ("recipes.paper.best_epoch", "off", r"False is not one of"),
        ("recipes.tuned.search.space.learning_rate.values", "[1e-3]", r"found '1e-3'; it is text: write 1\.0e-3,"),
        ("recipes.tuned.search.space.learning_rate.values", "[fast]", r"above 0 \(in float32: .*\), found 'fast'$"),
        ("study", "no", r"study: False is not of type 'string': write it in quotes"),
        ("study", "2024", r"study: 2024 is not of type 'string': write it in quotes"),
        ("study", "2024-01-01", r"study: .* is not of type 'string': write it in quotes"),
        (
            "devices.cpu",
            "{gpu_model: 100}",
            r"devices\.cpu\.gpu_model: 100 is not of type 'string': write it in quotes",
        ),
        ("devices.cpu", "{environment: ../envs/jax}", r"name of a file in envs/, without its folder.*'\.\./envs/jax'"),
        (
            "matrix.0.models",
            "[b2, no]",
            r"matrix block 1, models item 2: False is not of type 'string': write it in quotes",
        ),
        ("matrix.0.seeds", "[1.0]", r"configuration: matrix block 1, seeds item 1: 1\.0 is not of type 'integer'"),
        ("matrix.0.seeds", "['1']", r"'1' is not of type 'integer'; it is text: write 1,"),
        # What --config makes of values whose braces don't match.
        ("recipes", "'{paper: {epochs: 3}'", r"is not of type 'object', but text: its braces or quotes don't match"),
        ("downloads", "'{mirror: /a/{b}/c}'", r"is not of type 'object', but text: its braces or quotes don't match"),
        ("downloads", "/mirror", r"downloads: '/mirror' is not of type 'object'$"),
    ],
)
def test_a_value_of_another_type_is_told_how_to_write_where_that_is_clear(config, place, text, message):
    *folders, key = (int(part) if part.isdigit() else part for part in place.split("."))
    config["recipes"]["tuned"]["search"]["space"]["learning_rate"] = {"values": [0.1]}
    reduce(getitem, folders, config)[key] = value_of(text)
    with pytest.raises(HistobenchError, match=message):
        study(**config)


@pytest.mark.parametrize("name", ["logs", "data", "Data", "downloads", "simulated", "slurm", "prepare", "README.md"])
def test_a_study_takes_no_name_that_all_studies_share(name):
    with pytest.raises(HistobenchError, match=f"study: '{name}' is taken by what all studies share"):
        study(study=name)


def test_every_folder_that_studies_share_is_reserved():
    shared = {Path(path).parts[1] for path in (paths.DATA, paths.DOWNLOADS, paths.SIMULATED, paths.WEIGHTS, paths.LOGS)}
    for profile in (ROOT / "profiles").glob("*/config.yaml"):
        options = yaml.safe_load(profile.read_text(encoding="utf-8"))
        shared |= {Path(value).parts[1] for value in options.values() if str(value).startswith("results/")}
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        shared |= set(re.findall(r"\{paths\.LOGS\}/(\w+)", rules.read_text(encoding="utf-8")))
    assert {"slurm", "data", "prepare"} < shared <= set(paths.RESERVED)


def test_a_source_does_not_take_the_folder_of_weights(config):
    config["sources"]["weights"] = config["sources"]["idc"]
    with pytest.raises(
        HistobenchError, match=r"sources\.weights: results/downloads/weights is for the weights of models"
    ):
        study(**config)


@pytest.mark.parametrize("name", ["x" * 51, "x" * 300, "a b", "a{b}", "a/b", "..", "-n", "", "käse", "line\n"])
@pytest.mark.parametrize("block", ["study", "sources", "datasets", "models", "recipes", "devices"])
def test_a_name_that_cannot_stand_in_a_path(config, block, name):
    named = {name: next(iter(config[block].values()))} if block not in ("study", "models") else {name: {}}
    config[block] = name if block == "study" else config.get(block, {}) | named
    found = re.escape(repr(name))
    with pytest.raises(HistobenchError, match=rf"{block}: expected at most 50 letters, digits, .*; found {found}"):
        study(**config)


def test_a_long_name_is_one():
    assert study(study="x" * 50).name == "x" * 50


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({}, "it needs patches of at least 80 px, not of 50 px; see `resize`"),
        ({"resize": 88}, "it needs patches of a multiple of 16 px, not of 88 px; see `resize`"),
        ({"resize": 96, "dropout": 0.5}, "it has no dense layer but its output: dropout is for others"),
        ({"resize": 96}, ""),
    ],
)
def test_p4m_takes_sides_that_keep_its_symmetry_and_no_dense_layer(recipe, reason):
    known = configuration()["recipes"]["paper"]
    made = study(
        recipes={"paper": known | recipe},
        matrix=[
            {
                "datasets": ["idc"],
                "models": [model],
                "modes": ["full"],
                "recipes": ["paper"],
                "devices": ["cpu"],
                "seeds": [1],
            }
            for model in ("p4m", "b6")
        ],
    )
    assert made.left_out.get(Cell("idc", "p4m", "full", "paper", "cpu"), "") == reason


OWN = {"application": "Xception", "preprocessing": "tf", "smallest_input": 71}


@pytest.mark.parametrize("path", ["/data/{run}/own", "own}", "a\nb", "", "/data/own\n"])
def test_a_path_that_snakemake_takes_for_a_pattern(config, path):
    config["sources"]["mine"] = {"format": "folder", "path": path, "patch_size": 50}
    with pytest.raises(
        HistobenchError,
        match=r"sources\.mine\.path: expected a path without braces or angle brackets in it, which Snakemake",
    ):
        study(**config)


@pytest.mark.parametrize("key", ["path", "url"])
@pytest.mark.parametrize("path", ["/data/{x}.h5", "https://host/w}.h5", "a/", "a\nb.h5"])
def test_weights_whose_name_snakemake_takes_for_a_pattern(path, key):
    with pytest.raises(
        HistobenchError, match=rf"models\.own\.weights\.{key}: expected a path or an address that ends in"
    ):
        study(models={"own": OWN | {"weights": {key: path}}})


def test_braces_where_snakemake_does_not_see_them():
    weights = {"path": "/data/{x}/w.h5"}
    made = study(models={"own": OWN | {"weights": weights}}, downloads={"mirror": "/data/{x}"})
    assert list(made.weights_files())[-1] == "w.h5"


@pytest.mark.parametrize("digest", ["a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", ""])
def test_a_digest_that_is_none(config, digest):
    config["sources"]["idc"]["files"] = {"cases_val.txt": {"sha256": digest}}
    where = r"sources\.idc\.files\.cases_val\.txt\.sha256"
    with pytest.raises(HistobenchError, match=rf"{where}: expected 64 hexadecimal digits; found"):
        study(**config)


def test_a_digest_in_capitals_is_one(config):
    config["sources"]["idc"]["files"] = {"cases_val.txt": {"sha256": "A" * 64, "md5": "B" * 32}}
    assert study(**config).sources["idc"].files["cases_val.txt"].sha256 == "A" * 64


def test_levels_in_one_key_are_told_how_to_write(config):
    config["recipes.paper.epochs"] = 3
    message = r"top level: unknown key 'recipes\.paper\.epochs'; recipes is a mapping of its own: write a line for each"
    with pytest.raises(HistobenchError, match=message):
        study(**config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: a\nmatrix: []\nstudy: b\n", "line 3: study stands in line 1 already"),
        ("recipes:\n  a: {epochs: 3}\n  b: {}\n  a: {}\n", r"line 4: recipes\.a stands in line 2 already"),
        ("matrix:\n- models: [b2]\n  seeds: [1]\n  models: [b6]\n", r"line 4: matrix\.models stands in line 2"),
        ("a: &x\n  b: 1\nc:\n  <<: *x\n  d: 1\n  'd': 2\n", r"line 6: c\.d stands in line 5"),
    ],
)
def test_a_key_that_stands_twice(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(HistobenchError, match=rf"mine\.yaml, {message}"):
        check_keys(path)


@pytest.mark.parametrize(
    "text", ["a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: [{b: 1}, {b: 2}]\n", '{"a": {"b": [1]}}', "", "a:"]
)
def test_keys_that_stand_once(tmp_path, text):
    (tmp_path / "mine.yaml").write_text("\ufeff" + text, encoding="utf-8")
    check_keys(tmp_path / "mine.yaml")


def test_two_models_cannot_share_a_weights_file_with_different_contents():
    own = {"application": "Xception", "preprocessing": "tf", "smallest_input": 71}
    models = {
        "one": own | {"weights": {"path": "a/w.h5", "sha256": "0" * 64}},
        "two": own | {"weights": {"path": "b/w.h5", "sha256": "1" * 64}},
    }
    with pytest.raises(HistobenchError, match=r"two models name different weights files called 'w\.h5'"):
        study(models=models).weights_files()


def test_a_configured_hash_replaces_the_published_ones(config):
    published = study().sources["pcam"].files
    name = next(iter(published))
    config["sources"]["pcam"]["files"] = {name: {"bytes": 5, "sha256": "a" * 64}}
    assert study(**config).sources["pcam"].files[name] == Remote(published[name].url, 5, "a" * 64)


def test_what_tables_call_the_patches(config):
    config["sources"]["pcam"]["expected"] = {"train": 10, "valid": 10, "test": 10}
    config["sources"]["mine"] = {"format": "folder", "path": "patches", "patch_size": 64}
    simulate = {"seed": 1, "patients": {"train": 1, "valid": 1, "test": 1}, "patches_per_patient": 9}
    config["sources"]["fake"] = {"format": "idc", "simulate": simulate}
    sources = study(**config).sources
    assert {name: source.patches for name, source in sources.items()} == {
        "pcam": "subset",
        "idc": "published",
        "mine": "own",
        "fake": "simulated",
    }


def test_what_a_result_does_not_depend_on_is_not_in_its_specification(config):
    config["devices"]["a100"]["gpu_model"] = "nvidia_a100"
    config["models"] = {"mobilenet": {"name": "MN"}}
    config["recipes"]["paper"] |= {"tuned_from": "native", "timing_only": True}
    before, after = study(), study(**config)
    run = next(run for run in before.runs if run.model == "mobilenet")
    assert before.specification(run) == after.specification(run)
    config["recipes"]["paper"]["epochs"] = 14
    assert study(**config).specification(run) != before.specification(run)


def test_a_model_by_configuration_alone():
    own = {"application": "Xception", "preprocessing": "tf", "smallest_input": 71, "weights": "random"}
    made = study(models={"xception": own}, matrix=[block(models=["xception"], modes=["tl", "full"])])
    assert [run.mode for run in made.runs] == ["tl", "full"]
    assert made.models["xception"].name == "Xception"
    assert made.models["xception"].weights_origin == "random"
    too_small = "it needs patches of at least 71 px, not of 50 px; see `resize`"
    assert made.why_not(Cell("idc", "xception", "full", "paper", "a100")) == too_small


def test_scratch_takes_no_pretrained_weights():
    made = study(matrix=[block(models=["b2", "mobilenet"], modes=["full", "scratch"])])
    origins = [(run.model, run.mode, made.specification(run)["model"]["weights_origin"]) for run in made.runs]
    assert origins == [("b2", "full", ""), ("mobilenet", "full", "ImageNet"), ("mobilenet", "scratch", "scratch")]


def test_inceptionv3_runs_on_idc_by_a_recipe_that_resizes(config):
    config["recipes"]["resized"] = config["recipes"]["paper"] | {"resize": 75}
    config["matrix"] = [block(datasets=["idc"], models=["inceptionv3"], recipes=["paper", "resized"])]
    made = study(**config)
    assert [run.recipe for run in made.runs] == ["resized"]
    assert made.specification(made.runs[0])["input"] == {"preprocessing": "unit", "side": 75}
    assert made.left_out_in_words() == [
        "Left out: full of InceptionV3 on idc by paper: it needs patches of at least 75 px, not of 50 px; see `resize`."
    ]


def test_paper_and_native_scaling_stand_side_by_side():
    made = study(matrix=[block(models=["densenet121"], recipes=["paper", "native"])])
    assert [made.specification(run)["input"]["preprocessing"] for run in made.runs] == ["unit", "torch"]


def test_the_default_has_baselines_on_features_that_are_extracted_anyway():
    made = study()
    runs = [run for run in made.runs if run.recipe in ("linear", "knn")]
    assert {made.recipes[run.recipe].get("dense_units") for run in runs} == {0, None}
    extracted = {
        (run.dataset, run.model, run.device) for run in made.runs if run.recipe == "paper" and run.mode == "tl"
    }
    assert {(run.dataset, run.model, run.device) for run in runs} < extracted
    assert {recipes.scaling(made.recipes[run.recipe]) for run in runs} == {"paper"}
    assert {submission.group(made, run)[1] for run in runs} == {submission.HEADS}
    # They stand for no mode where one AUC is needed.
    first = {(run.dataset, run.model, run.mode): run for run in reversed(made.runs)}
    assert not {run.recipe for run in first.values()} & {"linear", "knn"}


def test_classifiers_of_features_are_for_frozen_backbones():
    every = ["tl", "full", "scratch", "finetune"]
    made = study(matrix=[block(models=["b2", "vgg19"], modes=every, recipes=["linear", "knn"])])
    assert [(run.model, run.mode, run.recipe) for run in made.runs] == [
        ("vgg19", "tl", "linear"),
        ("vgg19", "tl", "knn"),
    ]
    reasons = {(cell.mode, cell.recipe): why for cell, why in made.left_out.items() if cell.model == "vgg19"}
    assert "mode `tl` alone" in reasons["full", "knn"]
    assert "`standardize` is for heads on cached features" in reasons["scratch", "linear"]


def test_no_dense_layer_is_for_models_with_a_backbone(config):
    config["recipes"]["short"] = config["recipes"]["native"] | {"dense_units": 0}
    matrix = [block(models=["b6", "vgg19"], modes=["tl", "full", "finetune"], recipes=["short"])]
    made = study(recipes=config["recipes"], matrix=matrix)
    assert [(run.model, run.mode) for run in made.runs] == [("vgg19", mode) for mode in ("tl", "full", "finetune")]
    assert "is for models with a backbone" in made.left_out[Cell("pcam", "b6", "full", "short", "cpu")]
    kinds = {cell["mode"]: cell["classifier"] for cell in made.asked_for({}) if cell["model"] == "vgg19"}
    assert kinds == {"tl": "linear head", "full": "CNN", "finetune": "CNN"}
    searched = config["recipes"]["short"] | {"search": {"space": {"dense_units": {"values": [16, 64]}}}}
    assert recipes.classifier(searched, "tl") == "dense head"


def test_a_run_of_neighbours_depends_on_its_recipe_and_the_features_alone():
    spec = study().specification(Run("pcam", "vgg19", "tl", "knn", "a100", 1))
    assert spec["recipe"] == {
        "transfer": "cached",
        "knn": {"n_neighbors": 20, "metric": "cosine"},
        "input_scaling": "paper",
        "standardize": True,
    }
    assert spec["input"] is None


def test_what_recipes_of_before_said_is_what_their_runs_depend_on():
    """As it was before linear heads: a key more would train them again."""
    spec = study().specification(Run("pcam", "vgg19", "tl", "paper", "a100", 1))
    assert spec["recipe"] == {
        "transfer": "cached",
        "epochs": 15,
        "batch_size": 32,
        "optimizer": {"name": "adam", "learning_rate": 0.001},
        "input_scaling": "paper",
        "best_epoch": "val_accuracy",
    }


def test_fine_tuning_needs_a_recipe_that_says_how():
    made = study(matrix=[block(models=["b2", "vgg19"], modes=["finetune"], recipes=["paper", "native"])])
    assert [(run.model, run.recipe) for run in made.runs] == [("vgg19", "native")]
    assert made.left_out_in_words() == [
        "Left out: finetune of B2 on pcam by paper, native: it has no pretrained backbone to transfer from.",
        "Left out: finetune of VGG19 on pcam by paper: the recipe does not say `finetune`.",
    ]


def test_a_run_does_not_depend_on_what_its_recipe_says_for_other_modes(config):
    config["recipes"]["native"]["finetune"]["head_epochs"] = 3
    config["recipes"]["native"]["transfer"] = "end_to_end"
    before, after = study(), study(**config)
    changed = {}
    for mode in ("tl", "full", "scratch", "finetune"):
        run = Run("pcam", "vgg19", mode, "native", "cpu", 1)
        changed[mode] = before.specification(run) != after.specification(run)
    assert changed == {"tl": True, "full": False, "scratch": False, "finetune": True}


def test_augmented_patches_are_not_cached(config):
    config["recipes"]["turned"] = config["recipes"]["paper"] | {"augmentation": ["d4"]}
    del config["recipes"]["turned"]["transfer"]
    made = study(**config)
    assert [made.cached(*names) for names in (("tl", "paper"), ("tl", "turned"), ("full", "paper"))] == [1, 0, 0]
    assert made.specification(Run("pcam", "vgg19", "tl", "turned", "cpu", 1))["recipe"]["transfer"] == "end_to_end"


def test_two_models_of_one_name_in_print_are_refused():
    twin = {"application": "MobileNet", "preprocessing": "tf", "smallest_input": 32, "weights": "random"}
    both = [block(models=["mobilenet", "twin"])]
    with pytest.raises(HistobenchError, match=r"mobilenet and twin are both called 'MobileNet'.*models\.twin\.name"):
        study(models={"twin": twin}, matrix=both)
    assert len(study(models={"twin": twin | {"name": "Twin"}}, matrix=both).runs) == 2
    # One that no block names does no harm.
    assert study(models={"twin": twin}, matrix=[block(models=["twin"])]).runs


def test_what_was_asked_for_keeps_the_order_of_the_matrix_with_gaps_and_cells_that_cannot_run():
    made = study(matrix=[block(models=["b2"], modes=["tl", "full"], seeds=[1, 2]), block(recipes=["timing"])])
    gaps = {made.runs[0]: "not run yet"}
    names = ("mode", "recipe", "seeds", "left_out", "timing_only", "gap")
    assert [tuple(cell[name] for name in names) for cell in made.asked_for(gaps)] == [
        ("tl", "paper", 2, True, False, "left out: it has no pretrained backbone to transfer from"),
        ("full", "paper", 2, False, False, "seed 1: not run yet"),
        ("full", "timing", 1, False, True, ""),
    ]
    both = dict.fromkeys(made.runs[:2], "not run yet")
    assert made.asked_for(both)[1]["gap"] == "not run yet"


@pytest.mark.parametrize(
    ("environment", "backend"),
    [("jax", "jax"), ("jax-site", "jax"), ("tensorflow", "tensorflow"), ("tensorflow-k80", "tensorflow")],
)
def test_the_name_of_an_environment_says_its_backend(environment, backend):
    assert devices.backend({"environment": environment}) == backend
