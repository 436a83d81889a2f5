"""Table 2: seconds per epoch beside the published ones, and what is compared with what."""

import numpy as np
import pandas as pd
import pytest

from histobench.catalogue import CATALOGUE
from histobench.results import claims, paper
from histobench.results.speed import SPEED, for_claims, notes, speed, timed
from support.project import ROOT

PUBLISHED = paper.read(ROOT / "config" / "paper")
NAMES = {key: model.name for key, model in CATALOGUE.items()}
CARDS = ["k80", "p100", "v100", "a100"]
CARD_FACTS = (
    PUBLISHED.speed.drop_duplicates("device").set_index("device")[["year", "cuda_cores", "gflops"]].to_dict("index")
)
TABLE2 = [("b2", "full"), ("b6", "full"), ("inceptionv3", "tl"), ("inceptionv3", "full")]


def cell(model="b2", mode="full", device="a100", **changes):
    """Return one row of cells.csv."""
    return {
        "dataset": "pcam",
        "format": "pcam",
        "model": model,
        "name": NAMES[model],
        "mode": mode,
        "recipe": "timing",
        "device": device,
        "gpu": device != "cpu",
        **CARD_FACTS.get(device, {"year": "", "cuda_cores": "", "gflops": ""}),
        "seeds": 1,
        "gap": "",
        "left_out": False,
        "end_to_end": True,
        "timing_only": True,
        "tuned_from": "",
    } | changes


def run(model="b2", mode="full", device="a100", seconds=(20.0, 5.0), **changes):
    """Return one row of runs.csv; seconds are those of training and of validation."""
    row = {
        "dataset": "pcam",
        "model": model,
        "mode": mode,
        "recipe": "timing",
        "device": device,
        "seed": 1,
        "transfer": "end_to_end" if mode == "tl" else "",
        "data_differs": "",
        "recipe_differs": "epochs 4 instead of 15",
        "steps_differ": "",
        "weights_differ": "",
        "n_train": 262144,
        "n_valid": 32768,
        "epochs": 4,
        "collapsed": False,
        "training_seconds_per_epoch": seconds[0],
        "validation_seconds_per_epoch": seconds[1],
    } | changes
    names = [str(row[name]) for name in ("dataset", "model", "mode", "recipe", "device")]
    return row | {"folder": f"{'/'.join(names)}/seed-{row['seed']}"}


def table(runs, cells):
    """Return Table 2 by (device, model key, mode); runs may be none."""
    columns = list(run())
    found = speed(pd.DataFrame(runs, columns=columns), pd.DataFrame(cells), PUBLISHED.speed)
    assert list(found) == SPEED
    return found


def only(found):
    assert len(found) == 1
    return found.iloc[0]


def by_device(found):
    assert not found["device"].duplicated().any()
    return found.set_index("device")


def seconds_of_the_paper():
    """Table 2 of the paper as if it were our runs: nine tenths of an epoch training, the rest validation."""
    return [
        run(row.model, row.mode, row.device, (row.seconds_per_epoch * 0.9, row.seconds_per_epoch * 0.1))
        for row in PUBLISHED.speed.itertuples()
    ]


def whole(**changes):
    return [cell(model, mode, device, **changes) for model, mode in TABLE2 for device in CARDS]


def test_the_published_table_alone():
    found = table([], whole(gap="not run yet")).set_index(["key", "mode", "device"])
    assert len(found) == 16
    assert (found["gap"] == "not run yet").all()
    measured = ["training_seconds", "validation_seconds", "seconds", "against_oldest", "against_simplest", "difference"]
    assert found[[*measured, "n_train", "n_valid"]].isna().all(axis=None)
    assert (found[["seeds", "not_comparable", "runs"]] == [0, "", ""]).all(axis=None)
    assert found.loc[("b2", "full", "k80"), "published_seconds"] == 325
    oldest, simplest = found["published_against_oldest"], found["published_against_simplest"]
    # Ratios of the printed seconds.
    assert oldest[("b2", "full", "a100")] == 12.5  # 325 / 26
    assert oldest[("inceptionv3", "tl", "v100")] == pytest.approx(468 / 98)
    assert (oldest.xs("k80", level="device") == 1).all()
    assert simplest[("inceptionv3", "full", "k80")] == pytest.approx(1333 / 325)
    assert simplest[("inceptionv3", "tl", "a100")] == pytest.approx(100 / 26)
    assert (simplest["b2"] == 1).all()


