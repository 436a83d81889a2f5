"""Every kind of table, with names as long as those of the paper's study, in the window of a small laptop."""

import itertools

import pandas as pd
import pytest

from histobench.results import printing, report
from histobench.results.columns import names
from histobench.results.tables import (
    audit,
    claims,
    contradicted,
    contrasts,
    controls,
    leaks,
    leaky_split,
    models,
    performance,
    requested_and_used,
    speed,
    tests,
)
from histobench.tuning import search_tables
from support.browser import launched, open_page

LAPTOP = (1280, 800)
ROWS = 4
SENTENCE = (
    "PCam: VGG19 0.950, the best other EfficientNetV2B2 0.930; IDC: VGG19 0.950, the best other MobileNet 0.950, a tie"
)

MADE_UP = (
    {
        "dataset": ["pcam", "idc-random"],
        "model": ["efficientnetv2b0"],
        "model_name": ["EfficientNetV2B0", "InceptionV3"],
    }
    | {"mode": ["tl", "full", "finetune"], "transfer": ["cached", ""], "recipe": ["paper", "paper-resized"]}
    | {"device": ["a100"], "weights": ["ImageNet", "random"], "interval": ["bootstrap over groups"]}
    | {"collapsed": [0, 1], "seeds": [3, 2], "n": [32_768, 30_000], "below_floor": [True, False]}
    | {
        "patches": ["published", "subset"],
        "split": ["published, by slide", "random by patch, leaky, 0.8/0.1/0.1, seed 1"],
    }
    | {"data_differs": ["", "the split of IDC was never published"], "recipe_differs": ["epochs 5 instead of 15", ""]}
    | {"weights_differ": ["random weights", ""], "not_comparable": ["", "batch_size 256"], "gap": ["", "not run yet"]}
    | {"runs": ["results/a results/b", ""], "extrapolated": ["", "extrapolated from 2,048 of 262,144 training patches"]}
    | {"test_patches": ["all", "without slides or patients of training or validation"]}
    | {"leaky": ["idc-random"], "grouped": ["idc"]}
    | {"contrast": ["TL − full", "tuned − untuned"], "unit": ["group", "patch"], "source": ["published", "this study"]}
    | {"test": ["Welch", "paired t"]}
    | {name: ["-2.5527", "16.285"] for name in ("t", "df", "p")}
    | {"published_depth_is": ["backbone and head, unlike the other backbones", "all layers"]}
    | {"method": ["hyperband", "random"], "space": ["learning rate, batch size, dense units"]}
    | {"objective": ["val_accuracy", "val_auc"], "trial": ["0003", "0017"]}
    | {"rule": ["extract_features", "train"]}
    | {"augmentation": ["flip_turn+stain", "none"], "folder": ["results/a"]}
)
"""Values, in turn, of columns that are not metrics."""


def made_up(columns, **changes):
    """Return rows with these columns; those without values in `MADE_UP` hold numbers with three decimals."""
    values = {name: itertools.cycle(changes.get(name, MADE_UP.get(name, [0.8534, 0.9271]))) for name in names(columns)}
    return pd.DataFrame([{name: next(each) for name, each in values.items()} for _ in range(ROWS)])


