"""k nearest neighbours: those of scikit-learn, whatever the blocks, and of equally near ones the first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier

from histobench.core.errors import HistobenchError
from histobench.train import neighbours
from histobench.train.neighbours import Neighbours
from histobench.train.standardization import statistics
from support.small import Arrays

METRICS = ["cosine", "euclidean"]


def part(features, labels=None, split="train") -> Arrays:
    features = np.asarray(features, np.float32)
    made = Arrays(features, np.arange(len(features)) % 2 if labels is None else labels)
    made.split = split
    return made


@pytest.fixture(scope="module")
def parts() -> tuple[Arrays, Arrays]:
    """Features of any sign, with lengths that differ by a factor of 100, and labels that they tell something of."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(700, 24)) * 10 ** rng.uniform(-1, 1, (700, 1)) + 0.3
    labels = (features[:, 0] + features[:, 1] + rng.normal(size=700) > 0).astype(np.uint8)
    return part(features[:500], labels[:500]), part(features[500:], labels[500:], "test")


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 20])
def test_shares_are_those_of_scikit_learn(parts, metric, k, standardized):
    train, test = parts
    scaling = statistics(train) if standardized else None
    found = Neighbours(train, {"n_neighbors": k, "metric": metric}, scaling).scores(test, (64, 100))
    x, y = (scaling.of(each.images) if standardized else each.images for each in parts)
    classifier = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(x.astype(float), train.labels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, classifier.predict_proba(y.astype(float))[:, 1], atol=1e-7)
    assert len(np.unique(found)) > 1


@settings(max_examples=40)
@given(
    metric=st.sampled_from(METRICS),
    k=st.integers(1, 30),
    block=st.tuples(st.integers(1, 40), st.integers(1, 90)),
    seed=st.integers(0, 2**32 - 1),
    values=st.sampled_from([2, 3, 1000]),
)
def test_of_equally_near_ones_the_first_whatever_the_blocks(metric, k, block, seed, values):
    # Small whole numbers: many distances are equal, and scikit-learn's are exact.
    rng = np.random.default_rng(seed)
    train, test = (part(rng.integers(0, values, (n, 3))) for n in (60, 31))
    knn = Neighbours(train, {"n_neighbors": k, "metric": metric})
    positions = np.concatenate(
        [
            knn.nearest(test, np.arange(31)[start : start + block[0]], block[1]).positions
            for start in range(0, 31, block[0])
        ]
    )
    if metric == "euclidean":
        distances = pairwise_distances(test.images.astype(float), train.images.astype(float), "sqeuclidean")
        expected = np.argsort(np.rint(distances), axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(positions, expected)
    whole = knn.nearest(test, np.arange(31))
    np.testing.assert_array_equal(positions, whole.positions)
    np.testing.assert_array_equal(knn.scores(test, block), knn.scores(test))


@pytest.mark.parametrize("metric", METRICS)
def test_keys_are_exact_sums_so_that_no_order_of_them_differs(parts, metric):
    train, test = parts
    order = np.random.default_rng(2).permutation(24)
    shuffled = (part(each.images[:, order], each.labels, each.split) for each in parts)
    (a, b), knn = shuffled, {"n_neighbors": 500, "metric": "euclidean"}
    # All keys of all pairs, with the features in another order: equal to the last bit.
    first = Neighbours(train, knn | {"metric": metric}).nearest(test, np.arange(50))
    second = Neighbours(a, knn | {"metric": metric}).nearest(b, np.arange(50))
    if metric == "euclidean":  # the length of a vector is no exact sum
        np.testing.assert_array_equal(first.keys, second.keys)
    np.testing.assert_array_equal(first.positions, second.positions)


@pytest.mark.parametrize("metric", METRICS)
def test_backends_give_the_same_bits(parts, metric, monkeypatch):
    train, test = parts
    knn = Neighbours(train, {"n_neighbors": 500, "metric": metric})
    ours = knn.nearest(test, np.arange(200))
    monkeypatch.setattr(neighbours, "BACKEND", "jax")  # NumPy's product, in its own order
    for own, other in zip(ours, knn.nearest(test, np.arange(200)), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("metric", METRICS)
def test_constant_features_have_the_first_patches_as_neighbours(metric):
    train, test = part(np.full((40, 5), 7.25)), part(np.full((9, 5), 7.25))
    for scaling in (None, statistics(train)):
        found = Neighbours(train, {"n_neighbors": 6, "metric": metric}, scaling).nearest(test, np.arange(9), 7)
        np.testing.assert_array_equal(found.positions, [np.arange(6)] * 9)


def test_vectors_of_length_zero_and_far_longer_ones_than_in_training():
    train = part([[0, 0], [1, 0], [0, 2], [3, 3]])
    test = part([[0, 0], [1e6, 0], [-1e-6, 1e-6], [1e4, 2.0001e4]])
    nearest = Neighbours(train, {"n_neighbors": 2, "metric": "euclidean"}).nearest(test, np.arange(4)).positions
    expected = pairwise_distances(test.images.astype(float), train.images.astype(float)).argsort(axis=1, kind="stable")
    np.testing.assert_array_equal(nearest, expected[:, :2])
    # A vector without a direction is at cosine distance 1 of all.
    nearest = Neighbours(train, {"n_neighbors": 4, "metric": "cosine"}).nearest(test, np.arange(2)).positions
    np.testing.assert_array_equal(nearest[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(nearest[1], [1, 3, 0, 2])


def test_more_neighbours_than_patches_and_features_that_are_no_numbers_are_refused():
    train = part(np.eye(4))
    with pytest.raises(HistobenchError, match="found 5 and 4"):
        Neighbours(train, {"n_neighbors": 5, "metric": "cosine"})
    broken = part([[1, np.nan], [1, 2]], split="test")
    with pytest.raises(HistobenchError, match="1 of 2 test patches"):
        Neighbours(train, {"n_neighbors": 1, "metric": "cosine"}).scores(broken)


def test_the_row_of_the_history_is_of_the_validation_part_and_the_file_holds_the_statistics(parts, tmp_path):
    train, valid = parts
    recipe = {"knn": {"n_neighbors": 5, "metric": "euclidean"}, "standardize": True}
    found, row, timing = neighbours.fit(train, valid, recipe)
    scores = found.scores(valid)
    assert row["epoch"] == timing["epoch"] == 1
    assert [row[name] for name in ("accuracy", "auc", "loss")] == [None] * 3
    assert row["val_accuracy"] == pytest.approx(((scores > 0.5) == (valid.labels > 0.5)).mean())
    pairs = np.sign(scores[valid.labels == 1][:, None] - scores[valid.labels == 0])
    assert row["val_auc"] == pytest.approx((1 + pairs.mean()) / 2, abs=1e-6)
    clipped = np.clip(scores.astype(float), 1e-7, 1 - 1e-7)
    assert row["val_loss"] == pytest.approx(-np.log(np.where(valid.labels, clipped, 1 - clipped)).mean(), rel=0.02)
    neighbours.save(found, tmp_path / "weights")
    np.testing.assert_array_equal(neighbours.load(train, recipe, tmp_path / "weights").scores(valid), scores)
    neighbours.save(Neighbours(train, recipe["knn"]), tmp_path / "plain")
    with pytest.raises(HistobenchError, match=r"plain: expected mean and scale of \(?24"):
        neighbours.load(train, recipe, tmp_path / "plain")
