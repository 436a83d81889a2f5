"""What a search may spend, what it may try, and what its findings make of a recipe."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from histobench.core import recipes
from histobench.core.errors import HistobenchError
from histobench.tuning import search_settings, tuned_recipe
from support import small
from support.small import SEARCH

RECIPE = small.RECIPE | {"search": SEARCH}


def test_one_iteration_of_the_authors_search_is_30_trials_and_120_epochs():
    assert search_settings.budget(SEARCH) == (30, 120)
    assert search_settings.budget(SEARCH | {"iterations": 4}) == (120, 480)
    # As many random configurations as those epochs pay for.
    assert search_settings.budget(SEARCH | {"method": "random"}) == (12, 120)
    assert search_settings.budget(SEARCH | {"method": "random", "iterations": 4}) == (48, 480)


@given(max_epochs=st.integers(2, 100), factor=st.integers(2, 5))
def test_every_bracket_goes_on_where_its_round_before_ended_and_to_the_last_epoch(max_epochs, factor):
    for bracket in search_settings.hyperband(max_epochs, factor):
        assert [rung.first for rung in bracket] == [0, *(rung.last for rung in bracket[:-1])]
        assert bracket[-1].last == max_epochs
        trials = [rung.trials for rung in bracket]
        assert trials == sorted(trials, reverse=True)


def with_space(**space) -> dict:
    return RECIPE | {"search": SEARCH | {"space": space}}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"batch_size": {"min": 64, "max": 32}}, "search.space.batch_size: expected min < max, found 64 and 32"),
        ({"learning_rate": {"min": 0, "max": 1, "sampling": "log"}}, "needs a min above 0, found 0"),
        ({"learning_rate": {"min": -1, "max": 1}}, "learning_rate: expected a number above 0 .*, found -1"),
        ({"learning_rate": {"min": 1e-50, "max": 1}}, r"in float32: 1.2e-38 to 3.4e\+38\), found 1e-50"),
        ({"learning_rate": {"min": 0.001, "max": float("inf")}}, "learning_rate: expected a number above 0.*found inf"),
        ({"learning_rate": {"values": [0.1, 1e39]}}, r"learning_rate: expected a number above 0.*found 1e\+39"),
        ({"batch_size": {"min": 1.5, "max": 8}}, "batch_size: expected a whole number, 1 or more, found 1.5"),
        ({"dense_units": {"values": [64, True]}}, "dense_units: expected a whole number, 1 or more, found True"),
        ({"dropout": {"values": [0, 1]}}, "dropout: expected a number from 0 to below 1, found 1"),
        ({"augmentation": {"min": 0, "max": 1}}, "augmentation: expected `values`, found a range"),
        ({"augmentation": {"values": ["flips"]}}, r"kinds of augmentation joined by '\+' \(d4, author-inceptionv3"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space, message):
    with pytest.raises(HistobenchError, match=message):
        search_settings.check("tuned", with_space(**space))


def test_augmentation_is_not_searched_for_on_cached_features():
    recipe = with_space(augmentation={"values": ["none", "d4", "d4+stain"]})
    search_settings.check("tuned", recipe)
    assert recipes.transfer(recipe) == "end_to_end"
    with pytest.raises(HistobenchError, match=r"recipes.tuned.search.space.augmentation: `transfer: cached`"):
        search_settings.check("tuned", recipe | {"transfer": "cached"})


def test_values_are_laid_over_a_recipe():
    values = {"learning_rate": 0.0003, "batch_size": 96, "dense_units": 64, "dropout": 0.25, "augmentation": "d4+stain"}
    tuned = tuned_recipe.with_values(RECIPE, values | {"tuner/epochs": 4, "tuner/trial_id": "0003"})
    assert tuned == RECIPE | {
        "optimizer": {"name": "adam", "learning_rate": 0.0003},
        "batch_size": 96,
        "dense_units": 64,
        "dropout": 0.25,
        "augmentation": ["d4", "stain"],
    }
    assert recipes.dense(tuned) == (64, 0.25)
    assert tuned_recipe.with_values(RECIPE, {"augmentation": "none"})["augmentation"] == []
    assert RECIPE["optimizer"]["learning_rate"] == 0.001


def test_what_float32_makes_of_a_value_is_not_seen():
    values = {"learning_rate": 0.000314159, "batch_size": 96}
    assert tuned_recipe.rounded(values | {"learning_rate": float(np.float32(0.000314159))}) == values


def test_what_was_found_can_be_read_and_copied_into_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    tuned_recipe.write(path, RECIPE, {"learning_rate": 0.0003, "batch_size": 16}, "hyperband, trial 0007")
    text = path.read_text()
    assert text.startswith("# hyperband, trial 0007\n")
    # The batch size is told although the recipe has the same: it was searched for.
    assert yaml.safe_load(text) == {"optimizer": {"name": "adam", "learning_rate": 0.0003}, "batch_size": 16}
    spec = {"run": {}, "recipe": RECIPE}
    assert tuned_recipe.apply(spec, path)["recipe"]["optimizer"]["learning_rate"] == 0.0003
    assert tuned_recipe.apply(spec, None) == spec


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "- 3",
        lambda text: text.replace("0.0003", "0.0008"),
        lambda text: text.replace("16", "61"),
        lambda text: text.replace("batch_size", "batch_sizf"),
        lambda text: text[:-10],
        lambda text: text.replace("name", "na\0me"),
        lambda text: text.replace("{}", "{").replace(":", ": {", 1),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, damage):
    path = tmp_path / "recipe.yaml"
    tuned_recipe.write(path, RECIPE, {"learning_rate": 0.0003, "batch_size": 16}, "comment")
    path.write_text(damage(path.read_text()))
    with pytest.raises(HistobenchError, match=r"(?s)recipe.yaml: expected (the )?keys of a recipe.*Delete the file"):
        tuned_recipe.read(path)


def test_another_comment_and_another_layout_are_the_same_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    tuned_recipe.write(path, RECIPE, {"batch_size": 16}, "comment")
    before = tuned_recipe.read(path)
    path.write_text(path.read_text().replace("comment", "another").replace("batch_size: 16", "batch_size:   16"))
    assert tuned_recipe.read(path) == before
