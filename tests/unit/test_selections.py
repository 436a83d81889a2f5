"""Folds of a cross-validation and parts of training patches: indexes over the records of another data set."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.core import prepared, selections
from histobench.core.errors import HistobenchError
from histobench.core.features import ABOUT, Features, file_name
from histobench.core.files import digest, write_sealed
from histobench.core.prepared import SPLITS, WHOLE, Records
from histobench.core.selections import Selection
from histobench.results import collect, controls
from support import small
from support.paper import study

FOLDS = 4


def whole(groups: int = 12, each: int = 8, seed: int = 0) -> pd.DataFrame:
    """The index of a data set that is cross-validated."""
    rng = np.random.default_rng(seed)
    n = groups * each
    columns = {name: np.zeros(n) for name in prepared.INDEX} | {
        "split": WHOLE,
        "position": np.arange(n),
        "patch_id": [f"p{number:04d}" for number in rng.permutation(n)],
        "group": np.repeat([f"g{number}" for number in rng.permutation(groups)], each),
        "label": (rng.random(n) < 0.4).astype(np.uint8),
    }
    return pd.DataFrame(columns)


def fold(number: int, seed: int = 1, **changes) -> Selection:
    return Selection("all", folds=FOLDS, fold=number, split_seed=seed, **changes)


def test_every_patch_is_tested_on_once_and_no_group_is_on_both_sides():
    index = whole()
    tested, validated = [], []
    for number in range(1, FOLDS + 1):
        chosen = selections.choose(index, fold(number))
        by_split = {split: set(chosen.loc[chosen["split"] == split, "group"]) for split in SPLITS}
        assert sum(map(len, by_split.values())) == 12
        assert set().union(*by_split.values()) == set(index["group"])
        tested += chosen.loc[chosen["split"] == "test", "patch_id"].tolist()
        validated += chosen.loc[chosen["split"] == "valid", "patch_id"].tolist()
    assert sorted(tested) == sorted(validated) == sorted(index["patch_id"])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_the_files_does_not_matter(random, seed):
    index = whole()
    order = list(range(len(index)))
    random.shuffle(order)
    shuffled = index.iloc[order].reset_index(drop=True).assign(position=range(len(index)))
    one, two = (selections.choose(each, fold(1, seed)).set_index("patch_id")["split"] for each in (index, shuffled))
    assert one.sort_index().equals(two.sort_index())


def test_folds_are_stratified():
    """Groups of one class alone are spread over the folds."""
    index = whole(groups=FOLDS * 4)
    tumour = index["group"].isin(sorted(index["group"].unique())[: FOLDS * 2])
    index["label"] = tumour.astype(np.uint8)
    for number in range(1, FOLDS + 1):
        chosen = selections.choose(index, fold(number))
        assert chosen.loc[chosen["split"] == "test", "label"].mean() == 0.5


def test_another_seed_draws_other_folds():
    one, two = (selections.choose(whole(), fold(1, seed)) for seed in (1, 2))
    assert set(one.loc[one["split"] == "test", "group"]) != set(two.loc[two["split"] == "test", "group"])


@pytest.mark.parametrize("unit", ["train_fraction", "train_groups"])
def test_smaller_parts_lie_within_larger_ones(unit):
    index, before = whole(), set()
    sizes = (0.3, 0.5, 0.8) if unit == "train_fraction" else (3, 4, 5)
    rest = None
    for size in sizes:
        chosen = selections.choose(index, fold(1, subset_seed=7, **{unit: size}))
        training = chosen[chosen["split"] == "train"]
        others = chosen[chosen["split"] != "train"].reset_index(drop=True)
        assert rest is None or others.equals(rest)
        assert before < set(training["patch_id"])
        rest, before = others, set(training["patch_id"])
        if unit == "train_groups":
            assert training["group"].nunique() == size
            assert len(training) == 8 * size  # whole groups
        else:
            assert len(training) == round(size * 48)
    other = selections.choose(index, fold(1, subset_seed=8, **{unit: sizes[0]}))
    assert set(other.loc[other["split"] == "train", "patch_id"]) - before


@pytest.mark.parametrize(
    ("index", "selection", "message"),
    [
        (
            whole(groups=3),
            fold(1),
            "expected at least 4 slides or patients for 4 folds, found 3. Take at most 3 `folds`",
        ),
        (whole(groups=2), fold(1), "found 2. Take patches of more of them, or another `split`"),
        (whole().assign(group=""), fold(1), "96 of 96 patches have no slide or patient, for instance p"),
        (whole().assign(label=1), fold(1), "both classes in the train part, found 48 patches, 48 of them tumour"),
        (
            whole(),
            fold(1, train_groups=7, subset_seed=1),
            "expected at least 7 slides or patients to train on, found 6. Take `train_groups` below 6",
        ),
        (
            whole().assign(split=SPLITS * 32, group=""),
            Selection("all", train_groups=2, subset_seed=1),
            "found none. Take `train_fraction`, or say which they are",
        ),
        (
            whole(),
            fold(1, train_fraction=0.01, subset_seed=1),
            "both classes in the train part, found 1 patches, . of them tumour. Take a larger `train_fraction` than "
            "0.01, fewer folds, more patches or groups, or another seed",
        ),
        (
            whole().assign(label=1),
            Selection("all", folds=3, fold=1, train_groups=1),
            "Take more `train_groups` than 1, more patches or groups, or another seed",
        ),
        (
            whole().assign(label=1, split=SPLITS * 32),
            Selection("all", subset_seed=1),
            "Take more patches or groups, or another",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(index, selection, message):
    with pytest.raises(HistobenchError, match=message):
        selections.choose(index, selection)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A data set that is cross-validated, one with a split of its own, features of both, and selections from them."""
    root = tmp_path_factory.mktemp("data")
    chunk = small.patches(WHOLE, 60, seed=1)
    chunk.groups[:] = [f"g{number % 8}" for number in range(60)]
    from histobench.core.datasets import Tally
    from histobench.train import records

    about = {"dataset": "all", "patches_are": "simulated", "split": {"by": "group", "folds": FOLDS, "seed": 1}}
    about |= {"leaky": False, "format": "pcam"}
    records.write(root / "all", [chunk], Tally(), about, (WHOLE,))
    small.prepare(root / "split", {"train": 30, "valid": 12, "test": 12})
    chosen = {
        "fold": fold(2),
        "part": Selection("split", train_fraction=0.5, subset_seed=1),
        "both": fold(2, train_groups=3, subset_seed=1),
    }
    for name, selection in chosen.items():
        selections.write(root / name, name, selection, {"split": prepared.manifest(root / selection.of)["split"]})
    return root


