"""The configuration: what it makes, and what it says of what it cannot make."""

from functools import reduce
from operator import getitem

import pytest

from histobench.core.cells import Cell, Run
from histobench.core.errors import HistobenchError
from histobench.core.files import Remote
from support.paper import configuration, study


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
        "Left out: tl, full of InceptionV3 on idc by paper: it needs patches of at least 75 px, not of 50 px.",
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
        ("study", "a b", r"study: 'a b' must be letters, digits"),
        ("matrix.0.models", ["b2", "resnet5"], r"matrix block 1, models: 'resnet5'.*did you mean 'resnet50'\?"),
        ("matrix.0.datasets", ["pcam2"], r"matrix block 1, datasets: 'pcam2'.*did you mean 'pcam'\?"),
        ("sources.pcam.format", "pcm", r"sources\.pcam\.format: 'pcm'.*did you mean 'pcam'\?"),
        ("sources.idc.simulate", {"seed": 1, "patients": 9, "patches_per_patient": 9}, "patients by split"),
        ("sources.idc.simulate", {"seed": 1, "patients": {"train": 1}}, "'valid' is a req"),
        ("sources", {"mine": {"format": "folder", "simulate": {"seed": 1}}}, "format folder cannot be simulated"),
        ("matrix.0.modes", ["transfer"], r"matrix block 1, modes: 'transfer'.*known: tl, full, scratch"),
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
        ("models", {"b2": {"weights": {"path": "/w{1}/x.h5"}}}, r"b2\.weights\.path: .* without braces"),
        ("sources.pcam.files", {"train_x.gz": {"bytes": 1}}, r"sources\.pcam\.files: 'train_x\.gz' is not"),
        ("sources.pcam.expected", {"patients": 3}, "patients does not go with format pcam"),
        ("sources.pcam.simulate", {"seed": 1}, r"simulate: format pcam takes patches by split, seed, sl"),
        ("recipes.paper.augmentation", ["stains"], r"recipes\.paper\.augmentation: 'stains'.*did you mean 'stain'\?"),
        ("recipes.tuned.tuned_from", "papr", r"recipes\.tuned\.tuned_from: 'papr'.*did you mean 'paper'"),
        ("recipes.paper.optimizer.name", "adm", r"recipes\.paper\.optimizer\.name: Keras .* has no 'adm'"),
        ("recipes.paper.optimizer.beta_1", "0.9", r"recipes\.paper\.optimizer\.beta_1: '0\.9' is not of type"),
        ("recipes.paper.augmentation", ["d4"], r"recipes\.paper: `transfer: cached`.*`transfer: end_to_end`"),
        ("recipes.native.finetune.head_epochs", 15, r"native\.finetune\.head_epochs: 15 of 15 epochs leave none"),
        ("recipes.native.finetune.upper_layers", 1.5, r"native\.finetune\.upper_layers: 1\.5 is greater"),
        ("models", {"mine": {"application": "X"}}, r"models\.mine is not in .*needs preprocessing, smallest_i"),
        ("models", {"b2": {"weights": "random"}}, r"models\.b2\.weights: B2 has no pretrained backbone"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_known(config, place, value, message):
    *folders, key = (int(part) if part.isdigit() else part for part in place.split("."))
    reduce(getitem, folders, config)[key] = value
    with pytest.raises(HistobenchError, match=message):
        study(**config)


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
    too_small = "it needs patches of at least 71 px, not of 50 px"
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
        "Left out: full of InceptionV3 on idc by paper: it needs patches of at least 75 px, not of 50 px."
    ]


def test_paper_and_native_scaling_stand_side_by_side():
    made = study(matrix=[block(models=["densenet121"], recipes=["paper", "native"])])
    assert [made.specification(run)["input"]["preprocessing"] for run in made.runs] == ["unit", "torch"]


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