def test_a_card_is_as_the_paper_prints_it():
    found = by_device(table([], [cell(device=device) for device in ("k80", "cpu", "a100")]))
    assert found.loc["k80", ["year", "cuda_cores", "gflops"]].tolist() == ["2014", 4992, 2400]
    assert found.loc["a100", ["year", "cuda_cores", "gflops"]].tolist() == ["2020", 6912, 8000]
    assert found.loc["cpu", ["year", "cuda_cores", "gflops", "published_seconds"]].isna().all()


def test_the_papers_own_seconds_give_its_ratios_and_no_difference():
    found = table(seconds_of_the_paper(), whole())
    assert found["seconds"].tolist() == pytest.approx(found["published_seconds"].tolist())
    assert found["difference"].tolist() == pytest.approx([0] * 16, abs=1e-9)
    for ratio in ("against_oldest", "against_simplest"):
        assert found[ratio].tolist() == pytest.approx(found[f"published_{ratio}"].tolist())
    assert (found["not_comparable"] == "").all()


def test_training_and_validation_stand_apart():
    found = only(table([run(seconds=(20.0, 5.5))], [cell()]))
    assert found[["training_seconds", "validation_seconds", "seconds"]].tolist() == [20, 5.5, 25.5]
    assert found["difference"] == pytest.approx(25.5 - 26)
    assert found[["n_train", "n_valid"]].tolist() == [262144, 32768]
    assert (found["key"], found["model"]) == ("b2", NAMES["b2"])


def test_the_oldest_card_is_the_oldest_that_was_measured():
    cells = [cell(device=device) for device in ("cpu", "a100", "v100", "p100", "k80")]
    cells[-1]["gap"] = "not run yet"
    seconds = {"cpu": 900.0, "a100": 20.0, "v100": 45.0, "p100": 60.0}
    found = by_device(table([run(device=device, seconds=(s, 0.0)) for device, s in seconds.items()], cells))
    assert found.loc[["a100", "v100", "p100"], "against_oldest"].tolist() == pytest.approx([3, 60 / 45, 1])
    assert found.loc[["cpu", "k80"], "against_oldest"].isna().all()
    assert found.loc["a100", "published_against_oldest"] == 12.5  # of the paper's oldest


@pytest.mark.parametrize("other", [{"dataset": "small"}, {"recipe": "large-batch"}, {"model": "b6"}, {"mode": "tl"}])
def test_cards_are_compared_by_one_data_set_model_mode_and_recipe(other):
    pairs = [{"device": "k80", **other}, {"device": "p100"}, {"device": "a100"}]
    seconds = [(500.0, 0.0), (60.0, 0.0), (20.0, 0.0)]
    runs = [run(**pair, seconds=each) for pair, each in zip(pairs, seconds, strict=True)]
    found = by_device(table(runs, [cell(**pair) for pair in pairs]))
    assert found["against_oldest"].tolist() == [1, 1, 3]


def test_models_are_compared_with_b2_on_the_same_device_and_data_by_the_same_recipe():
    cells = [
        cell("b2", "full", "a100"),
        cell("b2", "full", "cpu"),
        cell("b2", "full", "a100", dataset="small"),
        cell("inceptionv3", "tl", "a100"),
        cell("inceptionv3", "tl", "cpu"),
        cell("inceptionv3", "tl", "v100"),
        cell("inceptionv3", "tl", "a100", recipe="large-batch"),
        cell("b2", "scratch", "v100"),
    ]
    of_run = ("dataset", "model", "mode", "recipe", "device")
    runs = [
        run(**{name: each[name] for name in of_run}, seconds=(took, 0.0))
        for each, took in zip(cells, [20.0, 100.0, 1.0, 50.0, 700.0, 60.0, 30.0, 40.0], strict=True)
    ]
    found = table(runs, cells)["against_simplest"].tolist()
    assert found[:5] == [1, 1, 1, 2.5, 7]
    assert np.isnan(found[5:]).all()