def by_id(part) -> dict[str, np.ndarray]:
    return dict(zip(part.ids, part.take(np.arange(len(part))), strict=True))


@pytest.mark.parametrize(("name", "of"), [("fold", "all"), ("part", "split"), ("both", "all")])
def test_patches_and_features_are_those_of_the_other_data_set(stored, name, of, tmp_path):
    parts = prepared.parts(stored / of)
    sha256, known = {}, {}
    for number, part in enumerate(parts):
        opened = Records(stored / of, part)
        known |= by_id(opened)
        features = np.random.default_rng(number).normal(size=(len(opened), 5)).astype(np.float32)
        np.save(tmp_path / file_name(part), features)
        sha256[part] = digest(tmp_path / file_name(part))
    write_sealed(tmp_path / ABOUT, {"sha256": sha256})
    of_features = {key: row for part in parts for key, row in by_id(Features(stored / of, tmp_path, part)).items()}
    seen = 0
    for split in SPLITS:
        for opened, rows in (
            (Records(stored / name, split), known),
            (Features(stored / name, tmp_path, split), of_features),
        ):
            found = by_id(opened)
            seen += len(found)
            for key, row in found.items():
                np.testing.assert_array_equal(row, rows[key])
        # In whatever order they are taken.
        backwards = np.arange(len(opened))[::-1]
        np.testing.assert_array_equal(opened.take(backwards), opened.take(backwards[::-1])[::-1])
    counts = prepared.manifest(stored / name)["patches"]
    assert seen == 2 * sum(count["n"] for count in counts.values())
    assert prepared.tested(stored / name) == "test"


