"""Patches of one's own: every example of docs/own_patches.md, run on files of its layout, and what is refused."""

import csv
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from histobench.core import datasets
from histobench.core.datasets import Patches, Tally
from histobench.core.errors import HistobenchError
from histobench.core.formats import FORMATS, Dataset, Source
from histobench.core.own_patches import as_text
from histobench.core.simulation import write_pcam
from histobench.train import records
from support.paper import study
from support.project import ROOT

COUNTS = {"train": 24, "valid": 12, "test": 12}
SLIDES = {"train": 3, "valid": 2, "test": 2}
MATRIX = {"models": ["b2"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"], "seeds": [1]}


def example(title: str, data: Path, **changes: Any) -> Dataset:
    """Return the data set of an example of the docs, with its files in a folder."""
    text = (ROOT / "docs" / "own_patches.md").read_text(encoding="utf-8")
    block = re.search(rf"^## {re.escape(title)}\n.*?```yaml\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert block, title
    given = yaml.safe_load(block[1].replace("/data", str(data)))
    (name,) = given["datasets"]
    given["sources"][name] |= changes
    return study(**given, matrix=[{"datasets": [name], **MATRIX}]).datasets[name]


@pytest.fixture(scope="module")
def pcam(tmp_path_factory) -> Dataset:
    """The same patches in PCam's format."""
    folder = tmp_path_factory.mktemp("pcam")
    write_pcam(folder, COUNTS, SLIDES, seed=1)
    return Dataset(
        "pcam", Source("pcam", "pcam", str(folder), FORMATS["pcam"].files, COUNTS, {}, 96, "simulated"), "published"
    )


@pytest.fixture(scope="module")
def known(pcam) -> list[Patches]:
    return list(datasets.read(pcam, Tally()))


def each(known: Iterable[Patches]) -> Iterator[tuple[str, str, str, int, tuple[int, int], np.ndarray]]:
    for some in known:
        for row in zip(some.ids, some.groups, some.labels.tolist(), some.places.tolist(), some.images, strict=True):
            yield some.split, *row


def image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def save(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def save_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def save_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def save_csv(path: Path, header: str, lines: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(lines)


CLASSES = ("benign", "malignant")
NOWHERE = [-1, -1]
# Of a patch, by its id: split, None where it is drawn, group, label, place and pixels.
Wanted = dict[str, tuple[str | None, str, int, list[int], np.ndarray]]


def by_class_and_slide(known: list[Patches]) -> dict[str, bytes]:
    return {f"{CLASSES[label]}/{group}/{name}.png": image(pixels) for _, name, group, label, _, pixels in each(known)}


def of_folders(known: list[Patches], data: Path) -> Wanted:
    in_folders, wanted = {"train": "train", "valid": "val", "test": "test"}, {}
    for split, name, group, label, _, pixels in each(known):
        path = f"{in_folders[split]}/{CLASSES[label]}/{group}__{name}.png"
        save(data / "patches", {path: image(pixels)})
        wanted[path] = (split, group, label, NOWHERE, pixels)
    return wanted


def of_zip(known: list[Patches], data: Path) -> Wanted:
    files = by_class_and_slide(known)
    save_zip(data / "patches.zip", files)
    rows = zip(files, each(known), strict=True)
    return {path: (None, group, label, NOWHERE, pixels) for path, (_, _, group, label, _, pixels) in rows}


def of_patients(known: list[Patches], data: Path) -> Wanted:
    wanted = {}
    for _, name, group, label, (x, y), pixels in each(known):
        path = f"{group}/{label}/{group}_{name}_x{x}_y{y}_class{label}.png"
        save(data / "patches", {path: image(pixels[:50, :50])})
        wanted[path] = (None, group, label, [x, y], pixels[:50, :50])
    return wanted


def of_kaggle(known: list[Patches], data: Path) -> Wanted:
    save(data, {f"train/{name}.tif": image(pixels, "TIFF") for _, name, *_, pixels in each(known)})
    save_csv(data / "train_labels.csv", "id,label", [(name, label) for _, name, _, label, *_ in each(known)])
    return {name: (None, "", label, NOWHERE, pixels) for _, name, _, label, _, pixels in each(known)}


def of_wilds(known: list[Patches], data: Path) -> Wanted:
    centres, patients, lines, wanted = {"train": 3, "valid": 1, "test": 2}, {}, [], {}
    for number, (split, _, group, label, (x, y), pixels) in enumerate(each(known)):
        patient = patients.setdefault(group, f"{len(patients):03d}")
        lines.append((number, patient, 4, x, y, label, group, centres[split], 0))
        path = f"patches/patient_{patient}_node_4/patch_patient_{patient}_node_4_x_{x}_y_{y}.png"
        save(data, {path: image(pixels)})
        wanted[path] = (split, f"patient_{patient}_node_4", label, [x, y], pixels)
    save_csv(data / "metadata.csv", ",patient,node,x_coord,y_coord,tumor,slide,center,split", lines)
    return wanted


def of_breakhis(known: list[Patches], data: Path) -> Wanted:
    """Images of 700x460 px at two magnifications, one of which counts."""
    lines, wanted = [], {}
    for _, name, group, label, _, pixels in each(known):
        square = np.asarray(Image.fromarray(pixels).resize((460, 460)))
        large = np.zeros((460, 700, 3), np.uint8)
        large[:, 120:580] = square
        for magnification in (100, 200):
            kind = f"{CLASSES[label]}/SOB/a_kind/{group}/{magnification}X"
            path = f"BreaKHis_v1/histology_slides/breast/{kind}/{name}-{magnification}.png"
            lines += [(fold, magnification, "train", path) for fold in range(1, 6)]
            save(data, {path: image(large)})
        smaller = np.asarray(Image.fromarray(square).resize((224, 224), Image.Resampling.BILINEAR))
        wanted[path] = (None, group, label, NOWHERE, smaller)
    save_csv(data / "Folds.csv", "fold,mag,grp,filename", lines)
    return wanted


def of_a_table(known: list[Patches], data: Path) -> Wanted:
    files, lines, wanted = {}, [], {}
    for split, name, group, label, (x, y), pixels in each(known):
        path = f"{group}/{name}.png"
        files[path] = image(pixels)
        lines.append((path, ("stroma", "tumour")[label], group, split, x, y))
        wanted[path] = (split, group, label, [x, y], pixels)
    save_tar(data / "images.tar", files)
    save_csv(data / "patches.csv", "path,label,group,split,x,y", lines)
    return wanted


EXAMPLES: dict[str, Callable[[list[Patches], Path], Wanted]] = {
    "Folders by class": of_folders,
    "Folders by class and slide, in an archive": of_zip,
    "Folders of another layout": of_patients,
    "Kaggle's Histopathologic Cancer Detection": of_kaggle,
    "WILDS: Camelyon17": of_wilds,
    "BreakHis, benign against malignant": of_breakhis,
    "A table of your own": of_a_table,
}


def test_every_example_of_the_docs_is_here():
    titles = re.findall(r"^## (.+)$", (ROOT / "docs" / "own_patches.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == list(EXAMPLES)


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_layout_gives_the_records_of_pcam(title, known, tmp_path):
    wanted = EXAMPLES[title](known, tmp_path)
    found = {row[1]: row for row in each(datasets.read(example(title, tmp_path), Tally()))}
    assert set(found) == set(wanted)
    for name, (split, *_, pixels) in wanted.items():
        row = found[name]
        assert (row[0] if split else None, *row[2:5]) == wanted[name][:4]
        np.testing.assert_array_equal(row[5], pixels)
    assert {row[0] for row in found.values()} == set(COUNTS)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_ids_gives_the_very_data_set(kind, pcam, known, tmp_path):
    """With the ids of PCam's format even the digest of all that a result depends on is the same."""
    save_zip(tmp_path / "images.zip", {f"{name}.png": image(pixels) for _, name, *_, pixels in each(known)})
    frame = pd.DataFrame(
        [
            {"image": name, "malignant": bool(label), "slide": group, "part": split, "col": x, "row": float(y)}
            for split, name, group, label, (x, y), _ in each(known)
        ]
    )
    path = tmp_path / f"list.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False, sep=";")
    source = {
        "format": "table", "path": str(path), "root": str(tmp_path / "images.zip"), "patch_size": 96,
        "columns": {"path": "{image}.png", "id": "image", "label": "malignant", "group": "slide", "split": "part",
                    "x": "col", "y": "row"},
        "labels": {"tumour": [True], "normal": [False]},
    }  # fmt: skip
    mine = study(
        sources={"mine": source}, datasets={"mine": {"source": "mine"}}, matrix=[{"datasets": ["mine"], **MATRIX}]
    ).datasets["mine"]
    about = {"split": "published", "leaky": False}
    for dataset in (pcam, mine):
        records.write(
            tmp_path / dataset.name, datasets.read(dataset, Tally()), Tally(), about | {"dataset": dataset.name}
        )
    first, second = ((tmp_path / name / "manifest.json").read_text() for name in ("pcam", "mine"))
    digests = [re.search(r'"patches_sha256": "(\w+)"', text)[1] for text in (first, second)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("packed", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_gives_what_its_folder_gives(packed, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = by_class_and_slide(known)
    save(tmp_path / "patches", files | {"Thumbs.db": b"", "notes.txt": b"x"})
    path = tmp_path / f"patches.{packed}"
    files |= {"Thumbs.db": b"", "notes.txt": b"x"}
    if packed == "zip":
        save_zip(path, files)
    else:
        save_tar(path, files, f"w:{packed.partition('.')[2]}")
    tallies = Tally(), Tally()
    title = "Folders by class and slide, in an archive"
    of_archive, of_folder = (
        list(each(datasets.read(example(title, tmp_path, path=str(place)), tally)))
        for place, tally in zip((path, tmp_path / "patches"), tallies, strict=True)
    )
    assert [row[:5] for row in of_archive] == [row[:5] for row in of_folder]
    assert all(np.array_equal(one[5], two[5]) for one, two in zip(of_archive, of_folder, strict=True))
    assert tallies[0] == tallies[1]
    assert set(tallies[0].ignored.values()) == {1}
    # Nothing is left in the working directory.
    assert {each.name for each in tmp_path.iterdir()} == {"patches", path.name}


def refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(HistobenchError, match=message):
        list(datasets.read(dataset, Tally()))


def test_an_archive_that_cannot_be_read_is_named(known, tmp_path):
    title = "Folders by class and slide, in an archive"
    files = by_class_and_slide(known)
    path = tmp_path / "patches.zip"
    for content, message in (
        (b"no archive", r"patches\.zip: expected a folder, or a zip or tar archive that is whole, found: ReadError"),
        (b"\x1f\x8b no gzip", r"patches\.zip: expected .* found"),
    ):
        path.write_bytes(content)
        refused(example(title, tmp_path), message)
    path.unlink()
    refused(example(title, tmp_path), r"patches\.zip: not found; expected a folder")
    save_zip(path, files)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(example(title, tmp_path), r"patches\.zip: expected a folder, or a zip or tar archive that is whole")
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("benign/a/1.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "elsewhere"
        archive.addfile(entry)
    refused(example(title, tmp_path), r"entry 'benign/a/1.png': expected a file, found a link")
    save_tar(path, {"benign/a/1.png": b""})
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("benign/a/1.png"))
    refused(example(title, tmp_path), r"the entry 'benign/a/1.png' comes twice")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "other/S1/1.png",
            r"other/S1/1.png: expected a class of 'malignant', 'benign', found 'other'. Say under `labels`",
        ),
        ("1.png", r"1.png: expected <class>/<file>, or a folder by slide"),
        ("benign/a/b/1.png", r"expected <class>/<file>, or a folder by slide"),
    ],
)
def test_a_file_that_is_not_in_the_layout_is_named(name, message, known, tmp_path):
    save(tmp_path / "patches", by_class_and_slide(known) | {name: image(np.zeros((96, 96, 3), np.uint8))})
    refused(example("Folders by class and slide, in an archive", tmp_path, path=str(tmp_path / "patches")), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("label", "class", 1),
            r"patches.csv: expected a column 'label' for `label`; found path",
        ),
        (lambda text: text.replace("label", "lable", 1), r"for `label`; did you mean 'lable'\?"),
        (lambda text: text.replace(",stroma,", ",,", 1), r"line \d+: expected the label of the patch, found nothing"),
        (lambda text: text.replace(",stroma,", ",fatt,", 1), r"line \d+: expected a class of .*, found 'fatt'"),
        (lambda text: text.replace(",train,", ",trian,", 1), r"line 2: expected a split of .* found 'trian'"),
        (lambda text: text + text.splitlines()[1] + "\n", r"line 50: '.*' stands in line 2, too"),
        (
            lambda text: text.replace(",train,", ",train,x", 1),
            r"line 2: expected whole numbers from 0 to .* as x and y",
        ),
        (
            lambda text: text.replace("\n", "\nS/no.png,tumour,S,train,1,1\n", 1),
            r"entry 'S/no.png'.* there is no such entry",
        ),
        (
            lambda text: text.replace(",train,", ",", 1),
            r"line 2: expected 6 values between commas, as in the header, found 5",
        ),
        (
            lambda text: text + "./x/../" + text.splitlines()[1] + "\n",
            r"line 50: '\./x/\.\./.*' stands in line 2, too",
        ),
        (
            lambda text: text.replace(",stroma,", ",nan,", 1),
            r"expected the label of the patch, found nothing in the col",
        ),
        (lambda text: text.splitlines()[0] + "\n", r"patches.csv: expected rows, found none"),
        (lambda text: text.replace("group", "label", 1), r"different names, between commas, found 'label' twice"),
    ],
)
def test_a_table_that_says_too_little_is_named(change, message, known, tmp_path):
    of_a_table(known, tmp_path)
    path = tmp_path / "patches.csv"
    path.write_text(change(path.read_text()))
    refused(example("A table of your own", tmp_path), message)


@pytest.mark.parametrize("nothing", ["", "nan", "NaN", "<NA>"])
def test_a_text_with_nothing_in_its_braces_is_nothing(nothing, known, tmp_path):
    of_a_table(known, tmp_path)
    frame = pd.read_csv(tmp_path / "patches.csv").rename(columns={"group": "Case No."})
    lost, group = frame["path"].iloc[::2], frame["Case No."].copy()
    frame.loc[::2, "Case No."] = nothing
    frame.to_csv(tmp_path / "patches.csv", index=False)
    title, columns = "A table of your own", {"group": "slide {Case No.}"}
    dataset, tally = example(title, tmp_path, columns=columns), Tally()
    found = {row[1]: row[2] for row in each(datasets.read(dataset, tally))}
    expected = ("slide " + group).where(~frame["path"].isin(lost), "")
    assert found == dict(zip(frame["path"], expected, strict=True))
    assert tally.notes["patches whose slide or patient is unknown"] == len(lost) == 24
    by_group = {"by": "group", "train": 0.5, "valid": 0.25, "test": 0.25, "seed": 1}
    refused(replace(dataset, split=by_group), r"24 of 48 patches have no slide or patient")
    dataset = example(title, tmp_path, columns=columns | {"id": "{Case No.}-{x}-{y}"})
    refused(dataset, r"line 2: expected the id of the patch, found nothing in the column 'Case No\.'")


def test_slides_that_differ_by_case_or_spaces_are_named(known, tmp_path, caplog):
    of_a_table(known, tmp_path)
    frame = pd.read_csv(tmp_path / "patches.csv")
    group = frame.loc[3, "group"]
    frame.loc[3, "group"] = other = f" {group[0]} {group[1:].swapcase()}"
    frame.to_csv(tmp_path / "patches.csv", index=False)
    tally = Tally()
    list(datasets.read(example("A table of your own", tmp_path), tally))
    reason = "slides or patients whose name differs from another's by case or spaces alone"
    assert tally.notes[reason] == 1
    (pair,) = tally.examples[reason]
    assert set(pair.split(" and ")) == {repr(group), repr(other.strip())}
    assert "images.tar: 1 slides or patients have a name that differs from another's" in caplog.text
    assert f"for instance {pair}; they count as two" in caplog.text


@pytest.mark.parametrize(("delimiter", "other"), [(",", ";"), (";", ","), ("\t", ",")])
def test_what_stands_between_values_is_known_by_header_and_first_row(delimiter, other, known, tmp_path):
    of_a_table(known, tmp_path)
    name = other.join("upper left corner")
    frame = pd.read_csv(tmp_path / "patches.csv").rename(columns={"x": name})
    frame.to_csv(tmp_path / "patches.csv", index=False, sep=delimiter)
    dataset = example("A table of your own", tmp_path, columns={"x": name})
    places = {row[1]: row[4] for row in each(datasets.read(dataset, Tally()))}
    assert places == {row.path: [row[5], row.y] for row in frame.itertuples()}


def test_a_table_without_its_columns_or_rows_is_refused(known, tmp_path):
    of_breakhis(known, tmp_path)
    title = "BreakHis, benign against malignant"
    refused(
        example(title, tmp_path, where={"mags": [200]}), r"expected a column 'mags', of `where`; did you mean 'mag'"
    )
    refused(example(title, tmp_path, where={"mag": [300]}), r"expected rows for which .*300.*, found none")
    refused(example(title, tmp_path, where={"mag": [200]}), r"stands in line \d+, too; .* Choose rows by `where`")
    refused(example(title, tmp_path, pattern="/(?P<class>benign)/(?P<patient>x)?"), r"in which the pattern .* is found")
    refused(example(title, tmp_path, pattern="(?P<mag>x)?"), r"has a column 'mag', which the pattern finds, too")


def test_larger_images_are_left_out_unless_they_are_to_be_cut(known, tmp_path):
    of_breakhis(known, tmp_path)
    title = "BreakHis, benign against malignant"
    tally = Tally()
    list(datasets.read(example(title, tmp_path), tally))
    assert tally.notes["larger images, cut to their central square and resized to 224x224 px"] == 48
    refused(example(title, tmp_path, crop_to_aspect_ratio=False), r"Left out: 48 not 224x224 px")
    refused(example(title, tmp_path, patch_size=500), r"Left out: 48 smaller than 500x500 px")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        (True, "true"),
        ("FALSE", "false"),
        ("nan", ""),
        ("Nan", "Nan"),
        (None, ""),
        (float("nan"), ""),
        (" a ", "a"),
        ("1.5", "1.5"),
    ],
)
def test_equal_values_are_equal_texts(value, text):
    assert as_text(value) == text


def test_a_downsample_is_the_audits_and_prepares_nothing_anew(tmp_path):
    plain = example("A table of your own", tmp_path)
    stated = example("A table of your own", tmp_path, downsample=4)
    assert (plain.source.downsample, stated.source.downsample) == (1, 4)
    assert plain.definition() == stated.definition()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"tumour": [1], "normal": [1, 0]}}, r"sources.mine.labels: '1' stands under normal and elsewhere"),
        ({"pattern": "("}, r"sources.mine.pattern: expected a regular expression, found '\('"),
        ({"pattern": "a"}, r"sources.mine.pattern: expected named groups, .* found none"),
        ({"columns": {"path": "{}.png"}}, r"sources.mine.columns.path: expected the name of a column in each pair"),
        ({"columns": {"group": "{a}}"}}, r"sources.mine.columns.group: expected the name of a column in each pair"),
        ({"columns": {"paht": "x"}}, r"'paht' is not defined; did you mean 'path'"),
        ({"downsample": 0}, r"downsample"),
        ({"format": "folder", "where": {"a": [1]}}, r"sources.mine: where is not for `format: folder`"),
        ({"format": "folder", "pattern": "(?P<patient>.)"}, r"of the names label, group, split, x, y; found patient"),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(changes, message, tmp_path):
    with pytest.raises(HistobenchError, match=message):
        title = "A table of your own" if "format" not in changes else "Folders by class"
        example(title, tmp_path, **changes)


def test_only_the_files_that_a_table_lists_count(known, tmp_path):
    of_kaggle(known, tmp_path)
    save(tmp_path / "train", {"another.tif": b"x"})
    folder, names = datasets.files(example("Kaggle's Histopathologic Cancer Detection", tmp_path).source)
    assert folder == tmp_path / "train"
    assert len(names) == 48 + 1
    assert names[-1] == "../train_labels.csv"