def test_runs_on_cached_features_never_enter():
    cells = [cell("inceptionv3", "tl"), cell("inceptionv3", "tl", recipe="paper", end_to_end=False)]
    runs = [run("inceptionv3", "tl"), run("inceptionv3", "tl", recipe="paper", transfer="cached", seconds=(1.0, 1.0))]
    assert only(table(runs, cells))["seconds"] == 25
    cells = [each | {"timing_only": False} for each in cells]
    assert only(table(runs, cells))["recipe"] == "timing"
    # Nor a run from before its recipe was changed.
    late = run("inceptionv3", "tl", seed=2, transfer="cached", seconds=(1.0, 1.0))
    assert only(table([runs[0], late], cells))[["seconds", "seeds"]].tolist() == [25, 1]


def test_where_recipes_are_there_for_their_seconds_others_stay_out():
    cells = [cell(recipe="paper", timing_only=False), cell(), cell("vgg19", recipe="paper", timing_only=False)]
    assert table([], cells)["recipe"].tolist() == ["timing"]
    others = [each for each in cells if not each["timing_only"]]
    assert table([], others)["key"].tolist() == ["b2", "vgg19"]


def test_a_cell_that_cannot_run_has_no_row():
    left_out = cell("b2", "tl", left_out=True, gap="left out: it has no pretrained backbone to transfer from")
    assert table([], [left_out, cell()])["mode"].tolist() == ["full"]
    assert table([], [left_out]).empty


def test_seeds_are_averaged_and_missing_ones_told():
    runs = [run(seed=1, seconds=(20.0, 4.0)), run(seed=2, seconds=(30.0, 5.0), collapsed=True)]
    found = only(table(runs, [cell(seeds=3, gap="seed 3: not run yet")]))
    assert found[["training_seconds", "validation_seconds", "seconds"]].tolist() == [25, 4.5, 29.5]
    assert found[["seeds", "gap"]].tolist() == [2, "seed 3: not run yet"]
    assert found["runs"] == " ".join(each["folder"] for each in runs)
    assert found["difference"] == pytest.approx(29.5 - 26)


def test_a_single_epoch_has_no_seconds_worth_telling():
    found = only(table([run(epochs=1)], [cell()]))
    assert pd.isna(found["seconds"])
    assert "start-up" in found["gap"]
    assert (found["seeds"], found["not_comparable"]) == (1, "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data_differs": "a subset of the patches"}, "a subset of the patches"),
        ({"steps_differ": "batch_size 64 instead of 32"}, "batch_size 64 instead of 32"),
        (
            {"data_differs": "simulated patches", "steps_differ": "augmentation d4"},
            "simulated patches; augmentation d4",
        ),
        ({"weights_differ": "random weights"}, ""),
        ({"recipe_differs": "epochs 4 instead of 15, best_epoch last instead of val_accuracy"}, ""),
    ],
)
def test_a_difference_stands_only_where_data_and_steps_are_the_papers(changes, why):
    found = only(table([run(seed=seed, **changes) for seed in (1, 2)], [cell(seeds=2)]))
    assert found["not_comparable"] == why
    assert pd.isna(found["difference"]) == (why != "")
    assert found[["seconds", "published_seconds"]].tolist() == [25, 26]


@pytest.mark.parametrize(
    "names", [{"model": "vgg19"}, {"device": "cpu"}, {"mode": "scratch"}, {"dataset": "idc", "format": "idc"}]
)
def test_where_nothing_is_published_nothing_is_compared(names):
    of_run = {name: value for name, value in names.items() if name != "format"}
    found = only(table([run(**of_run, data_differs="other data")], [cell(**names)]))
    empty = ["published_seconds", "published_against_oldest", "published_against_simplest", "difference"]
    assert found[empty].isna().all()
    assert found["not_comparable"] == ""
    assert found["seconds"] == 25