def test_test_patches_are_never_read_for_training(stored, tmp_path):
    """They lie in the same files: bytes of theirs that are damaged do not matter to a training."""
    import shutil

    for name in ("all", "fold"):
        shutil.copytree(stored / name, tmp_path / name)
    test = Records(tmp_path / "fold", "test")
    codes, places = test._places(np.arange(len(test)))
    assert not codes.any()
    for place in places:
        path = tmp_path / "all" / prepared.shard_names(WHOLE)[place % prepared.SHARDS]
        content = bytearray(path.read_bytes())
        content[(place // prepared.SHARDS) * test._frame + prepared.BEFORE_IMAGE] ^= 1
        path.write_bytes(content)
    for split in ("train", "valid"):
        part = Records(tmp_path / "fold", split)
        np.testing.assert_array_equal(
            part.take(np.arange(len(part))), Records(stored / "fold", split).take(np.arange(len(part)))
        )
    with pytest.raises(HistobenchError, match="expected bytes of CRC-32"):
        Records(tmp_path / "fold", "test").take(np.arange(1))


def test_the_identity_of_a_selection_follows_its_choice_and_its_patches(stored):
    digests = {
        name: prepared.manifest(stored / name)["patches_sha256"] for name in ("all", "split", "fold", "part", "both")
    }
    assert len(set(digests.values())) == len(digests)


def test_the_split_is_told_in_words(stored):
    manifest = prepared.manifest(stored / "both")
    assert collect.split_in_words(manifest) == "4 folds by group, seed 1"
    groups = Selection("all", train_groups=3, subset_seed=1).in_words()
    assert (
        collect.split_in_words(manifest, groups) == "4 folds by group, seed 1; 3 groups of the training patches, seed 1"
    )
    # Of a subset that each seed draws, the manifest of the first seed's does not say so.
    assert Selection("all", train_fraction=0.3).in_words() == "0.3 of the training patches, drawn anew by each seed"
    assert Selection("all").in_words() == ""


def test_controls_of_folds_score_every_patch(stored):
    for number in range(1, FOLDS + 1):
        selections.write(stored / f"fold-{number}", f"fold-{number}", fold(number), {"split": "published"})
    indexes = [prepared.index(stored / f"fold-{number}", controls.COLUMNS) for number in range(1, FOLDS + 1)]
    floor = controls.colour_floor(*indexes)
    for split in ("valid", "test"):
        assert sorted(floor.loc[floor["split"] == split, "patch_id"]) == sorted(Records(stored / "all", WHOLE).ids)
    # The score of a test patch is that of its fold alone.
    one = controls.colour_floor(indexes[2]).query("split == 'test'").set_index("patch_id")["score"]
    assert floor.query("split == 'test'").set_index("patch_id")["score"][one.index].equals(one)
    control = controls.shuffled_labels(*indexes, shuffles=20)
    assert control["test_patches"] == 60
    assert control["holds_chance"]


CELLS = {"models": ["b2"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"]}


def of_study(datasets, seeds=(1, 2), **changes):
    sources = {"own": {"format": "folder", "path": "patches", "patch_size": 50}}
    names = [name for name in datasets if not name.startswith("_")]
    matrix = [{"datasets": names, **CELLS, "seeds": list(seeds)} | changes]
    return study(sources=sources, datasets=datasets, matrix=matrix)


CV = {"source": "own", "split": {"by": "group", "folds": 3, "seed": 5}}


def test_a_cell_has_a_run_for_each_fold_and_one_result():
    found = of_study({"cv": CV})
    assert [str(run) for run in found.trained_for] == [f"cv/b2/full/paper/cpu/seed-{seed}" for seed in (1, 2)]
    assert [(run.dataset, run.seed) for run in found.runs] == [(f"cv.fold-{k}", s) for s in (1, 2) for k in (1, 2, 3)]
    assert {found.datasets[run.dataset].selection.split_seed for run in found.runs} == {5}
    assert found.stored("cv.fold-2") == found.stored("cv") == "cv"


def test_without_a_seed_each_run_draws_its_own():
    again = {"source": "own", "split": {"by": "group", "folds": 3}}
    found = of_study({"cv": again, "half": {"subset_of": "cv", "train_fraction": 0.5}})
    drawn = {run.dataset: found.datasets[run.dataset].selection for run in found.runs}
    assert {name: (each.split_seed, each.subset_seed) for name, each in drawn.items() if each.fold == 1} == {
        "cv.seed-1.fold-1": (1, None),
        "cv.seed-2.fold-1": (2, None),
        "half.seed-1.fold-1": (1, 1),
        "half.seed-2.fold-1": (2, 2),
    }
    assert len(found.runs) == 2 * 2 * 3
    assert found.drawn_anew("cv")
    assert found.drawn_anew("half")
    assert found.subset_of("half") == "cv"


def test_a_subset_with_a_seed_is_a_data_set_like_any_other():
    split = {"by": "group", "train": 0.6, "valid": 0.2, "test": 0.2, "seed": 1}
    subset = {"subset_of": "own", "train_groups": 3, "seed": 4}
    found = of_study({"own": {"source": "own", "split": split}, "three": subset})
    assert [run for run in found.runs if run.dataset == "three"] == list(found.trained_for)[2:]
    assert not found.drawn_anew("own")
    assert not found.drawn_anew("three")
    assert found.datasets["three"].selection == Selection("own", train_groups=3, subset_seed=4)


@pytest.mark.parametrize(
    ("datasets", "changes", "message"),
    [
        ({"cv": {"source": "own", "split": {"by": "patch", "folds": 3}}}, {}, "cv.split: folds are drawn by group"),
        ({"cv": {"source": "own", "split": {"by": "group", "folds": 2}}}, {}, "2 is less than the minimum of 3"),
        ({"cv": CV, "a": {"subset_of": "cb", "train_fraction": 0.5}}, {}, "'cb' is not defined; known: cv"),
        ({"cv": CV, "a": {"subset_of": "cv"}}, {}, "expected one of `train_fraction` and `train_groups`"),
        ({"cv": CV | {"train_fraction": 0.5}}, {}, "train_fraction is for a data set with `subset_of`"),
        ({"cv": CV, "cv.fold-2": CV}, {}, "cv.fold-2: this name is that of a part of cv; choose another"),
        (
            {"cv": CV, "a": {"subset_of": "cv", "train_groups": 2}, "_b": {"subset_of": "a", "train_groups": 1}}, {},
            "a is a subset itself; name cv",
        ),
        ({"cv": CV}, {"recipes": ["timing"]}, "seconds are measured on a data set with one split"),
    ],
)  # fmt: skip
def test_a_data_set_that_contradicts_itself_is_refused(datasets, changes, message):
    with pytest.raises(HistobenchError, match=message):
        of_study({name.removeprefix("_"): each for name, each in datasets.items()}, **changes)
