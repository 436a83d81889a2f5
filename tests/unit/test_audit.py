"""The audit of a data set: what is planted into its records is counted where it stands, and named."""

import itertools

import numpy as np
import pandas as pd
import pytest

from histobench.core import paths, prepared, selections
from histobench.core.datasets import Tally, read
from histobench.core.formats import FORMATS, Dataset, Source
from histobench.core.selections import Selection
from histobench.core.simulation import PCAM, draw_style, pcam_patch
from histobench.results import audit
from histobench.results.figures import duplicates
from histobench.results.inputs import Inputs
from histobench.results.tables.audit import counted, in_print
from histobench.train import records
from support import small
from support.planted import EQUAL, NEAR, Planted
from support.small import patches


def files(folder):
    return [folder / name for name in paths.AUDIT_FILES]


def audited(folder, chunks, downsample=1):
    """Write records and audit them; return counts by (part, beside), patches and pairs."""
    small.write(folder, chunks)
    audit.write(folder, downsample)
    about, copies, near = audit.read(files(folder))
    return {(row["part"], row["beside"]): row for row in about["counts"]}, copies, near


def simulated(n):
    rng = np.random.default_rng(11)
    styles = [draw_style(rng, PCAM) for _ in range(10)]
    return np.stack([pcam_patch(rng, styles[number % 10], number // 10 % 2)[0] for number in range(n)])


def found_of(copies, near):
    """Return which pairs an audit found, of equal ones and of those that show the same in part."""
    members = copies[copies["copies_in"] != ""].groupby("same")["patch_id"].agg(list)
    equal = {pair for names in members for pair in itertools.combinations(names, 2)}
    return equal, set(zip(near["first_patch_id"], near["second_patch_id"], strict=True))


def test_what_is_planted_is_found_and_nothing_else(tmp_path):
    planted = Planted(simulated(200), np.arange(200) // 10 % 2)
    counts, copies, near = audited(tmp_path, planted.chunks)
    equal, shown = found_of(copies, near)
    assert equal == set(planted.equal)
    assert shown == set(planted.near)
    beside = [counts["test", "train"], counts["test", "valid"]]
    assert sum(row["copies"] for row in beside) == EQUAL
    assert sum(row["near"] for row in beside) == NEAR
    assert sum(row["conflicts"] for row in beside) == len(planted.conflicts)
    for part in ("train", "valid", "test"):
        row = counts[part, part]
        assert row["distinct"] == row["distinct_turned"] == row["patches"]
        assert row["copies"] == row["near"] == row["conflicts"] == 0
    named = copies.set_index("patch_id")
    assert set(named.loc[[name for _, name in planted.equal], "copies_in"]) <= {"train", "valid"}
    assert set(named.loc[[name for name, _ in planted.equal], "copies_in"]) == {"test"}
    assert (named.loc[[name for _, name in planted.near], "near_in"] != "").all()


def test_counts_by_hand(tmp_path):
    """Patches of noise in groups of both parts; three equal ones in train, two of them also in test."""
    train, valid, test = (patches(split, 8, seed) for seed, split in enumerate(("train", "valid", "test")))
    train.images[4] = train.images[0]  # both normal
    train.images[5] = np.rot90(train.images[0])  # a tumour
    test.images[1] = test.images[3] = train.images[0][:, ::-1]  # both tumours
    valid.images[:2] = 250  # normal and tumour
    train.groups[:] = ["a", "a", "b", "b", "c", "c", "", ""]
    test.groups[:] = ["a", "x", "x", "x", "c", "c", "", ""]
    counts, copies, near = audited(tmp_path, [train, valid, test])
    row = counts["train", "train"]
    assert (row["copies"], row["distinct"], row["distinct_turned"], row["conflicts"]) == (3, 7, 6, 3)
    assert (row["groups"], row["uniform"]) == (3, 0)
    row = counts["valid", "valid"]
    assert (row["copies"], row["distinct"], row["uniform"], row["conflicts"]) == (2, 7, 2, 2)
    row = counts["test", "train"]
    assert (row["copies"], row["conflicts"], row["near"]) == (2, 2, 0)
    assert (row["shared_groups"], row["group_patches"]) == (2, 3)
    assert set(counts) == {("train", "train"), ("valid", "train"), ("valid", "valid")} | {
        ("test", part) for part in ("train", "valid", "test")
    }
    same = copies.groupby("same")["patch_id"].agg(list).tolist()
    assert sorted(map(sorted, same)) == [["test-1", "test-3", "train-0", "train-4", "train-5"], ["valid-0", "valid-1"]]
    assert copies.set_index("patch_id").loc["train-5", ["turned", "copies_in"]].tolist() == [
        "turned by 270°",
        "train test",
    ]
    assert near.empty
    assert audit.in_words(counts["test", "train"]) == (
        "of 8 patches of test beside train: 2 equal one of the other label, 3 are of a slide or patient of both, "
        "2 equal one there"
    )
    assert audit.in_words(counts["valid", "train"]) == ""


def test_pairs_of_two_folds_are_shown(tmp_path, monkeypatch):
    """The parts of the audit are folds; their patches are stored in one part."""
    chunk = patches(prepared.WHOLE, 60, seed=1)
    chunk.groups[:] = [f"g{number % 6}" for number in range(60)]
    chunk.images[1] = chunk.images[0]
    about = {"dataset": "cv", "patches_are": "own", "split": "published", "leaky": False, "format": "table"}
    records.write(tmp_path / "cv", [chunk], Tally(), about, (prepared.WHOLE,))
    folds = []
    for number in (1, 2, 3):
        folds.append(tmp_path / f"cv.fold-{number}")
        choice = Selection("cv", folds=3, fold=number, split_seed=1)
        selections.write(folds[-1], folds[-1].name, choice, {"split": "published"})
    audit.write(tmp_path / "cv", 1, folds)
    drawn = []
    monkeypatch.setattr(duplicates, "pairs", lambda shown, images: drawn.append((shown, images)))
    inputs = {"audit": files(tmp_path / "cv"), "records": [tmp_path / "cv/index.parquet"]}
    duplicates.duplicates_figure(Inputs({name: list(map(str, each)) for name, each in inputs.items()}, "cv", {}))
    ((shown, images),) = drawn
    row = shown.iloc[0]
    assert row["first_split"].startswith("fold-")
    assert row["second_split"].startswith("fold-")
    assert {row["first_patch_id"], row["second_patch_id"]} == {chunk.ids[0], chunk.ids[1]}
    assert (images[0] == chunk.images[0]).all()


def test_published_counts_stand_beside_those_of_the_whole_data_alone():
    about = {"counts": [{"part": "train", "beside": "train", "distinct": 5}, {"part": "test", "beside": "train"}]}
    about["shared_groups"] = {"test train": ["a", "b"]}
    whole = {"patches_are": "published", "split": "published", "format": "pcam"}
    table = counted(about, whole)
    assert table["published_distinct"].tolist() == [220_025, pd.NA]
    assert table["shared_names"].tolist() == ["", "a; b"]
    for other in ({"patches_are": "subset"}, {"format": "idc"}, {"split": {"by": "group"}}):
        assert counted(about, whole | other)["published_distinct"].isna().all()
    assert [len(part) for part in in_print(table).values()] == [1, 1]


@pytest.mark.real
@pytest.mark.parametrize(("kind", "overlapping"), [("pcam", 11), ("idc", 0)])
def test_what_is_planted_into_real_patches_is_found_and_nothing_else(kind, overlapping, real_data, tmp_path):
    """But for what the real patches show twice themselves: PCam's overlap by multiples of 16 pixels."""
    images, labels = real_patches(kind, real_data)
    _, copies, known = audited(tmp_path / "before", Planted(images, labels).before)
    assert copies[copies["copies_in"] != ""].empty
    assert len(known) == overlapping
    assert (known["correlation"] == 1).all()
    planted = Planted(images, labels, avoid=[*known["first_patch_id"], *known["second_patch_id"]])
    counts, copies, near = audited(tmp_path / "after", planted.chunks)
    equal, shown = found_of(copies, near)
    assert equal == set(planted.equal)
    assert shown == set(planted.near) | set(zip(known["first_patch_id"], known["second_patch_id"], strict=True))
    assert sum(row["conflicts"] for key, row in counts.items() if key[0] == "test") == len(planted.conflicts)


def real_patches(kind, folder, most=4000):
    """Return patches and labels of a data set that is published, as its reader gives them."""
    known = FORMATS[kind]
    expected = {"pcam": {"train": 1314, "valid": 300, "test": 300}, "idc": {"patches": 12544, "patients": 15}}[kind]
    files = {name: file for name, file in known.files.items() if name not in known.slide_files}
    source = Source(kind, kind, str(folder / kind), files, expected, {}, known.patch_size, "subset")
    chunks = list(read(Dataset(kind, source, "published"), Tally()))
    return tuple(np.concatenate([getattr(some, name) for some in chunks])[:most] for name in ("images", "labels"))
