"""The file of the page: needs no other file, is reproducible, and escapes texts."""

import base64
import re

import pytest

from histobench.core.errors import HistobenchError
from histobench.results import printing, report

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><path id="a" d="M0 0"/></svg>'


@pytest.fixture
def svg(tmp_path):
    path = tmp_path / "figures" / "forest.svg"
    path.parent.mkdir()
    path.write_text(SVG.format(width="518.4pt", height="259.2pt"), encoding="utf-8")
    return path


def write(path, svg, name="B2", narrow=None):
    """Write a page with `name` as every text, and return the file's content."""
    grids = [printing.Grid(name, ["Model", name], ["row", ""], [[name, name]], first=1)]
    table = printing.Printed("performance", name, grids, [name], name, [name], [f"results/{name}"])
    sections = [report.Section(name, name, [table, report.Figure("forest", name, name, svg, narrow)])]
    texts = {"title": name, "lead": name, "announcements": [name], "configuration": name}
    report.write(path, sections=sections, facts={name: [(name, name)]}, **texts)
    return path.read_text(encoding="utf-8")


def write_tables(path, *grids):
    """Write a page with a table of these grids, or empty, and return the file's content."""
    table = printing.Printed("speed", "Seconds per epoch", list(grids), [], "", [], [])
    sections = [report.Section("Seconds", "", [table])] if grids else []
    report.write(path, title="Empty", lead="", announcements=[], sections=sections, facts={}, configuration="")
    return path.read_text(encoding="utf-8")


def test_the_page_loads_nothing(tmp_path, svg):
    page = write(tmp_path / "report.html", svg)
    addresses = re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', page)
    files = [address for address in addresses if not address.startswith(("#", "data:image/svg+xml;base64,"))]
    assert files == ["tables/performance.csv", *["figures/forest.svg"] * 2, "figures/forest.png"]
    for request in ["http:", "https:", "//cdn", "<link", "<iframe", "@import", "url(", "fetch(", "import("]:
        assert request not in page
    assert "default-src 'none'" in page


def test_the_figure_is_in_the_page_which_keeps_room_for_it(tmp_path, svg):
    page = write(tmp_path / "report.html", svg)
    (embedded,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert base64.b64decode(embedded, validate=True) == svg.read_bytes()
    assert 'id="a"' not in page
    assert 'width="922" height="461" loading="lazy"' in page  # 7.2 by 3.6 inches, enlarged by a third


def test_a_narrow_window_gets_the_narrow_figure_within_the_page(tmp_path, svg):
    narrow = svg.with_name("forest_narrow.svg")
    narrow.write_text(SVG.format(width="216pt", height="432pt"), encoding="utf-8")
    page = write(tmp_path / "report.html", svg, narrow=narrow)
    (source,) = re.findall(r"<source ([^>]*)>", page)
    assert 'media="(max-width: ' in source
    assert 'width="384" height="768"' in source
    (embedded,) = re.findall(r'srcset="data:image/svg\+xml;base64,([^"]+)"', source)
    assert base64.b64decode(embedded, validate=True) == narrow.read_bytes()
    for suffix in ("svg", "png"):
        assert f'href="figures/forest_narrow.{suffix}"' in page
    assert "<source" not in write(tmp_path / "report.html", svg)


def test_equal_inputs_give_equal_bytes(tmp_path, svg):
    first, second = tmp_path / "first.html", tmp_path / "elsewhere" / "second.html"
    write(first, svg)
    write(second, svg)
    assert first.read_bytes() == second.read_bytes()
    write(second, svg, "B6")
    assert first.read_bytes() != second.read_bytes()


def test_texts_are_escaped_wherever_they_stand(tmp_path, svg):
    plain = write(tmp_path / "plain.html", svg, "NAME")
    page = write(tmp_path / "report.html", svg, '<img src=x onerror="alert(1)">&\'')
    assert "<img src=x" not in page
    assert 'onerror="' not in page
    escaped = "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;&#39;"
    assert page.count(escaped) == plain.count("NAME") > 20
    assert page.count("<script>") == 1


NO_SIZE = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize("content", [None, "", "PNG", "<svg", SVG.format(width="100%", height="50%"), NO_SIZE, "<p/>"])
def test_a_figure_that_is_missing_or_no_figure_is_named(tmp_path, svg, content):
    svg.unlink()
    if content is not None:
        svg.write_text(content)
    with pytest.raises(HistobenchError, match=re.escape(str(svg))):
        write(tmp_path / "report.html", svg)
    assert not (tmp_path / "report.html").exists()


def test_a_study_without_anything_has_a_page(tmp_path):
    page = write_tables(tmp_path / "report.html")
    assert "<h1>Empty</h1>" in page
    assert "announcements" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_the_lower_part_of_a_table_has_its_heading(tmp_path):
    grids = [printing.Grid(title, ["Model"], ["row"], [[model]], 1) for title, model in (("", "B2"), ("Below", "B6"))]
    page = write_tables(tmp_path / "report.html", *grids)
    places = [page.index(text) for text in (">B2<", "<h4>Below</h4>", ">B6<")]
    assert places == sorted(places)
    assert page.count("<table>") == 2
    assert page.count("<h4>") == 1


def test_a_table_without_rows_says_so(tmp_path):
    page = write_tables(tmp_path / "report.html", printing.Grid("", ["Model"], ["row"], [], 1))
    assert "Nothing yet." in page
    assert "<table>" not in page