def every_table():
    """Return a table of every kind, by name."""
    scores = made_up(performance.COLUMNS, dataset=["idc-random"])
    cards = {"device": ["k80", "p100", "v100", "a100"], "recipe": ["timing", "fast"]}
    seconds = made_up(speed.COLUMNS, dataset=["pcam"], **cards)
    unfinished = scores.assign(**dict.fromkeys(performance.METRICS), runs="", gap="not run yet")
    found, tried = made_up(search_tables.COLUMNS), made_up(search_tables.TRIALS)
    counts = dict.fromkeys(("patches", "copies", "near", "conflicts"), 262_144)
    within = counts | dict.fromkeys(("groups", "distinct", "distinct_turned", "uniform"), 220_025)
    between = counts | {"shared_groups": 216, "group_patches": 32_768}
    twice = audit.counted(
        {
            "counts": [{"part": "valid", "beside": "valid"} | within, {"part": "valid", "beside": "train"} | between],
            "shared_groups": {"valid train": ["camelyon16_train_tumor_001", "camelyon16_train_tumor_002"]},
        },
        {"patches_are": "published", "split": "published", "format": "pcam"},
    )
    one_cell = {
        name: MADE_UP[name][:1] for name in ("dataset", "model", "model_name", "mode", "recipe", "device", "unit")
    }
    verdicts = {"published_verdict": ["does not hold"], "our_verdict": ["cannot be told"]}
    numbers = {"published_numbers": [SENTENCE], "our_numbers": [SENTENCE]}
    claim = ["InceptionV3-TL costs about what B2 and B6 cost"]
    search_grids, trial_grids = search_tables.in_print(found), search_tables.trials_in_print(tried)
    return {
        "performance": (scores, performance.COLUMNS, {"first": performance.first(scores)}),
        "unfinished": (unfinished, performance.COLUMNS, {"first": performance.first(unfinished)}),
        "speed": (seconds, speed.COLUMNS, {"grids": speed.in_print(seconds), "first": speed.FIRST}),
        "contrasts": (made_up(contrasts.COLUMNS), contrasts.COLUMNS, {"first": contrasts.FIRST}),
        "tests": (made_up(tests.COLUMNS), tests.COLUMNS, {"first": tests.FIRST}),
        "models": (made_up(models.COLUMNS), models.COLUMNS, {"first": models.FIRST}),
        "claims": (made_up(claims.COLUMNS, claim=claim, **verdicts, **numbers), claims.COLUMNS, {}),
        "requested_and_used": (
            made_up(requested_and_used.COLUMNS),
            requested_and_used.COLUMNS,
            {"first": requested_and_used.FIRST, "to_copy": "set-resources:\n" + "wildcards." * 40},
        ),
        "audit": (twice, audit.COLUMNS, {"grids": audit.in_print(twice)}),
        "leaks": (made_up(leaks.COLUMNS, **one_cell), leaks.COLUMNS, {"first": leaks.FIRST}),
        "contradicted": (made_up(contradicted.COLUMNS), contradicted.COLUMNS, {}),
        "leaky_split": (made_up(leaky_split.COLUMNS), leaky_split.COLUMNS, {"first": leaky_split.FIRST}),
        "controls": (made_up(controls.COLUMNS), controls.COLUMNS, {}),
        "searches": (found, search_tables.COLUMNS, {"grids": search_grids, "first": search_tables.FIRST}),
        "trials": (tried, search_tables.TRIALS, {"grids": trial_grids, "first": search_tables.TRIALS_FIRST}),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    items = []
    for name, (frame, columns, how) in every_table().items():
        table = printing.Table(name, frame, columns, ["Simulated patches: all."], **how)
        printing.write(table, folder / "tables" / name)
        items.append(printing.read(folder / "tables" / f"{name}.json"))
    report.write(
        folder / "report.html", title="Study wide", lead="", announcements=[],
        sections=[report.Section("All", "", items)], facts={}, configuration="",
    )  # fmt: skip
    with launched() as browser:
        opened = open_page(browser, folder / "report.html", *LAPTOP, "light")
        yield opened.page
        opened.page.close()
        assert opened.complaints == []


def test_every_table_fits_a_small_window_before_more_of_it_is_asked_for(page):
    boxes = page.locator(".scroll").evaluate_all(
        "boxes => boxes.map(box => [box.getAttribute('aria-label'), box.scrollWidth - box.clientWidth])"
    )
    assert len(boxes) >= len(every_table())
    assert [box for box in boxes if box[1] > 0] == []


def test_what_tells_rows_apart_is_in_sight(page):
    hidden = page.locator("thead th").evaluate_all(
        "headings => headings.filter(each => !each.checkVisibility()).map(each => each.textContent)"
    )
    assert hidden
    assert not {"Model", "Mode", "Recipe", "Device", "Data set", "Source", "Test", "Contrast", "Trial"} & set(hidden)


def test_all_columns_open_at_once_and_only_their_own(page):
    for box in page.get_by_role("checkbox").all():
        headings = box.locator("xpath=../following-sibling::div[1]//th[contains(@class, 'more')]")
        assert headings.count()
        assert not headings.first.is_visible()
        before = page.locator("thead th:visible").count()
        box.check()
        assert page.locator("thead th:visible").count() == before + headings.filter(visible=True).count()
        assert headings.first.is_visible()
        box.uncheck()
        assert page.locator("thead th:visible").count() == before
