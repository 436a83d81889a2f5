"""The report in a browser: in windows of several sizes, light and dark, with mouse and keyboard."""

import pandas as pd
import pytest

from histobench.results import printing, report
from histobench.results.figures import style
from histobench.results.figures.auc_against_size import auc_against_size
from histobench.results.figures.auc_by_mode import auc_by_mode
from histobench.results.figures.forest import forest
from support.browser import contrasts, launched, load, open_page, overflow

PHONE, LAPTOP, DESK = (360, 740), (1280, 800), (1400, 900)
SCHEMES = ("light", "dark")
LOOKS = [(*window, scheme) for window in (PHONE, DESK) for scheme in SCHEMES]

ATTACK = "<script>alert(1)</script>"
DATA_SETS = ["pcam-simulated", "idc-simulated"]
LEAD = (
    "4 models, by transfer learning, full training and fine-tuning, on pcam-simulated (1,600 training, 400 validation, "
    "600 test patches) and idc-simulated (1,728 training, 384 validation, 960 test patches): 13 of 14 runs finished; "
    "11 min of device time."
)
ANNOUNCEMENTS = [
    "Simulated patches: pcam-simulated, idc-simulated. Nothing here holds for tissue.",
    "Random weights: MobileNet, InceptionV3. These models did not start from ImageNet weights.",
    "Collapsed runs: 1 of 13. They predict a constant; averages leave them out.",
]

# Columns of the sortable table: unsorted, ascending and descending.
COLUMNS = {
    "Model": (
        ["DenseNet201", "B10", "B2", ATTACK, "VGG19", "Éclair"],
        [ATTACK, "B2", "B10", "DenseNet201", "Éclair", "VGG19"],
        ["VGG19", "Éclair", "DenseNet201", "B10", "B2", ATTACK],
    ),
    "Patches": (
        ["1,314", "–", "277,524", "262", "900", "32,768"],
        ["262", "900", "1,314", "32,768", "277,524", "–"],
        ["277,524", "32,768", "1,314", "900", "262", "–"],
    ),
    "AUC": (
        ["0.853 (0.803–0.898)", "† 0.75 (0.7–0.8)", "collapsed", "0.9 (0.1–0.95)", "–", "1.000 (1.000–1.000)"],
        ["† 0.75 (0.7–0.8)", "0.853 (0.803–0.898)", "0.9 (0.1–0.95)", "1.000 (1.000–1.000)", "collapsed", "–"],
        ["1.000 (1.000–1.000)", "0.9 (0.1–0.95)", "0.853 (0.803–0.898)", "† 0.75 (0.7–0.8)", "collapsed", "–"],
    ),
    "Difference": (
        ["−0.01", "0.02 (−1 to 2)", "–", "-0.5", "10", "−2.5 (−9 to 9)"],
        ["−2.5 (−9 to 9)", "-0.5", "−0.01", "0.02 (−1 to 2)", "10", "–"],
        ["10", "0.02 (−1 to 2)", "−0.01", "-0.5", "−2.5 (−9 to 9)", "–"],
    ),
    # Numbers that were printed as text, as p values are; equal ones keep their order.
    "p": (
        ["0.0210", "0.006335", "–", "< 0.001", "1e-05", "0.021"],
        ["1e-05", "< 0.001", "0.006335", "0.0210", "0.021", "–"],
        ["0.0210", "0.021", "0.006335", "< 0.001", "1e-05", "–"],
    ),
    "Weights": (
        ["random", "", "–", "ImageNet", "own", "file"],
        ["file", "ImageNet", "own", "random", "", "–"],
        ["random", "own", "ImageNet", "file", "", "–"],
    ),
}
FIRST = 3
"""How many of these columns a page shows at once."""
STYLES = {"Model": "row", "Patches": "number", "AUC": "number", "Difference": "number"}


