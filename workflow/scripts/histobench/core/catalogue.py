"""The CNNs that a configuration can name: the twelve of the study, and any other of ``keras.applications``.

Data only: what is built from it stands in :mod:`histobench.train.models`.

Addresses and md5 sums of the ImageNet weights are those that Keras 3.15 itself downloads
(``keras/src/applications/*.py``); Keras publishes none for MobileNet, whose first download is recorded instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from histobench.core.errors import HistobenchError
from histobench.core.files import Remote

KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Model:
    """One CNN.

    Attributes
    ----------
    key : its name in the configuration, in paths and on the command line.
    name : its name in print.
    reference : the publication that introduced it.
    smallest_input : smallest height and width of a patch that it can take, in pixels.
    application : class in ``keras.applications``; None for a hand-made CNN, which has no pretrained backbone.
    preprocessing : what `input_scaling: native` does: a mode of
        ``keras.applications.imagenet_utils.preprocess_input`` ("tf", "caffe", "torch"), "none" where the model rescales
        inside, "unit" for x / 255.
    weights : the pretrained weights of the backbone without its top; None means random weights.
    weights_origin : in words, for tables: "ImageNet", "own file" or what the configuration calls it, "random", or ""
        where the model has no backbone.
    """

    key: str
    name: str
    reference: str
    smallest_input: int
    application: str | None = None
    preprocessing: str = "none"
    weights: Remote | None = None
    weights_origin: str = ""

    @property
    def weights_file(self) -> str | None:
        """Name of the weights file, or None where the weights are random."""
        if self.weights is None or self.weights.url is None:
            return None
        return PurePosixPath(self.weights.url).name


def _keras(
    name: str, reference: str, file: str, md5: str | None, preprocessing: str = "none", smallest_input: int = 32
) -> Model:
    """Return a CNN of ``keras.applications`` with Keras's weights of ImageNet."""
    weights = Remote(f"{KERAS_WEIGHTS}/{file}", md5=md5)
    return Model(name.lower(), name, reference, smallest_input, name, preprocessing, weights, "ImageNet")


BONNET = "Bonnet 2024, arXiv:2108.13661"
DENSENET = "Huang et al. 2017, arXiv:1608.06993"
EFFICIENTNETV2 = "Tan and Le 2021, arXiv:2104.00298"
NOTOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"

# In the order of the paper's Table 1.
CATALOGUE: dict[str, Model] = {
    model.key: model
    for model in (
        # Two 5x5 "same" convolutions, each followed by a pool of 2.
        Model("b2", "B2", BONNET, smallest_input=4, preprocessing="unit"),
        # Six valid 3x3 convolutions and three pools: 36 px is what leaves one pixel at the end.
        Model("b6", "B6", BONNET, smallest_input=36, preprocessing="unit"),
        _keras(
            "InceptionV3", "Szegedy et al. 2016, arXiv:1512.00567", f"inception_v3/inception_v3_{NOTOP}",
            "bcbd6486424b2319ff4ef7d526e38f63", "tf", 75,
        ),
        _keras(
            "VGG19", "Simonyan and Zisserman 2015, arXiv:1409.1556", f"vgg19/vgg19_{NOTOP}",
            "253f8cb515780f3b799900260a226db6", "caffe",
        ),
        _keras(
            "ResNet50", "He et al. 2016, arXiv:1512.03385", f"resnet/resnet50_{NOTOP}",
            "4d473c1dd8becc155b73f8504c6f6626", "caffe",
        ),
        _keras(
            "MobileNet", "Howard et al. 2017, arXiv:1704.04861", "mobilenet/mobilenet_1_0_224_tf_no_top.h5", None, "tf"
        ),
        *(
            _keras(f"DenseNet{depth}", DENSENET, f"densenet/densenet{depth}_{NOTOP}", md5, "torch")
            for depth, md5 in (
                (121, "30ee3e1110167f948a6b9946edeeb738"),
                (169, "b8c4d4c20dd625c148057b9ff1c1176b"),
                (201, "c13680b51ded0fb44dff2d8f86ac8bb1"),
            )
        ),
        *(
            _keras(f"EfficientNetV2{b}", EFFICIENTNETV2, f"efficientnet_v2/efficientnetv2-{b.lower()}_notop.h5", md5)
            for b, md5 in (
                ("B0", "893217f2bb855e2983157299931e43ff"),
                ("B1", "0e80663031ca32d657f9caa404b6ec37"),
                ("B2", "1dfe2e7a5d45b6632553a8961ea609eb"),
            )
        ),
    )
}  # fmt: skip


def models(configured: Mapping[str, Mapping[str, Any]]) -> dict[str, Model]:
    """Return the catalogue with the configuration's `models` block laid over it.

    A name of the catalogue changes that entry (``mobilenet: {weights: random}``); another name adds a model of
    ``keras.applications``, which must then say `application`, `preprocessing`, `smallest_input` and `weights`.
    """
    result = dict(CATALOGUE)
    for key, given in configured.items():
        fields: dict[str, Any] = {k: v for k, v in given.items() if k != "weights"}
        if key not in CATALOGUE:
            missing = {"application", "preprocessing", "smallest_input", "weights"} - set(given)
            if missing:
                raise HistobenchError(
                    f"configuration: models.{key} is not in the catalogue ({', '.join(CATALOGUE)}), so it must say "
                    f"{', '.join(sorted(missing))}: see 'A model of your own' in config/README.md"
                )
            fields = {"name": given["application"], "reference": "given by the configuration"} | fields
        model = replace(CATALOGUE[key], **fields) if key in CATALOGUE else Model(key=key, **fields)
        if "weights" in given:
            if model.application is None:
                raise HistobenchError(f"configuration: models.{key}.weights: {model.name} has no pretrained backbone")
            model = replace(model, **_weights(given["weights"]))
        result[key] = model
    return result


def _weights(given: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, str):  # the schema lets only "random" through
        return {"weights": None, "weights_origin": "random"}
    known = {k: v for k, v in given.items() if k not in ("path", "origin")}
    return {
        "weights": Remote(**({"url": given.get("path")} | known)),
        "weights_origin": given.get("origin", "own file"),
    }
