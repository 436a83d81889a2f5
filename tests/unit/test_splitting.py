"""Random splits."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import splitting
from histobench.core.errors import HistobenchError

FRACTIONS = {"train": 0.8, "valid": 0.1, "test": 0.1}


def split(by="patch", seed=1, **fractions):
    return {"by": by, "seed": seed} | FRACTIONS | fractions


@given(n=st.integers(20, 300), seed=st.integers(0, 2**32 - 1))
def test_parts_have_the_asked_sizes(n, seed):
    ids = [f"p{i}" for i in range(n)]
    parts = Counter(splitting.draw(split(seed=seed), ids, [""] * n))
    assert abs(parts["train"] - 0.8 * n) <= 1
    assert abs(parts["valid"] - 0.1 * n) <= 1
    assert sum(parts.values()) == n


@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(seed, order):
    ids = [f"p{i}" for i in range(50)]
    shuffled = order.sample(ids, len(ids))
    one = dict(zip(ids, splitting.draw(split(seed=seed), ids, [""] * 50), strict=True))
    two = dict(zip(shuffled, splitting.draw(split(seed=seed), shuffled, [""] * 50), strict=True))
    assert one == two


@given(groups=st.lists(st.integers(0, 30), min_size=60, max_size=200).filter(lambda g: len(set(g)) > 12))
def test_by_group_no_group_stands_on_two_sides(groups):
    names = [f"g{g}" for g in groups]
    parts = splitting.draw(split("group"), [str(i) for i in range(len(names))], names)
    sides = {(name, part) for name, part in zip(names, parts, strict=True)}
    assert len(sides) == len(set(names))


def test_another_seed_gives_another_split():
    ids = [f"p{i}" for i in range(100)]
    assert splitting.draw(split(seed=1), ids, ids) != splitting.draw(split(seed=2), ids, ids)


def test_too_few_units_for_three_parts_is_an_error():
    with pytest.raises(HistobenchError, match=r"cannot split 3 units \(by group\)"):
        splitting.draw(split("group"), list("abcdef"), list("xxyyzz"))