def table(name="performance", columns=COLUMNS, **changes):
    styles = [STYLES.get(heading, "") for heading in columns]
    rows = [list(row) for row in zip(*(before for before, *_ in columns.values()), strict=True)]
    values = {
        "name": name,
        "title": "Performance on the test patches",
        "grids": [printing.Grid("", list(columns), styles, rows, first=min(FIRST, len(columns)))],
        "notes": ANNOUNCEMENTS[:2],
        "left_out": "Cannot run: B2, TL: it has no backbone to transfer from.",
        "footnotes": ["95 % intervals: bootstrap over groups.", "† At or below the colour floor."],
        "runs": ["results/demo/runs/pcam-simulated/b2/full/demo/cpu/seed-1"],
    }
    return printing.Printed(**values | changes)


def prose():
    """A table with sentences, too wide for a phone."""
    told = "the deepest of all, DenseNet201, was not timed; " * 3
    rows = [["The deepest model trains in about an hour", "holds", told]]
    grid = printing.Grid("", ["Claim", "Verdict", "Numbers"], ["", "", "prose"], rows, first=3)
    return printing.Printed("claims", "The paper's claims", [grid], [], "", [], [])


def best():
    """The small table of the first screen."""
    headings = ["Data set", "Model", "Mode", "AUC (95 % interval)", "Balanced accuracy", "Accuracy", "Loss"]
    rows = [[name, "EfficientNetV2B0", "fine-tuned", "0.853 (0.803–0.898)", *["0.853"] * 3] for name in DATA_SETS]
    grid = printing.Grid("", headings, ["", "row", "", *["number"] * 4], rows, first=len(headings))
    return printing.Printed("best", "Best model of each data set", [grid], ANNOUNCEMENTS, "", [], ["results/demo/runs"])


