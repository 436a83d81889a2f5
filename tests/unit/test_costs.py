"""Expected seconds of jobs: those of the paper's Table 2, or in proportion to them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core.cells import Cell
from histobench.core.costs import Costs, epoch_seconds, measured, minutes, typical
from support.paper import study


@pytest.fixture(scope="module")
def paper() -> Costs:
    """Costs of the paper's study, with a model of one's own."""
    own = {"application": "Xception", "preprocessing": "tf", "smallest_input": 71, "weights": "random"}
    return Costs(study(models={"xception": own}))


# Forward passes of an epoch: three for a patch of training, one for a patch of validation.
PCAM = 3 * 262_144 + 32_768
IDC = 3 * round(84 / 279 * 277_524) + round(29 / 279 * 277_524)  # by patients


@pytest.mark.parametrize(
    ("cell", "seconds", "origin"),
    [
        # What the paper timed is what it printed.
        ("pcam/b2/full/timing/k80", 325, "published"),
        ("pcam/b6/full/timing/a100", 57, "published"),
        ("pcam/inceptionv3/tl/timing/v100", 98, "published"),
        # Another model in proportion to its multiply-adds: 2.088423 times those of InceptionV3, which took 270 s.
        ("pcam/resnet50/full/timing/a100", 270 * 2.088423, "estimated"),
        ("pcam/xception/full/timing/a100", 270, "estimated"),  # of one's own: counts as InceptionV3
        # Another card in proportion to its peak rate; fewer and smaller patches less.
        ("pcam/b2/full/timing/h100", 26 * 19.5 / 67, "estimated"),
        ("idc/b2/full/timing/a100", 26 * IDC / PCAM * (50 / 96) ** 2, "published"),
    ],
)
def test_seconds_of_an_epoch(paper, cell, seconds, origin):
    assert paper.epoch(Cell(*cell.split("/"))) == (pytest.approx(seconds), origin)


def test_another_batch_or_precision_is_an_estimate(paper):
    assert paper.epoch(Cell("pcam", "b2", "full", "fast", "a100")).origin == "estimated"


def test_a_recipe_of_a_few_steps_costs_those(paper):
    cells = (Cell("pcam", "b2", "full", recipe, "cpu") for recipe in ("timing", "timing-cpu"))
    whole, part = (paper.epoch(cell).seconds for cell in cells)
    assert part / whole == pytest.approx((3 * 32 * 32 + 8 * 32) / PCAM)


def test_a_head_on_cached_features_takes_its_steps_whatever_the_backbone(paper):
    heads = [paper.epoch(Cell("pcam", model, "tl", "paper", "a100")).seconds for model in ("mobilenet", "densenet201")]
    assert heads[0] == heads[1] < paper.epoch(Cell("pcam", "mobilenet", "tl", "timing", "a100")).seconds


def test_neighbours_cost_their_pairs_of_patches_and_no_card_is_slower_than_one(paper):
    on_card, on_cpu = (Cell("pcam", "vgg19", "tl", "knn", device) for device in ("a100", "cpu"))
    assert paper.epoch(on_card).seconds < paper.epoch(on_cpu).seconds / 5
    start = paper.predict(replace(on_cpu, recipe="paper")).seconds
    # One row of the history: the validation patches; to predict, as many test patches more.
    assert paper.train(on_cpu).seconds == start + paper.epoch(on_cpu).seconds
    assert paper.predict(on_cpu).seconds - start == pytest.approx(2 * paper.epoch(on_cpu).seconds)
    assert paper.epoch(on_cpu).seconds > 2 * paper.epoch(replace(on_cpu, dataset="idc")).seconds


def test_measured_seconds_come_first_but_do_not_change_time_limits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = study()
    run = next(run for run in made.runs if run.recipe == "timing" and run.model == "b2" and run.device == "a100")
    folder = tmp_path / "results" / "paper" / "runs" / str(run)
    step = folder / ".state" / "epoch-0003"
    step.mkdir(parents=True)
    rows = [{"training_seconds": 10 * epoch, "validation_seconds": epoch} for epoch in (9, 1, 2)]
    (step / "progress.json").write_text(json.dumps({"timing": rows}))
    cell = Cell("pcam", "b2", "full", "timing", "a100")
    seconds = measured(made)
    assert seconds == {cell: pytest.approx(16.5)}  # 11 and 22: not the first
    assert Costs(made, seconds).epoch(cell) == (pytest.approx(16.5), "measured")
    assert Costs(made, seconds).epoch(replace(cell, device="v100")).origin == "published"
    assert Costs(made).epoch(cell).origin == "published"  # as the Snakefile asks
    # The table of a finished run comes first.
    (folder / "timing.csv").write_text("epoch,training_seconds,validation_seconds\n1,7,1\n")
    assert measured(made) == {cell: 8.0}


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=8))
def test_an_epoch_takes_what_those_after_the_first_do(seconds):
    assert min(seconds) <= typical(seconds) <= max(seconds)
    if len(seconds) > 1:
        assert typical([1e9, *seconds[1:]]) == typical(seconds)


@pytest.mark.parametrize(
    "content", [b"", b"epoch\n1\n", b"epoch,training_seconds,validation_seconds\n1,2.5\n", b"\xff\xfe", None]
)
def test_a_damaged_timing_hides_no_plan(tmp_path, content):
    path = tmp_path / "timing.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    assert epoch_seconds(tmp_path) == []


def test_time_limits_leave_room_and_are_round(paper):
    for model in ("b2", "inceptionv3", "vgg19"):
        cell = Cell("pcam", model, "full", "paper", "k80")
        limit = minutes(paper.train(cell))
        assert limit % 10 == 0
        assert limit >= max(30, 2 * paper.train(cell).seconds / 60)
    assert minutes(paper.predict(Cell("pcam", "b2", "full", "paper", "a100"))) == 30
    assert minutes(paper.extract("pcam", "vgg19", "paper", "k80")) > 30
