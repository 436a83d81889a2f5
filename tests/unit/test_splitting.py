"""Random splits."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import splitting
from histobench.core.errors import HistobenchError

FRACTIONS = {"train": 0.8, "valid": 0.1, "test": 0.1}


def split(by="patch", seed=1, **fractions):
    return {"by": by, "seed": seed} | FRACTIONS | fractions


def classes(n):
    return [number % 2 for number in range(n)]


def all_hold_both_classes(parts, labels):
    return set(zip(parts, labels, strict=True)) == set(itertools.product(("train", "valid", "test"), (0, 1)))


@given(n=st.integers(20, 300), seed=st.integers(0, 2**32 - 1))
def test_parts_have_the_asked_sizes(n, seed):
    ids = [f"p{i}" for i in range(n)]
    parts = Counter(splitting.draw(split(seed=seed), ids, [""] * n, classes(n)))
    assert abs(parts["train"] - 0.8 * n) <= 1
    assert abs(parts["valid"] - 0.1 * n) <= 1
    assert sum(parts.values()) == n


@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(seed, order):
    ids = [f"p{i}" for i in range(50)]
    shuffled = order.sample(ids, len(ids))
    one = dict(zip(ids, splitting.draw(split(seed=seed), ids, [""] * 50, classes(50)), strict=True))
    two = dict(
        zip(
            shuffled,
            splitting.draw(split(seed=seed), shuffled, [""] * 50, [int(name[1:]) % 2 for name in shuffled]),
            strict=True,
        )
    )
    assert one == two


@given(groups=st.lists(st.integers(0, 30), min_size=60, max_size=200).filter(lambda g: len(set(g)) > 12))
def test_by_group_no_group_stands_on_two_sides(groups):
    names = [f"g{g}" for g in groups]
    parts = splitting.draw(split("group"), [str(i) for i in range(len(names))], names, classes(len(names)))
    sides = {(name, part) for name, part in zip(names, parts, strict=True)}
    assert len(sides) == len(set(names))


def test_another_seed_gives_another_split():
    ids = [f"p{i}" for i in range(100)]
    assert splitting.draw(split(seed=1), ids, ids, classes(100)) != splitting.draw(
        split(seed=2), ids, ids, classes(100)
    )


def test_too_few_units_for_three_parts_is_an_error():
    with pytest.raises(HistobenchError, match=r"cannot split 3 units \(by group\)"):
        splitting.draw(split("group"), list("abcdef"), list("xxyyzz"), classes(6))


HALVES = {"train": 0.5, "valid": 0.25, "test": 0.25}
SLIDES = st.lists(st.sampled_from(["0", "1", "01"]), min_size=4, max_size=8)  # the classes of each slide's patches


def patches_of(slides):
    """Return ids, groups and labels of the patches of slides, one for each of their classes."""
    rows = [(f"s{number}-{label}", f"s{number}", int(label)) for number, own in enumerate(slides) for label in own]
    return [list(column) for column in zip(*rows, strict=True)]


@given(slides=SLIDES, seed=st.integers(0, 1000))
def test_a_split_is_found_whenever_any_has_both_classes_in_each_part(slides, seed):
    ids, groups, labels = patches_of(slides)
    try:
        parts = splitting.draw(split("group", seed, **HALVES), ids, groups, labels)
    except HistobenchError as error:
        assert "with both classes in each" in str(error)
        sizes = [int(size) for size in re.search(r"parts of (\d+), (\d+), (\d+)", str(error)).groups()]
        assert sum(sizes) == len(slides)
        for assigned in set(itertools.permutations(np.repeat(range(3), sizes).tolist())):
            held = [
                set().union(*(set(own) for own, at in zip(slides, assigned, strict=True) if at == part))
                for part in range(3)
            ]
            assert held.count({"0", "1"}) < 3
    else:
        assert all_hold_both_classes(parts, labels)
        assert len(set(zip(groups, parts, strict=True))) == len(slides)


@given(labels=st.lists(st.integers(0, 1), min_size=12, max_size=60), seed=st.integers(0, 1000))
def test_a_draw_that_holds_both_classes_is_taken_as_it_is(labels, seed):
    ids = [f"p{number:02d}" for number in range(len(labels))]
    ends = np.rint(np.array([0.5, 0.75]) * len(ids)).astype(int)
    plain = np.split(np.random.default_rng(seed).permutation(len(ids)), ends)
    if all({labels[patch] for patch in part} == {0, 1} for part in plain):
        drawn = splitting.draw(split(seed=seed, **HALVES), ids, [""] * len(ids), labels)
        found = [{number for number, name in enumerate(drawn) if name == part} for part in ("train", "valid", "test")]
        assert found == [set(part.tolist()) for part in plain]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("few", [3, 4, 10])
def test_few_tumours_get_into_each_part(seed, few):
    ids = [f"p{number}" for number in range(300)]
    labels = [int(number % (300 // few) == 7) for number in range(300)]
    parts = splitting.draw(split(seed=seed), ids, [""] * 300, labels)
    assert all_hold_both_classes(parts, labels)
    assert Counter(parts) == {"train": 240, "valid": 30, "test": 30}
    order = np.random.default_rng(1).permutation(300)
    shuffled = splitting.draw(split(seed=seed), [ids[i] for i in order], [""] * 300, [labels[i] for i in order])
    assert shuffled == [parts[i] for i in order]


def test_ten_slides_of_one_class_each():
    ids, groups, labels = patches_of(["0", "1"] * 5)
    for seed in range(40):
        parts = splitting.draw(split("group", seed, train=0.6, valid=0.2, test=0.2), ids, groups, labels)
        assert all_hold_both_classes(parts, labels)
    with pytest.raises(
        HistobenchError, match=r"10 slides or patients into parts of 8, 1, 1 .*: 5 of them .* 5 none, and 0"
    ):
        splitting.draw(split("group"), ids, groups, labels)
    with pytest.raises(
        HistobenchError, match=r"10 patches into parts of 6, 2, 2 .*: 2 of them hold tumour alone, 8 none"
    ):
        splitting.draw(split(train=0.6, valid=0.2, test=0.2), ids, groups, [1, 1, *[0] * 8])


def test_a_patch_without_a_group_cannot_be_split_by_group():
    ids, groups, labels = patches_of(["01"] * 10)
    with pytest.raises(
        HistobenchError, match=r"1 of 20 patches have no slide or patient, for instance s1-1\. Say which they are"
    ):
        splitting.draw(split("group"), ids, [*groups[:3], "", *groups[4:]], labels)
