"""Table 2: seconds per epoch beside the published ones, and the comparisons between them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.core.catalogue import CATALOGUE
from histobench.results import collect, paper, printing
from histobench.results.columns import names, read, write_csv
from histobench.results.printing import Table
from histobench.results.tables import claims
from histobench.results.tables.speed import COLUMNS, FIRST, for_claims, in_print, notes, speed, warnings
from support import frames
from support.project import ROOT

PUBLISHED = paper.read(ROOT / "config" / "paper")
NAMES = {key: model.name for key, model in CATALOGUE.items()}
CARDS = ["k80", "p100", "v100", "a100"]
CARD_FACTS = (
    PUBLISHED.speed.drop_duplicates("device").set_index("device")[["year", "cuda_cores", "gflops"]].to_dict("index")
)
TABLE2 = [("b2", "full"), ("b6", "full"), ("inceptionv3", "tl"), ("inceptionv3", "full")]


def cell(model="b2", mode="full", device="a100", **changes):
    """Return one row of cells.csv, of a card of the paper."""
    defaults = {"model_name": NAMES[model], "recipe": "timing", "timing_only": True, **CARD_FACTS.get(device, {})}
    return frames.cell(mode, model, **defaults | {"device": device} | changes)


def run(model="b2", mode="full", device="a100", seconds=(20.0, 5.0), **changes):
    """Return one row of runs.csv; `seconds` are those of training and validation of all epochs after the first."""
    defaults = (
        {"mode": mode, "device": device, "recipe": "timing", "transfer": "end_to_end" if mode == "tl" else ""}
        | {"recipe_differs": "epochs 4 instead of 15", "epochs": 4, "first_epoch_seconds": 60.0}
        | {f"training_seconds_per_epoch{end}": seconds[0] for end in ("", "_low", "_high")}
        | {f"validation_seconds_per_epoch{end}": seconds[1] for end in ("", "_low", "_high")}
        | {"train_patches_per_epoch": 262144, "valid_patches_per_epoch": 32768, "energy_joules_per_epoch": np.nan}
        | {"multiply_adds_forward": 150_000_000, "multiply_adds_trained": 150_000_000, "batch_size": 32}
        | {"precision": "float32", "tf32": np.nan, "jit_compile": False, "peak_device_memory_mib": np.nan}
    )
    return frames.run(model, **defaults | changes)


def table(runs, cells):
    """Return Table 2 by (device, model key, mode); runs may be none."""
    columns = list(run())
    found = speed(pd.DataFrame(runs, columns=columns), pd.DataFrame(cells), PUBLISHED.speed)
    assert list(found) == names(COLUMNS)
    return found


def only(found):
    assert len(found) == 1
    return found.iloc[0]


def by_device(found):
    assert not found["device"].duplicated().any()
    return found.set_index("device")


def timing(*cells):
    """Return Table 2 of cells, given as (changes, seconds of training), without seconds of validation."""
    runs = [run(**names, seconds=(seconds, 0.0)) for names, seconds in cells]
    return table(runs, [cell(**names) for names, _ in cells])


def whole(**changes):
    """Return the cells of Table 2 of the paper."""
    return [cell(model, mode, device, **changes) for model, mode in TABLE2 for device in CARDS]


def cards_differ(table):
    """Return the verdict on the claim that needs nothing but seconds, and its numbers."""
    ours, epoch = for_claims(table)
    return claims.cards_differ(replace(claims.of_the_paper(PUBLISHED, NAMES), speed=ours, epoch=epoch))


def test_the_published_table_alone():
    found = table([], whole(gap="not run yet")).set_index(["model", "mode", "device"])
    assert len(found) == 16
    assert (found["gap"] == "not run yet").all()
    measured = ["training_seconds", "validation_seconds", "seconds", "against_oldest", "against_simplest", "difference"]
    of_card = ["first_epoch_seconds", "patches_per_second", "percent_of_peak", "device_memory_mib", "energy_kilojoules"]
    assert found[[*measured, *of_card, "batch_size", "jit_compile", "n_train", "n_valid"]].isna().all(axis=None)
    texts = ["not_comparable", "runs", "precision", "extrapolated", "peak_precision"]
    assert (found[["seeds", *texts]] == [0, "", "", "", "", ""]).all(axis=None)
    assert found.loc[("b2", "full", "k80"), "published_seconds"] == 325
    oldest, simplest = found["published_against_oldest"], found["published_against_simplest"]
    # Ratios of the printed seconds.
    assert oldest[("b2", "full", "a100")] == 12.5  # 325 / 26
    assert oldest[("inceptionv3", "tl", "v100")] == pytest.approx(468 / 98)
    assert (oldest.xs("k80", level="device") == 1).all()
    assert simplest[("inceptionv3", "full", "k80")] == pytest.approx(1333 / 325)
    assert simplest[("inceptionv3", "tl", "a100")] == pytest.approx(100 / 26)
    assert (simplest["b2"] == 1).all()


def test_the_papers_own_seconds_give_its_ratios_its_claims_and_no_difference():
    # Nine tenths of an epoch are training, the rest validation.
    runs = [
        run(row.model, row.mode, row.device, (row.seconds_per_epoch * 0.9, row.seconds_per_epoch * 0.1))
        for row in PUBLISHED.speed.itertuples()
    ]
    found = table(runs, whole())
    assert found["seconds"].tolist() == pytest.approx(found["published_seconds"].tolist())
    assert found["difference"].tolist() == pytest.approx([0] * 16, abs=1e-9)
    for ratio in ("against_oldest", "against_simplest"):
        assert found[ratio].tolist() == pytest.approx(found[f"published_{ratio}"].tolist())
    assert (found["not_comparable"] == "").all()
    # Claims get the same seconds, and so the paper's verdict.
    ours, epoch = for_claims(found)
    assert set(ours) == {"device", "model", "mode", "seconds_per_epoch"}
    assert epoch == claims.PCAM
    beside = PUBLISHED.speed.merge(ours, on=["device", "model", "mode"], suffixes=("", "_ours"), validate="one_to_one")
    assert beside["seconds_per_epoch_ours"].tolist() == pytest.approx(PUBLISHED.speed["seconds_per_epoch"].tolist())
    assert cards_differ(found) == claims.cards_differ(claims.of_the_paper(PUBLISHED, NAMES))


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
    found = timing(({"device": "k80", **other}, 500.0), ({"device": "p100"}, 60.0), ({"device": "a100"}, 20.0))
    assert found["against_oldest"].tolist() == [1, 1, 3]


def test_models_are_compared_with_b2_on_the_same_device_and_data_by_the_same_recipe():
    tl = {"model": "inceptionv3", "mode": "tl"}
    cells = [({}, 20.0), ({"device": "cpu"}, 100.0), ({"dataset": "small"}, 1.0), (tl, 50.0)]
    cells += [(tl | {"device": "cpu"}, 700.0), (tl | {"device": "v100"}, 60.0), (tl | {"recipe": "large-batch"}, 30.0)]
    cells.append(({"mode": "scratch", "device": "v100"}, 40.0))
    found = timing(*cells)["against_simplest"].tolist()
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


def test_where_recipes_are_there_for_their_seconds_others_stay_out_as_do_cells_that_cannot_run():
    left_out = cell(mode="tl", left_out=True, gap="left out: it has no pretrained backbone to transfer from")
    others = [cell(recipe="paper", timing_only=False), cell("vgg19", recipe="paper", timing_only=False)]
    assert table([], [left_out, *others])["model"].tolist() == ["b2", "vgg19"]
    assert table([], [left_out, *others, cell()])[["mode", "recipe"]].to_numpy().tolist() == [["full", "timing"]]
    assert table([], [left_out]).empty


def ends(training, validation):
    names = [f"{part}_seconds_per_epoch_{end}" for part in ("training", "validation") for end in ("low", "high")]
    return dict(zip(names, (*training, *validation), strict=True))


def test_seeds_are_summed_up_and_missing_ones_told():
    spreads = [ends((19.5, 21.0), (3.9, 5.5)), ends((29.0, 31.0), (4.5, 5.2)), ends((85.0, 95.0), (4.4, 4.6))]
    columns = ["first_epoch_seconds", "seconds", "peak_device_memory_mib", "energy_joules_per_epoch", "tf32"]
    values = [
        (70.0, (20.0, 4.0), 3000, 8000.0, True),
        (50.0, (30.0, 5.0), 3500, 9000.0, False),
        (52.0, (90.0, 4.5), 2000, 20000.0, True),
    ]
    runs = [
        run(seed=seed, **dict(zip(columns, row, strict=True)), **spreads[seed], collapsed=seed == 1)
        for seed, row in enumerate(values)
    ]
    found = only(table(runs, [cell(seeds=4, gap="seed 4: not run yet")]))
    measured = ["first_epoch_seconds", "training_seconds", "validation_seconds", "seconds"]
    assert found[measured].tolist() == [52, 30, 4.5, 34.5]
    assert found[["seeds", "gap"]].tolist() == [3, "seed 4: not run yet"]
    assert found["runs"] == " ".join(each["folder"] for each in runs)
    assert found["difference"] == pytest.approx(34.5 - 26)
    # The spread is that of all epochs of all seeds, and memory the most of any.
    assert found[["training_seconds_low", "training_seconds_high"]].tolist() == [19.5, 95]
    assert found[["validation_seconds_low", "validation_seconds_high"]].tolist() == [3.9, 5.5]
    assert found[["device_memory_mib", "energy_kilojoules"]].tolist() == [3500, 9]
    # What they do not share is not told.
    assert pd.isna(found["tf32"])
    assert (found["batch_size"], found["precision"], found["jit_compile"]) == (32, "float32", False)


def test_a_single_epoch_has_no_seconds_worth_telling():
    single = run(epochs=1, seconds=(np.nan, np.nan), data_differs="a subset")
    found = only(table([single], [cell()]))
    of_later = ["seconds", "training_seconds_low", "patches_per_second", "energy_kilojoules"]
    assert found[of_later].isna().all()
    assert found["first_epoch_seconds"] == 60
    assert "start-up" in found["gap"]
    assert (found["seeds"], found["not_comparable"]) == (1, "")
    # Beside another seed, only its first epoch counts.
    other = run(seed=2, first_epoch_seconds=40.0)
    found = only(table([single, other], [cell(seeds=2)]))
    assert found[["seconds", "first_epoch_seconds", "training_seconds_low"]].tolist() == [25, 50, 20]
    assert "start-up" in found["gap"]


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


PART = {"recipe": "timing-cpu", "train_patches_per_epoch": 2048, "valid_patches_per_epoch": 512}


def test_seconds_of_a_part_are_scaled_to_the_whole_and_say_so():
    spread = ends((1.5, 2.5), (0.5, 1.0))
    part = run(seconds=(2.0, 0.75), **PART, **spread, energy_joules_per_epoch=50.0)
    found = only(table([part], [cell(recipe="timing-cpu")]))
    # 262,144 / 2,048 = 128, 32,768 / 512 = 64.
    names = ["training_seconds", "training_seconds_low", "training_seconds_high"]
    assert found[names].tolist() == [256, 192, 320]
    names = ["validation_seconds", "validation_seconds_low", "validation_seconds_high", "seconds"]
    assert found[names].tolist() == [48, 32, 64, 304]
    assert found["extrapolated"] == "extrapolated from 2,048 of 262,144 training patches"
    assert found["patches_per_second"] == 1024
    assert found[["n_train", "n_valid"]].tolist() == [262144, 32768]
    # What is not known of the whole.
    assert found[["first_epoch_seconds", "energy_kilojoules", "difference"]].isna().all()
    assert (found["published_seconds"], found["not_comparable"]) == (26, "extrapolated seconds")


def test_a_part_of_the_validation_alone_is_a_part():
    found = only(table([run(seconds=(20.0, 0.5), valid_patches_per_epoch=512)], [cell()]))
    assert found[["training_seconds", "validation_seconds"]].tolist() == [20, 32]
    assert found["extrapolated"] == "extrapolated from 512 of 32,768 validation patches"


def test_extrapolated_and_measured_seconds_make_no_ratio():
    part = PART | {"recipe": "timing"}
    runs = [run(device="k80", seconds=(500.0, 0.0)), run("b6", device="a100", seconds=(40.0, 0.0))]
    runs[1:1] = [run(device=card, seconds=(s, 0.0), **part) for card, s in (("p100", 2.0), ("a100", 1.0))]  # 256, 128 s
    cells = [cell(each["model"], device=each["device"]) for each in runs]
    found = table(runs, cells)
    assert found["against_oldest"].tolist() == [1, 1, 2, 1]
    assert found["against_simplest"].tolist()[:3] == [1, 1, 1]
    assert np.isnan(found["against_simplest"][3])


@pytest.mark.parametrize(
    ("words", "peaks", "expected"),
    [
        # 100,000 patches in 10 s, each 2 x (100 + 2 x 50) million operations: 4 TFLOPS.
        ({}, {"float32": 20}, ("float32", 20.0)),
        ({"tf32": False}, {"float32": 20, "tf32": 160}, ("float32", 20.0)),
        ({"tf32": True}, {"float32": 20, "tf32": 160}, ("tf32", 2.5)),
        ({"tf32": True}, {"float32": 20}, ("float32", 20.0)),
        ({"tf32": True, "precision": "mixed_float16"}, {"float32": 20, "tf32": 160, "mixed_float16": 320},
         ("mixed_float16", 1.25)),
        ({"precision": "mixed_bfloat16"}, {"float32": 20, "mixed_bfloat16": 400}, ("mixed_bfloat16", 1.0)),
        ({"precision": "mixed_float16"}, {"float32": 20}, ("", None)),
        ({"tf32": True}, {}, ("", None)),
        # A frozen backbone: a forward pass, 2 TFLOPS.
        ({"multiply_adds_trained": 0}, {"float32": 20}, ("float32", 10.0)),
        # Half of the epochs trained the head alone.
        ({"mode": "finetune"}, {"float32": 20}, ("float32", None)),
    ],
)  # fmt: skip
def test_the_share_of_the_peak_is_that_of_the_precision(words, peaks, expected):
    part = {"n_train": 100_000, "train_patches_per_epoch": 100_000}
    counts = {"multiply_adds_forward": 100_000_000, "multiply_adds_trained": 50_000_000}
    made = run(seconds=(10.0, 3.0), **{**part, **counts, **words})
    of_card = {f"peak_tflops_{rate}": value for rate, value in peaks.items()}
    other = cell("b6", device="v100", peak_tflops_float32=1, peak_tflops_tf32=1, peak_tflops_mixed_float16=1)
    found = table([made], [other, cell(mode=made["mode"], **of_card)]).iloc[1]
    precision, percent = expected
    assert found["patches_per_second"] == 10_000
    assert found["peak_precision"] == precision
    assert found["peak_tflops"] == peaks[precision] if precision else pd.isna(found["peak_tflops"])
    assert found["percent_of_peak"] == pytest.approx(percent) if percent else pd.isna(found["percent_of_peak"])


def test_a_card_without_a_counter_has_no_memory_and_energy_beside_one_that_has_it():
    runs = [run(peak_device_memory_mib=3000, energy_joules_per_epoch=8000.0), run(device="k80")]
    found = by_device(table(runs, [cell(), cell(device="k80")]))
    assert found.loc["a100", "energy_kilojoules"] == 8
    assert found.loc["k80", ["device_memory_mib", "energy_kilojoules"]].isna().all()


@settings(max_examples=25)  # a table each
@given(st.lists(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=14), min_size=1, max_size=4), st.integers(1, 1000))
def test_the_median_lies_within_the_spread_and_a_part_gives_the_rate_of_the_whole(seeds, covered):
    runs = []
    for seed, seconds in enumerate(seeds):
        spread = ends((min(seconds), max(seconds)), (1.0, 1.0))
        runs.append(run(seed=seed, seconds=(float(np.median(seconds)), 1.0), **spread))
    whole = only(table(runs, [cell(seeds=len(seeds))]))
    assert whole["training_seconds_low"] <= whole["training_seconds"] <= whole["training_seconds_high"]
    part = {"n_train": 1000, "train_patches_per_epoch": covered}
    short = only(table([each | part for each in runs], [cell(seeds=len(seeds))]))
    assert short["training_seconds"] == pytest.approx(whole["training_seconds"] * 1000 / covered)
    assert short["patches_per_second"] == pytest.approx(covered / whole["training_seconds"])
    assert (short["extrapolated"] == "") == (covered == 1000)


def test_claims_take_measured_seconds_on_pcam_alone():
    large, unfinished = {"recipe": "large-batch"}, {"gap": "not run yet"}
    cells = [cell(dataset="idc", format="idc"), cell(dataset="unfinished", **unfinished), cell(), cell(**large)]
    cells += [cell(device="k80", **unfinished), cell(device="k80", **large), cell("b6", **large)]
    cells.append(cell(device="v100", dataset="small"))
    runs = [
        run(**{name: each[name] for name in frames.NAMES}, seconds=(float(number), 0.0))
        for number, each in enumerate(cells)
        if not each["gap"]
    ]
    # Only the third: one data set and one recipe, those of the first seconds, since ratios compare models.
    (row,) = for_claims(table(runs, cells))[0].to_dict("records")
    assert row == {"device": "a100", "model": "b2", "mode": "full", "seconds_per_epoch": 2}


def test_claims_take_no_extrapolated_seconds(tmp_path):
    cells = [cell(recipe="timing-cpu", device="cpu"), cell()]
    part = run(device="cpu", **PART)
    assert for_claims(table([part], cells))[1] == 0
    found = table([part, run()], cells)
    assert for_claims(found)[0]["device"].tolist() == ["a100"]
    # The table of claims reads the file.
    write_csv(tmp_path / "speed.csv", found)
    assert for_claims(read(tmp_path / "speed.csv", COLUMNS))[0]["device"].tolist() == ["a100"]


def test_the_files_give_the_same_table(tmp_path):
    cells = [cell(peak_tflops_tf32=160, peak_tflops_float32=20), cell("b6", device="v100")]
    cells.append(cell(device="cpu", recipe="timing-cpu"))
    runs = [run(tf32=True, energy_joules_per_epoch=9000.0), run("b6", device="v100")]
    runs.append(run(device="cpu", jit_compile=True, **PART))
    for name, rows in (("runs", runs), ("cells", cells)):
        write_csv(tmp_path / f"{name}.csv", pd.DataFrame(rows))
    found = speed(*(collect.read(tmp_path / f"{name}.csv") for name in ("runs", "cells")), PUBLISHED.speed)
    expected = table(runs, cells)
    assert expected["peak_precision"].tolist() == ["tf32", "", ""]
    assert expected["tf32"].tolist() == [True, pd.NA, pd.NA]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_a_cpu_is_no_card():
    found = timing(({}, 20.0), ({"device": "v100"}, 40.0), ({"device": "cpu"}, 2600.0))
    assert cards_differ(found) == (claims.FAILS, "B2 full 2.00")
    # Nor do models cost on it what they cost on a card.
    assert for_claims(table([run(device="cpu")], [cell(device="cpu")]))[0].empty


@pytest.mark.parametrize("cells", [whole(gap="not run yet"), [cell(dataset="idc", format="idc")]])
def test_without_seconds_there_is_nothing_to_claim(cells):
    found = table([run(dataset="idc")], cells)
    ours, epoch = for_claims(found)
    assert epoch == 0
    assert ours.empty
    assert {"device", "model", "mode", "seconds_per_epoch"} <= set(ours)
    assert cards_differ(found)[0] == claims.UNKNOWN


def footnotes(found):
    return printing.printed(Table("", found, COLUMNS, footnotes=notes(found)), "speed").footnotes


def test_the_notes_say_what_the_table_holds():
    whole_table = " ".join(footnotes(table([], whole(gap="not run yet"))))
    for words in ("Bonnet 2024, Table 2", "epochs after the first", "gets one of them"):
        assert words in whole_table
    assert "oldest" not in whole_table
    assert "k80 (2014, 4,992 CUDA cores, 2,400 GFLOPS), p100 (2016, " in whole_table
    assert warnings(table([], whole(gap="not run yet"))) == []
    own = " ".join(footnotes(table([run(device="cpu")], [cell(device="cpu", dataset="mine", format="folder")])))
    assert "epochs after the first" in own
    for words in ("Bonnet", "K80", "oldest", "xtrapolated", "peak", "memory", "Energy", "TF32", "Cards"):
        assert words not in own


def test_the_notes_explain_what_was_measured():
    peaks = {"peak_tflops_float32": 20, "peak_tflops_tf32": 160, "peak_tflops_mixed_float16": 320}
    cells = [cell(**peaks), cell(recipe="fast", **peaks), cell(device="cpu", recipe="timing-cpu")]
    cells.append(cell("b6", recipe="unfinished"))
    fast = {"recipe": "fast", "batch_size": 256, "precision": "mixed_float16", "jit_compile": True}
    of_card = {"tf32": True, "peak_device_memory_mib": 900, "energy_joules_per_epoch": 8000.0}
    runs = [run(**of_card), run(**fast, **of_card, steps_differ="batch_size 256"), run(device="cpu", **PART)]
    found = footnotes(table(runs, cells))
    assert (
        "Recipes: timing, batch size 32, float32, no XLA; fast, batch size 256, mixed_float16, XLA; "
        "timing-cpu, batch size 32, float32, no XLA."
    ) in found
    assert "On a100 float32 was multiplied in TF32." in found
    assert not [note for note in found if note.startswith("Keras ran on")]
    assert "Peak rates, TFLOPS: a100 160 (tf32), 320 (mixed_float16)." in found
    extrapolated, incomparable = warnings(table(runs, cells))
    assert extrapolated.startswith("Extrapolated seconds: ")
    assert incomparable == "Not comparable with the published values: fast on pcam (batch_size 256)."
    for words in ("≈ Extrapolated", "% of peak", "GPU, MiB", "Energy", "Against simplest", "Against oldest"):
        assert sum(note.startswith(words) for note in found) == 1


def test_print_shows_the_seconds_above_and_what_is_behind_them_below(tmp_path):
    cells = [cell(), cell(device="k80", gap="not run yet"), cell(device="cpu", recipe="timing-cpu")]
    spread = ends((19.94, 21.5), (4.9, 5.25))
    measured = run(seconds=(20.125, 5.0), **spread, energy_joules_per_epoch=8125.0, peak_device_memory_mib=1234)
    whole_table = table([measured, run(device="cpu", seconds=(66.6, 9.9), **PART)], cells)
    grids = in_print(whole_table)
    printing.write(Table("Seconds", whole_table, COLUMNS, grids=grids, first=FIRST), tmp_path / "speed")
    above, below = (
        [dict(zip(grid.headings, row, strict=True)) for row in grid.rows]
        for grid in printing.read(tmp_path / "speed.json").grids
    )
    assert '<td class="number">≈9,158</td>' in (tmp_path / "speed.html").read_text(encoding="utf-8")
    assert [(row["Seconds"], row["Published seconds"], row["Remark"]) for row in above] == [
        ("25.1", "26", ""),
        ("–", "325", "not run yet"),
        ("≈9,158", "–", "extrapolated from 2,048 of 262,144 training patches"),  # 66.6 x 128 + 9.9 x 64
    ]
    assert above[0]["Seconds, ours − published"] == "-0.875"
    assert [row["Training, s (range)"] for row in below] == ["20.1 (19.9–21.5)", "–", "≈8,525 (8,525–8,525)"]
    assert [row["Model"] for row in above] == [row["Model"] for row in below] == ["B2, full"] * 3
    assert [row["GPU, MiB"] for row in below] == ["1,234", "–", "–"]
    assert [row["Energy, kJ"] for row in below] == ["8.12", "–", "–"]
    assert "Remark" not in below[0]
    (said,) = [note for note in printing.read(tmp_path / "speed.json").footnotes if note.startswith("In every row")]
    assert "seeds 1" in said
    assert {grid.headings.index("Model") for grid in printing.read(tmp_path / "speed.json").grids} == {0}
    assert pd.read_csv(tmp_path / "speed.csv").columns.tolist() == names(COLUMNS)
    # Without finished runs there is no second part.
    assert len(in_print(table([], cells))) == 1