def points(datasets=("pcam",)):
    models = [f"EfficientNetV2B{number}" for number in range(3)]
    rows = [(dataset, model, mode) for dataset in datasets for model in models for mode in ("full", "tl")]
    frame = pd.DataFrame(rows, columns=["dataset", "model_name", "mode"])
    place = pd.Series(range(len(frame)), dtype=float)
    return frame.assign(
        origin="ours", recipe="paper", auc=0.8 + 0.01 * place, auc_low=0.75, auc_high=0.95,
        layers=50 + 40 * place, parameters_millions=3 + 2 * place,
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")

    def saved(name, figure):
        style.save(figure, folder / "figures" / name, ANNOUNCEMENTS)
        return folder / "figures" / f"{name}.svg"

    wide, narrow = saved("forest", forest(points(DATA_SETS))), saved("narrow", forest(points(DATA_SETS), narrow=True))
    headline = report.Figure("forest", "AUC by model and mode", "", wide, narrow)
    filled = "Filled points are this study's."
    by_mode = report.Figure("auc_by_mode", "AUC by mode", filled, saved("auc_by_mode", auc_by_mode(points())))
    against_size = report.Figure("size", ATTACK, ATTACK, saved("size", auc_against_size(points())))
    path = folder / "report.html"
    attack = {"title": ATTACK, "left_out": ATTACK} | {name: [ATTACK] for name in ("notes", "footnotes", "runs")}
    report.write(
        path,
        title="Study demo",
        lead=LEAD,
        announcements=ANNOUNCEMENTS,
        sections=[
            report.Section("At a glance", "", [best(), headline]),
            report.Section("Performance", "Metrics on the test patches.", [table(), by_mode]),
            report.Section("Claims", "", [prose(), against_size]),
            report.Section(ATTACK, ATTACK, [table("attack", {ATTACK: ([ATTACK],)}, **attack)]),
        ],
        facts={
            "Left out": [("results/demo/runs/pcam-simulated/b6/full/demo/cpu/seed-1", "collapsed")],
            "Inputs": [("train_x", "d619e741468a7ab35c7e4a75e6821b7e" * 4)],
            ATTACK: [(ATTACK, ATTACK)],
        },
        configuration=f"study: demo # {'a long line ' * 20}\nmodels: {{}} # {ATTACK}\n",
    )
    return path


@pytest.fixture
def visit(browser, path):
    """Return a function that opens the page; afterwards, check that it ran without errors or other requests."""
    visits = []

    def visit(width=DESK[0], height=DESK[1], scheme="light", **options):
        visits.append(open_page(browser, path, width, height, scheme, **options))
        return visits[-1].page

    yield visit
    for opened in visits:
        opened.page.close()
        assert opened.complaints == []
        assert {url for url in opened.requests if not url.startswith("data:image/svg+xml")} == {path.as_uri()}


def column(page, heading):
    place = list(COLUMNS).index(heading)
    return page.locator(f"#table-performance ~ .scroll tbody tr > :nth-child({place + 1})").all_inner_texts()


def heading(page, name):
    place = list(COLUMNS).index(name)
    return page.locator("#table-performance ~ .scroll thead th").nth(place)


def all_columns(page):
    """Return the checkbox that shows all columns of the table of performance."""
    return page.get_by_role("checkbox", name="All columns: Performance on the test patches")


def about(page):
    """Return the collapsed notes below the table of performance."""
    return page.locator("#table-performance ~ details.about")


def show_all(page):
    """Open everything that is collapsed."""
    page.evaluate("for (const each of document.querySelectorAll('[type=checkbox]')) each.checked = true")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


def bottom(element):
    """Return where an element ends, in CSS pixels below the upper edge of the window."""
    box = element.bounding_box()
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "height", "scheme"), LOOKS)
def test_the_page_fits_its_window_and_can_be_read(visit, width, height, scheme):
    page = visit(width, height, scheme)
    # Announcements and the best models are seen first.
    for announcement in ANNOUNCEMENTS:
        assert bottom(page.get_by_text(announcement, exact=True).first) <= height
    assert bottom(page.locator("#table-best ~ .scroll")) <= height
    top = 0
    for text in ("h1", ".lead", ".announcements", "table"):
        assert page.locator(text).first.bounding_box()["y"] >= top
        top = bottom(page.locator(text).first)
    # Every image loads in the room that is kept for it.
    assert overflow(page) <= 0
    before = page.evaluate("document.documentElement.scrollHeight")
    show = page.locator("main img")
    assert show.count() == page.locator(".picture").count() > 0
    for picture in show.all():
        shape = load(picture)
        box = picture.bounding_box()
        assert 200 < box["width"] <= width
        assert 0.9 < box["width"] / box["height"] / shape < 1.1
    assert abs(page.evaluate("document.documentElement.scrollHeight") - before) <= 4
    # Everything can be read.
    show_all(page)
    assert overflow(page) <= 0
    found = contrasts(page)
    assert len(found) > 50
    assert [each for each in found if each["ratio"] < 4.5] == []
    bright = {each["paper"] > each["text"] for each in found}
    assert bright == {scheme == "light"}


@pytest.mark.parametrize(("window", "place", "other"), [(PHONE, "above", "beside"), (DESK, "beside", "above")])
def test_contents_lead_to_every_heading(visit, window, place, other):
    page = visit(*window)
    shown = page.locator(f"nav.{place}")
    assert shown.is_visible()
    assert not page.locator(f"nav.{other}").is_visible()
    if place == "above":
        assert not shown.locator("a").first.is_visible()
        shown.locator("summary").click()
    links = shown.locator("a")
    targets = [link.get_attribute("href") for link in links.all()]
    ids = page.locator("main h2, main .item h3").evaluate_all("headings => headings.map(each => '#' + each.id)")
    assert targets == ids
    every = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(set(every)) == len(every)
    for link in (links.nth(1), links.last):
        link.scroll_into_view_if_needed()
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert 0 <= target.bounding_box()["y"] < window[1]
    if place == "beside":
        assert shown.bounding_box()["y"] == 0  # it stays beside what is read


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
@pytest.mark.parametrize("by", ["click", "Enter", "Space"])
def test_a_heading_sorts_its_column(visit, width, height, by):
    page = visit(width, height)
    all_columns(page).check()
    for name, (before, ascending, descending) in COLUMNS.items():
        assert column(page, name) == before
        assert heading(page, name).get_attribute("aria-sort") is None
        button = heading(page, name).get_by_role("button")
        for direction, expected in (("ascending", ascending), ("descending", descending), (None, before)):
            button.click() if by == "click" else button.press(by)
            assert column(page, name) == expected, (name, direction)
            assert heading(page, name).get_attribute("aria-sort") == direction


