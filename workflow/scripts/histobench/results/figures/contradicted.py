"""Test patches whose label the models contradict most surely."""

from matplotlib.figure import Figure

from histobench.results.columns import read
from histobench.results.figures.gallery import PER_ROW, gallery
from histobench.results.inputs import Inputs
from histobench.results.tables.contradicted import COLUMNS

KINDS = {0: "labelled normal", 1: "labelled tumour"}


def contradicted_patches_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    table = read(inputs.files["contradicted"][0], COLUMNS).groupby("label").head(PER_ROW).reset_index(drop=True)
    return gallery(table, inputs.test_images(table["patch_id"]), {}, KINDS), []