def test_rows_keep_the_order_of_the_matrix():
    cells = [cell("inceptionv3", device="v100"), cell("b2", device="k80"), cell("b6"), cell("b2", device="cpu")]
    found = table([run("b6")], cells)
    assert list(zip(found["key"], found["device"], strict=True)) == [
        ("inceptionv3", "v100"),
        ("b2", "k80"),
        ("b6", "a100"),
        ("b2", "cpu"),
    ]


def test_claims_of_the_papers_own_seconds():
    ours, epoch = for_claims(table(seconds_of_the_paper(), whole()))
    assert set(ours) == {"device", "gpu", "model", "mode", "seconds_per_epoch"}
    assert epoch == claims.PCAM
    keys = ["device", "model", "mode"]
    beside = PUBLISHED.speed.merge(ours, on=keys, suffixes=("", "_ours"), validate="one_to_one")
    assert beside["seconds_per_epoch_ours"].tolist() == pytest.approx(PUBLISHED.speed["seconds_per_epoch"].tolist())
    of_the_paper = claims.of_the_paper(PUBLISHED, NAMES)
    assert claims.cards_differ(of_the_paper) == claims.cards_differ(
        claims.Tables(of_the_paper.performance, ours, PUBLISHED.sizes, PUBLISHED.tuned, NAMES, [], epoch)
    )


def test_claims_take_measured_seconds_on_pcam_alone():
    cells = [
        cell(dataset="idc", format="idc"),
        cell(dataset="unfinished", gap="not run yet"),
        cell(),
        cell(recipe="large-batch"),
        cell(device="k80", gap="not run yet"),
        cell(device="k80", recipe="large-batch"),
        cell("b6", recipe="large-batch"),
        cell(device="v100", dataset="small"),
    ]
    of_run = ("dataset", "model", "mode", "recipe", "device")
    runs = [
        run(**{name: each[name] for name in of_run}, seconds=(float(number), 0.0))
        for number, each in enumerate(cells)
        if not each["gap"]
    ]
    # The third alone: one data set and one recipe, that of the first seconds, since ratios compare models.
    assert for_claims(table(runs, cells))[0].to_dict("records") == [
        {"device": "a100", "gpu": True, "model": "b2", "mode": "full", "seconds_per_epoch": 2},
    ]


def test_a_cpu_is_no_card():
    cells = [cell(), cell(device="v100"), cell(device="cpu")]
    runs = [
        run(seconds=(20.0, 6.0)),
        run(device="v100", seconds=(40.0, 12.0)),
        run(device="cpu", seconds=(2600.0, 0.0)),
    ]
    ours, epoch = for_claims(table(runs, cells))
    tables = claims.Tables(PUBLISHED.performance, ours, PUBLISHED.sizes, PUBLISHED.tuned, NAMES, [], epoch)
    assert claims.cards_differ(tables) == (claims.FAILS, "B2 full 2.00")


@pytest.mark.parametrize("cells", [whole(gap="not run yet"), [cell(dataset="idc", format="idc")]])
def test_without_seconds_there_is_nothing_to_claim(cells):
    ours, epoch = for_claims(table([run(dataset="idc")], cells))
    assert epoch == 0
    assert ours.empty
    assert {"device", "model", "mode", "seconds_per_epoch"} <= set(ours)
    tables = claims.Tables(PUBLISHED.performance, ours, PUBLISHED.sizes, PUBLISHED.tuned, NAMES, [], epoch)
    assert claims.cards_differ(tables)[0] == claims.UNTOLD


def test_the_notes_say_what_the_table_holds():
    whole_table = " ".join(notes(table([], whole(gap="not run yet"))))
    for words in ("Bonnet 2024, Table 2", "median of the epochs after the first", "half of one", "GFLOPS", "oldest"):
        assert words in whole_table
    own = " ".join(notes(table([run(device="cpu")], [cell(device="cpu", dataset="mine", format="folder")])))
    assert "median of the epochs after the first" in own
    for words in ("Bonnet", "K80", "oldest"):
        assert words not in own


def test_cells_there_for_their_seconds_go_before_others():
    cells = pd.DataFrame([cell(timing_only=False), cell(end_to_end=False), cell("b6"), cell("vgg19", left_out=True)])
    assert timed(cells)["model"].tolist() == ["b6"]
    assert timed(cells[:2])["model"].tolist() == ["b2"]
