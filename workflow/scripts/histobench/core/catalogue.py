"""The models that a configuration can name: the catalogue, others of ``keras.applications``, embeddings.

:mod:`histobench.train.models` builds them. Addresses and md5 sums of the ImageNet weights are those of Keras 3.15
(``keras/src/applications/*.py``). Keras publishes no sum for MobileNet, so that of the first download is recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from histobench.core.cells import Run
from histobench.core.embeddings import FORMATS
from histobench.core.errors import HistobenchError, named
from histobench.core.files import Remote

# What tables say of a fact on embeddings that the user leaves out.
NOT_STATED = "not stated"
# What runs on embeddings depend on as the origin of weights: not the encoder, which is the user's word.
OF_OTHERS = "embeddings of others"
KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Embeddings:
    """A table of features that others have computed, instead of a network, and what the user says of them.

    Attributes
    ----------
    format : one of :data:`histobench.core.embeddings.FORMATS`.
    path : of the table's folder or file; a mapping from data sets to paths where each has one of its own.
    encoder : name of the network that computed them.
    patch_size : height and width in pixels of the patches that it saw; None if not stated.
    microns_per_pixel : of the slides' pixels, in which places are counted; None if not stated.
    licence : under which the encoder may be used.
    pretraining_overlap : whether the encoder was trained on slides that data sets of the study come from.
    """

    format: str
    path: str | Mapping[str, str]
    encoder: str = ""
    patch_size: int | None = None
    microns_per_pixel: float | None = None
    licence: str = ""
    pretraining_overlap: str = ""

    def path_for(self, dataset: str) -> str | None:
        """Return the path of the embeddings of a data set; None where there are none."""
        path = self.path if isinstance(self.path, str) else self.path.get(dataset)
        return None if path is None else str(Path(path).expanduser())


@dataclass(frozen=True)
class Model:
    """A CNN, or a table of embeddings.

    Attributes
    ----------
    key : name in the configuration, in paths and on the command line.
    name : name in tables and figures.
    smallest_input : smallest height and width of a patch, in pixels.
    side_multiple : of which heights and widths must be multiples.
    application : class in ``keras.applications``; None for a hand-made CNN, which has no pretrained backbone.
    preprocessing : scaling of patches by `input_scaling: native`: a mode of
        ``keras.applications.imagenet_utils.preprocess_input`` ("tf", "caffe", "torch"), "none" if the model has a layer
        for it, "unit" for x / 255.
    weights : the pretrained weights of the backbone without its top; None for random weights.
    weights_run : the run whose backbone this one starts from; None for weights from elsewhere.
    weights_origin : for tables: "ImageNet", "own file" or its name in the configuration, "random", "run" and its name,
        "" if the model has no backbone, or `OF_OTHERS`, for which tables print the encoder.
    embeddings : what stands in for a network; None for a CNN.
    """

    key: str
    name: str
    smallest_input: int
    application: str | None = None
    preprocessing: str = "none"
    weights: Remote | None = None
    weights_origin: str = ""
    embeddings: Embeddings | None = None
    side_multiple: int = 1
    weights_run: Run | None = None

    @property
    def weights_file(self) -> str | None:
        """Name of the weights file; None if the weights are random."""
        if self.weights is None or self.weights.url is None:
            return None
        return PurePosixPath(self.weights.url).name


def _keras(key: str, name: str, preprocessing: str, file: str, md5: str | None, smallest_input: int = 32) -> Model:
    weights = Remote(f"{KERAS_WEIGHTS}/{file}", md5=md5)
    return Model(key, name, smallest_input, name, preprocessing, weights, "ImageNet")


NOTOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"

# In the order of the paper's Table 1. B2 and B6: Bonnet 2024, arXiv:2108.13661; InceptionV3: Szegedy et al. 2016,
# arXiv:1512.00567; VGG19: Simonyan and Zisserman 2015, arXiv:1409.1556; ResNet50: He et al. 2016, arXiv:1512.03385;
# MobileNet: Howard et al. 2017, arXiv:1704.04861; DenseNet: Huang et al. 2017, arXiv:1608.06993; EfficientNetV2: Tan
# and Le 2021, arXiv:2104.00298. The last two are not the paper's: P4M-DenseNet of Veeling et al. 2018,
# arXiv:1806.03962, and a plain network of its size.
CATALOGUE: dict[str, Model] = {
    model.key: model
    for model in (
        # Two 5x5 "same" convolutions, each followed by a pool of 2.
        Model("b2", "B2", smallest_input=4, preprocessing="unit"),
        # Six valid 3x3 convolutions and three pools, which leave one pixel of 36 px.
        Model("b6", "B6", smallest_input=36, preprocessing="unit"),
        _keras("inceptionv3", "InceptionV3", "tf",
               f"inception_v3/inception_v3_{NOTOP}", "bcbd6486424b2319ff4ef7d526e38f63", smallest_input=75),
        _keras("vgg19", "VGG19", "caffe",
               f"vgg19/vgg19_{NOTOP}", "253f8cb515780f3b799900260a226db6"),
        _keras("resnet50", "ResNet50", "caffe",
               f"resnet/resnet50_{NOTOP}", "4d473c1dd8becc155b73f8504c6f6626"),
        _keras("mobilenet", "MobileNet", "tf",
               "mobilenet/mobilenet_1_0_224_tf_no_top.h5", None),
        _keras("densenet121", "DenseNet121", "torch",
               f"densenet/densenet121_{NOTOP}", "30ee3e1110167f948a6b9946edeeb738"),
        _keras("densenet169", "DenseNet169", "torch",
               f"densenet/densenet169_{NOTOP}", "b8c4d4c20dd625c148057b9ff1c1176b"),
        _keras("densenet201", "DenseNet201", "torch",
               f"densenet/densenet201_{NOTOP}", "c13680b51ded0fb44dff2d8f86ac8bb1"),
        _keras("efficientnetv2b0", "EfficientNetV2B0", "none",
               "efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
        _keras("efficientnetv2b1", "EfficientNetV2B1", "none",
               "efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
        _keras("efficientnetv2b2", "EfficientNetV2B2", "none",
               "efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
        # Sides before its four poolings are even, and something is left after its last convolution.
        Model("p4m", "P4M-DenseNet", smallest_input=80, side_multiple=16, preprocessing="unit"),
        Model("z2", "Z2-DenseNet", smallest_input=80, preprocessing="unit"),
    )
}  # fmt: skip

# Hand-made CNNs whose maps go straight to the output.
WITHOUT_DENSE_LAYER = ("p4m", "z2")


def models(configured: Mapping[str, Mapping[str, Any]]) -> dict[str, Model]:
    """Return the catalogue with the changes and additions of the configuration's `models` block.

    A key of the catalogue changes that entry (``mobilenet: {weights: random}``). Any other key adds a model of
    ``keras.applications``, which needs `application`, `preprocessing`, `smallest_input` and `weights`, or, with
    `embeddings`, one that is a table of these.
    """
    result = dict(CATALOGUE)
    for key, given in configured.items():
        if "embeddings" in given:
            result[key] = _embeddings(key, given)
            continue
        fields: dict[str, Any] = {k: v for k, v in given.items() if k != "weights"}
        if "run" in (weights := given.get("weights", {})):
            result[key] = _of_run(key, fields, weights["run"], result, configured)
            continue
        if key not in CATALOGUE:
            missing = {"application", "preprocessing", "smallest_input", "weights"} - set(given)
            if missing:
                raise HistobenchError(
                    f"configuration: models.{key} is not in the catalogue ({', '.join(CATALOGUE)}), so it needs "
                    f"{', '.join(sorted(missing))}: see 'A model of your own' in config/README.md"
                )
            fields = {"name": given["application"]} | fields
        model = replace(CATALOGUE[key], **fields) if key in CATALOGUE else Model(key=key, **fields)
        if "weights" in given:
            if model.application is None:
                raise HistobenchError(f"configuration: models.{key}.weights: {model.name} has no pretrained backbone")
            model = replace(model, **_weights(f"configuration: models.{key}.weights", given["weights"]))
        result[key] = model
    return result


def _of_run(
    key: str, given: Mapping[str, Any], text: str, known: Mapping[str, Model], configured: Mapping[str, Any]
) -> Model:
    """Return a model that starts from what a run has learned; it is of the same class as the run's."""
    where = f"configuration: models.{key}"
    try:
        run = Run.of(text)
    except ValueError as error:
        raise HistobenchError(f"{where}.weights.run: {error}") from None
    if key in CATALOGUE:
        raise HistobenchError(f"{where}.weights.run: {key} is a model of the catalogue; give this one a key of its own")
    if run.model in configured.keys() - known.keys():
        found = "a run of itself" if run.model == key else f"one of {run.model}, which stands below it"
        raise HistobenchError(
            f"{where}.weights.run: expected a run of a model of the catalogue, or of one above it, found {found}"
        )
    trained: Model = named(f"models.{key}.weights.run", run.model, known)
    wanted = given.get("application", trained.application)
    if wanted is None or wanted != trained.application:
        raise HistobenchError(
            f"{where}.weights.run: expected a run of {wanted or 'a CNN of keras.applications, which has a backbone'}, "
            f"found one of {trained.name}"
        )
    fields: dict[str, Any] = {"name": f"{trained.name} ({run.dataset})", **given}
    return replace(trained, key=key, weights=None, weights_origin=f"run {run}", weights_run=run, **fields)


