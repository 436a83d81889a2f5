"""The counts of the paper's Table 1, model by model."""

from dataclasses import asdict
from functools import cache

import pytest

from histobench.core.catalogue import CATALOGUE
from histobench.core.runs import read_rows
from histobench.train import model_size
from support.project import ROOT

# Of PCam's and IDC's patches, in pixels.
SIDES = (96, 50)
# Bonnet 2024 (arXiv:2108.13661), Table 1, and its ways of counting layers where it does not count all of them.
TABLE_1 = {row["model"]: row for row in read_rows(ROOT / "config" / "paper" / "table1.csv")}
WITH_WEIGHTS = {"inceptionv3", "resnet50", "mobilenet", "densenet121", "densenet169", "densenet201"}
WITH_HEAD = {"vgg19"}
# What we count instead of what is printed: ENB2's 252 layers are a slip for 352.
SLIPS = {("efficientnetv2b2", "layers"): 352, ("b2", "parameters"): 9.5}  # B2 has 9.49 million: cut off, not rounded


def spec(key):
    return asdict(CATALOGUE[key])


@cache  # a few seconds for each of the larger ones
def described(key):
    """What `describe` returns, and (input, output) shapes of the models that it built as they are trained."""
    shapes = []

    def build(*args, **kwargs):
        model = original(*args, **kwargs)
        shapes.append((model.input_shape, model.output_shape))
        return model

    original = model_size.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_size, "build", build)
        return model_size.describe(spec(key), SIDES), shapes


# Of the backbones, whose heads take the place of a top that is one dense layer: VGG19's has three.
FEATURES = {
    "inceptionv3": 2048,
    "resnet50": 2048,
    "mobilenet": 1024,  # its top is a 1x1 convolution, with as many parameters
    "densenet121": 1024,
    "densenet169": 1664,
    "densenet201": 1920,
    "efficientnetv2b0": 1280,
    "efficientnetv2b1": 1280,
    "efficientnetv2b2": 1408,
}


def assert_counts_are_those_of_table_1(key):
    counts, shapes = described(key)
    printed = TABLE_1[key]
    layers = SLIPS.get((key, "layers"), int(printed["depth"]))
    assert counts["layers"] == int(printed["all_layers"])
    # The remark in the docstring of `describe`: two ways of counting are enough for all twelve.
    assert counts["layers_with_weights" if key in WITH_WEIGHTS else "layers_with_head"] == layers
    if key not in WITH_WEIGHTS | WITH_HEAD:
        assert counts["layers"] == layers

    printed_parameters = float(printed["parameters_millions"])
    parameters = counts["parameters_with_top"] / 1e6
    assert round(parameters, 1) == SLIPS.get((key, "parameters"), printed_parameters)
    assert parameters == pytest.approx(printed_parameters, abs=0.1)
    if key in FEATURES:
        # Those of the ImageNet model less its last dense layer, of 1000 classes, and the head in its place: features x
        # 256 + 256, 256 + 1.
        top, head = (FEATURES[key] + 1) * 1000, (FEATURES[key] + 1) * 256 + 257
        assert counts["parameters"] == counts["parameters_with_top"] - top + head

    # Built as trained, at both sides that it can take.
    sides = SIDES[:1] if key == "inceptionv3" else SIDES
    assert shapes == [((None, side, side, 3), (None, 1)) for side in sides]
    assert isinstance(counts["multiply_adds_96"], int)
    assert (counts["multiply_adds_50"] is None) == (key == "inceptionv3")
