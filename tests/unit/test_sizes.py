"""Table 1: published sizes beside ours."""

import pandas as pd
import pytest

from histobench.core.catalogue import CATALOGUE
from histobench.results.tables.models import COUNTED, compare, in_short, read
from support.project import ROOT

PUBLISHED = pd.read_csv(ROOT / "config" / "paper" / "table1.csv")


def size(model, layers, with_weights, with_head):
    counts = [layers, with_weights, with_head, 25_636_712, 24_112_513, 96.45, 708_760_000, None]
    return {"model": model} | dict(zip(COUNTED, counts, strict=True))


def table(*rows):
    return compare(pd.DataFrame(rows), PUBLISHED, {row["model"]: row["model"].upper() for row in rows})


def test_every_model_of_the_catalogue_has_a_published_size():
    assert [*PUBLISHED["model"], "p4m", "z2"] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("sizes", "published", "meant"),
    [
        (size("b2", 10, 4, 10), 10, "all layers"),
        (size("resnet50", 177, 107, 178), 107, "layers with weights"),
        (size("vgg19", 26, 19, 25), 25, "backbone and head, unlike the other backbones"),
        (size("efficientnetv2b2", 352, 193, 352), 252, "slip for 352, all layers"),
        (size("resnet50", 1, 2, 3), 107, "none of ours"),
    ],
)
def test_it_says_which_depth_the_paper_means(sizes, published, meant):
    row = table(sizes).iloc[0]
    assert (row["published_depth"], row["published_depth_is"]) == (published, meant)


def test_a_model_that_the_paper_does_not_have():
    row = table(size("mobilenetv2", 154, 100, 155), size("b2", 10, 4, 10)).iloc[0]
    assert row["published_depth_is"] == "not in the paper"
    assert pd.isna(row["published_depth"])
    assert pd.isna(row["published_parameters_millions"])


def test_millions_are_millions():
    row = table(size("resnet50", 177, 107, 178)).iloc[0]
    assert row["parameters_with_top_millions"] == pytest.approx(25.636712)
    assert row["multiply_adds_96_px_millions"] == pytest.approx(708.76)
    assert pd.isna(row["multiply_adds_50_px_millions"])


def test_before_models_are_counted_the_published_sizes_stand_alone():
    names = {"b2": "B2", "mobilenetv2": "MobileNetV2"}
    sizes = read(None, PUBLISHED, names)
    row = compare(sizes, PUBLISHED, names).iloc[0]
    assert (row["published_depth"], row["layers"], row["published_depth_is"]) == (10, 10, "")
    assert pd.isna(row["parameters_with_top_millions"])
    short = in_short(sizes, PUBLISHED).set_index("model")
    assert short.loc["b2"].tolist() == [10, 9.4]
    assert short.loc["mobilenetv2"].isna().all()


def test_ours_go_before_published_sizes(tmp_path):
    pd.DataFrame([size("b2", 11, 4, 10)]).to_csv(tmp_path / "models.csv", index=False)
    short = in_short(read(tmp_path / "models.csv", PUBLISHED, {"b2": "B2"}), PUBLISHED).set_index("model")
    assert short.loc["b2"].tolist() == [11, pytest.approx(25.636712)]