def test_only_one_column_says_that_it_is_sorted(visit):
    page = visit()
    for name in ("Model", "AUC"):
        heading(page, name).get_by_role("button").click()
    assert page.locator("[aria-sort]").count() == 1
    assert column(page, "AUC") == COLUMNS["AUC"][1]
    # Rows are moved as wholes.
    before = dict(zip(COLUMNS["AUC"][0], COLUMNS["Model"][0], strict=True))
    assert column(page, "Model") == [before[auc] for auc in column(page, "AUC")]


def test_a_table_of_one_row_does_not_sort_and_a_small_one_has_nothing_to_open(visit):
    page = visit()
    assert page.locator("#table-claims ~ .scroll button").count() == 0
    assert page.locator("#table-best ~ .all, #table-claims ~ .all").count() == 0


def test_the_head_of_a_row_stays_in_sight(visit):
    page = visit(*PHONE)
    all_columns(page).check()
    box = page.locator("#table-performance ~ .scroll")
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") > 100
    box.scroll_into_view_if_needed()
    for cell in (box.locator("tbody th").first, box.locator("thead th").first):
        # At all scroll positions the cell is at the left edge, and nothing is drawn over it, such as a sort mark.
        covered = cell.evaluate(
            """cell => {
              const box = cell.closest(".scroll"), covered = [];
              for (box.scrollLeft = 0; ; box.scrollLeft += 2) {
                const { x, width, bottom } = cell.getBoundingClientRect();
                if (x !== box.getBoundingClientRect().x) covered.push(["away", box.scrollLeft]);
                for (const y of [bottom - 10, bottom - 14]) {
                  const seen = document.elementFromPoint(x + width - 30, y);
                  if (!cell.contains(seen)) covered.push([seen.textContent, box.scrollLeft]);
                }
                if (box.scrollLeft >= box.scrollWidth - box.clientWidth - 2) return covered;
              }
            }"""
        )
        assert covered == []


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
def test_a_figure_can_be_enlarged(visit, width, height):
    page = visit(width, height)
    picture, dialog = page.locator(".picture").first, page.get_by_role("dialog")
    small = picture.locator("img").bounding_box()
    picture.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    large = dialog.locator("img")
    load(large)
    assert large.bounding_box()["width"] > 1.2 * small["width"]
    assert overflow(page) <= 0
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert picture.evaluate("link => link === document.activeElement")
    picture.click()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_without_a_script_all_is_there_in_its_order(visit):
    page = visit(java_script_enabled=False)
    assert column(page, "AUC") == COLUMNS["AUC"][0]
    assert page.locator("th button").count() == 0
    assert page.locator("nav.beside a").first.is_visible()
    assert page.locator(".picture").first.get_attribute("href") == "figures/forest.svg"
    assert not heading(page, "Weights").is_visible()
    all_columns(page).check()
    assert heading(page, "Weights").is_visible()
    about(page).locator("summary").first.click()
    assert about(page).get_by_text(ANNOUNCEMENTS[0]).is_visible()