def _embeddings(key: str, given: Mapping[str, Any]) -> Model:
    where = f"configuration: models.{key}"
    if key in CATALOGUE:
        raise HistobenchError(
            f"{where}.embeddings: {key} is a CNN of the catalogue, whose published values would stand beside those of "
            "the embeddings; give them a key of their own"
        )
    if foreign := set(given) - {"embeddings", "name"}:
        raise HistobenchError(
            f"{where}: {', '.join(sorted(foreign))} is for CNNs; a table of embeddings has no network"
        )
    fields = dict(given["embeddings"])
    named(f"models.{key}.embeddings.format", fields["format"], FORMATS)
    if fields["format"] == "stamp" and "microns_per_pixel" not in fields:
        raise HistobenchError(
            f"{where}.embeddings: STAMP's places are in micrometres, so it needs microns_per_pixel, of the slides' "
            "pixels"
        )
    if isinstance(overlap := fields.get("pretraining_overlap"), bool):  # YAML takes a plain `no` for one
        fields["pretraining_overlap"] = "yes" if overlap else "no"
    table = Embeddings(**fields)
    return Model(key, given.get("name", key), smallest_input=1, weights_origin=OF_OTHERS, embeddings=table)


def _weights(where: str, given: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, str):  # the schema lets only "random" through
        return {"weights": None, "weights_origin": "random"}
    if ("path" in given) == ("url" in given) or not PurePosixPath(given.get("path", given.get("url"))).name:
        raise HistobenchError(f"{where}: expected the `path` or the `url` of a file, found {dict(given)}")
    known = {k: v for k, v in given.items() if k not in ("path", "origin")}
    return {
        "weights": Remote(**({"url": given.get("path")} | known)),
        "weights_origin": given.get("origin", "own file"),
    }