def test_print_is_black_on_white_whatever_the_reader_prefers(visit):
    page = visit(scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("nav.beside").is_visible()
    assert not page.locator("nav.above").is_visible()
    found = contrasts(page)
    assert all(each["paper"] > 0.8 for each in found)
    assert [each for each in found if each["ratio"] < 4.5] == []
    # The notes and all columns are printed, but not the controls that open them.
    assert about(page).get_by_text(ANNOUNCEMENTS[1]).is_visible()
    assert about(page).get_by_text("95 % intervals: ").is_visible()
    assert heading(page, "Weights").is_visible()
    assert not all_columns(page).is_visible()
    assert not about(page).locator("summary").first.is_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_screen_has_the_figure_and_the_best_models(visit, scheme):
    page = visit(*LAPTOP, scheme)
    page.locator("main img").first.evaluate("image => image.decode()")
    assert page.locator("main section").first.get_by_role("heading").first.inner_text() == "At a glance"
    for text in ("h1", ".lead", ".announcements", "#table-best ~ .scroll", "#figure-forest ~ figure img"):
        box = page.locator(text).bounding_box()
        assert box["y"] >= 0, text
        assert box["y"] + box["height"] <= LAPTOP[1], text
        assert box["x"] + box["width"] <= LAPTOP[0], text


@pytest.mark.parametrize("by", ["click", "Space"])
@pytest.mark.parametrize(("width", "height"), [PHONE, LAPTOP])
def test_the_other_columns_open_on_demand_and_the_table_stays_sorted(visit, width, height, by):
    page = visit(width, height)
    names = list(COLUMNS)
    shown = lambda: [name for name in names if heading(page, name).is_visible()]  # noqa: E731
    assert shown() == names[:FIRST]
    heading(page, "Model").get_by_role("button").click()
    for expected in (names, names[:FIRST]):
        all_columns(page).click() if by == "click" else all_columns(page).press(by)
        assert shown() == expected
        assert column(page, "Model") == COLUMNS["Model"][1]
    assert overflow(page) == 0


def test_the_keyboard_shows_where_it_is_and_reaches_the_other_columns_before_the_table(visit):
    page = visit()
    focused = page.locator(":focus")
    all_columns(page).focus()
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    assert focused.get_attribute("aria-label") == "Performance on the test patches"
    page.keyboard.press("Tab")
    assert focused.evaluate("element => element.matches('th button')")
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    assert focused.evaluate("element => parseFloat(getComputedStyle(element).outlineWidth)") >= 2


@pytest.mark.parametrize(("width", "height"), [PHONE, LAPTOP])
def test_notes_are_folded_into_a_line_that_says_what_matters(visit, width, height):
    page = visit(width, height)
    line = about(page).locator("summary").first
    assert line.inner_text() == "Simulated patches · Random weights · notes, file and runs"
    assert about(page).bounding_box()["height"] < (32 if width == LAPTOP[0] else 64)  # one line, or two
    assert page.locator("#table-performance ~ details").count() == 1
    folded = [*ANNOUNCEMENTS[:2], "95 % intervals: bootstrap over groups.", "tables/performance.csv"]
    for text in folded:
        assert not about(page).get_by_text(text).is_visible()
    for text in ("Cannot run: B2, TL", "† At or below the colour floor."):
        assert page.locator("#table-performance ~ p", has_text=text).is_visible()
    line.focus()
    page.keyboard.press("Enter")
    for text in folded:
        assert about(page).get_by_text(text).is_visible()


def test_a_phone_gets_the_narrow_figure_and_enlarges_the_wide_one(visit):
    wide, narrow = (load(visit(*window).locator("#figure-forest ~ figure img")) for window in (LAPTOP, PHONE))
    assert wide > 2
    assert narrow < 1
    page = visit(*PHONE)
    picture = page.locator("#figure-forest ~ figure .picture")
    # Its text is as large as small print: points, of a figure that is `PHONE` inches wide, in CSS pixels.
    assert style.SMALL / 72 * picture.locator("img").bounding_box()["width"] / style.PHONE >= 9
    picture.click()
    large = page.get_by_role("dialog").locator("img")
    assert load(large) == pytest.approx(wide)
    assert large.bounding_box()["width"] > 1.5 * picture.bounding_box()["width"]
