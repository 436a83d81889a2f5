"""Keras models of the CNNs in the catalogue."""

import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from histobench.core.errors import HistobenchError
from histobench.core.modes import MODES
from histobench.core.recipes import PAPER, Dense
from histobench.train.keras_backend import KERAS_2
from histobench.train.p4m import p4m, z2

layers = keras.layers

# Seed of random weights that replace a file of pretrained ones, see "Seeds" in config/README.md.
BACKBONE_SEED = 20240101
# The suffix of what `save_weights` writes. The layout inside is another in Keras 2.14 than in Keras 3.
SAVED_WEIGHTS = ".weights.h5"


class Standardization(keras.layers.Layer):  # type: ignore[misc]
    """Standardises features, (n, features), in float32: (features - mean) x scale, which are its weights.

    Keras has ``Normalization`` for this, which divides a constant feature by 1e-7, and computes from copies of its
    weights that a restored state does not reach.
    """

    def __init__(self) -> None:
        super().__init__(name="standardization", dtype="float32", trainable=False)

    def build(self, input_shape: Any) -> None:
        """Make the weights, to be set to those of :func:`histobench.train.standardization.statistics`."""
        self._mean, self._scale = (
            self.add_weight(name=name, shape=input_shape[1:], initializer="zeros", trainable=False)
            for name in ("mean", "scale")
        )
        self.built = True

    def call(self, features: Any) -> Any:
        """Return the standardised features."""
        return (features - self._mean) * self._scale


def b2(shape: tuple[int, int, int], dense: Dense = PAPER) -> keras.Model:
    """Return the CNN B2 of Bonnet 2024: two convolutions, 10 layers, 9.49 million parameters at 96 px."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 5, padding="same"),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, padding="same"),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(dense.units),
            layers.Activation("relu"),
            *_dropout(dense),
            layers.Dense(1, activation="sigmoid", dtype="float32"),
        ],
        name="b2",
    )


def b6(shape: tuple[int, int, int], dense: Dense = PAPER) -> keras.Model:
    """Return the CNN B6 of Bonnet 2024: six valid convolutions, 28 layers, 2.39 million parameters at 96 px."""
    stack: list[Any] = [keras.Input(shape), layers.Conv2D(32, 3, activation="relu")]
    for place, filters in enumerate((32, 64, 64, 128, 128)):
        stack += [
            layers.Conv2D(filters, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
        ]
        if place % 2 == 0:  # the end of each pair
            stack += [layers.MaxPooling2D(2), layers.Dropout(0.3)]
    stack += [
        layers.Flatten(),
        layers.Dense(dense.units, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Dropout(0.5 if dense.dropout is None else dense.dropout),
        layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]
    return keras.Sequential(stack, name="b6")


@contextmanager
def policy(precision: str) -> Iterator[None]:
    """Build and train models with a global dtype policy of Keras. Their weights are always float32.

    The last layer, the loss and the metrics are computed in float32, as Keras's guide to mixed precision advises.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


HAND_MADE: dict[str, Callable[[tuple[int, int, int], Dense], keras.Model]] = {"b2": b2, "b6": b6, "p4m": p4m, "z2": z2}


def input_shape(image: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the input shape of a CNN, (height, width, 3), see :meth:`histobench.core.study.Study.input`."""
    return (image["side"], image["side"], 3)


def build(
    spec: dict[str, Any],
    mode: str,
    shape: tuple[int, int, int],
    *,
    seed: int,
    weights: Path | None = None,
    dense: Dense = PAPER,
) -> keras.Model:
    """Return an uncompiled model from scaled patches to the probability of tumour.

    Parameters
    ----------
    spec : the fields of :class:`histobench.core.catalogue.Model` as a mapping.
    mode : of :mod:`histobench.core.modes`: it says whether the backbone starts frozen.
    shape : (height, width, 3) of a patch in pixels.
    seed : the run's seed, for all initial weights except those of a frozen random backbone.
    weights : see :func:`backbone`.
    dense : the dense layer before the last layer, see :func:`histobench.core.recipes.dense`.

    Notes
    -----
    The first layer of a CNN of ``keras.applications`` is its backbone, the others are those of :func:`head`.
    """
    if spec["application"] is None:
        keras.utils.set_random_seed(seed)
        made = HAND_MADE[spec["key"]]
        return made(shape, dense)
    frozen = MODES[mode].frozen
    base = backbone(spec, shape, seed=BACKBONE_SEED if frozen else seed, weights=weights)
    base.trainable = not frozen
    return keras.Sequential([keras.Input(shape), base, *_head(seed, dense)], name=spec["key"].replace(".", "_"))


def backbone(
    spec: dict[str, Any], shape: tuple[int, int, int], *, seed: int = BACKBONE_SEED, weights: Path | None = None
) -> keras.Model:
    """Return the backbone of a CNN of ``keras.applications``, from scaled patches to features (average pooling).

    Parameters
    ----------
    spec, shape : see :func:`build`.
    seed : seed of random weights.
    weights : file with pretrained weights, in a format of the installed Keras (``.weights.h5``, ``.keras``; Keras 3
        also reads those of Keras 2) or of ``keras.applications`` (``.h5``); None for random weights.

    Raises
    ------
    HistobenchError
        if there is no such class in ``keras.applications``, or the file does not have all weights, see :func:`load`.
    """
    application = getattr(keras.applications, spec["application"], None)
    if application is None:
        raise HistobenchError(
            f"models.{spec['key']}.application: keras.applications of Keras {keras.__version__} has no "
            f"{spec['application']!r}"
        )
    keras.utils.set_random_seed(seed)
    model = application(include_top=False, weights=None, input_shape=shape, pooling="avg")
    if weights is not None:
        load_pretrained(model, weights)
    return model


def head(features: int, *, seed: int, dense: Dense = PAPER, standardize: bool = False) -> keras.Model:
    """Return an uncompiled model from so many features of a patch to the probability of tumour.

    Its initial weights are those of the head of :func:`build` with the same seed. If it is to `standardize` features,
    its first layer does, whose weights are still to be set.
    """
    first = [Standardization()] if standardize else []
    return keras.Sequential([keras.Input((features,)), *first, *_head(seed, dense)], name="head")


def _head(seed: int, dense: Dense) -> list[Any]:
    """Return the layers after the pooled features; in the paper Dense(256, relu) and Dense(1, sigmoid)."""
    keras.utils.set_random_seed(seed)
    return [
        *([layers.Dense(dense.units, activation="relu")] if dense.units else []),
        *_dropout(dense),
        layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]


def _dropout(dense: Dense) -> list[Any]:
    return [layers.Dropout(dense.dropout)] if dense.dropout else []


def unfreeze(base: keras.Model, upper_layers: float) -> None:
    """Make a fraction of the layers of a frozen backbone trainable, counted from the output, except for batch norm.

    Batch norm stays in inference mode, as Keras's guide to transfer learning advises: updates from small batches would
    destroy what the frozen layers have learned.
    """
    base.trainable = True
    first = len(base.layers) - round(upper_layers * len(base.layers))
    for place, layer in enumerate(base.layers):
        layer.trainable = place >= first and not isinstance(layer, layers.BatchNormalization)


def load_pretrained(model: keras.Model, path: Path) -> None:
    """Load pretrained weights, see :func:`load`; raise an error if the file does not have all kernels of the model."""
    before = [np.asarray(value) for value in model.get_weights()]
    load(model, path)
    kernels = [(old, new) for old, new in zip(before, model.get_weights(), strict=True) if old.ndim > 1]
    if same := sum(np.array_equal(old, new) for old, new in kernels):
        raise HistobenchError(
            f"{path}: expected weights of {model.name}, but {same} of its {len(kernels)} kernels were not in the file"
        )


def load(model: keras.Model, path: Path) -> None:
    """Load the weights of a model from a file of any format that the installed Keras reads, whatever its suffix.

    Raises
    ------
    HistobenchError
        if the file is damaged, no weights of this model, or holds values that are no numbers.
    """
    suffix = _suffix(path)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about missing layers, which `load_pretrained` counts
            link = Path(folder, f"file{suffix}")
            link.symlink_to(path.absolute())
            model.load_weights(link)
    except Exception as error:
        if KERAS_2 and suffix == SAVED_WEIGHTS and _written_by_keras_3(path):
            raise HistobenchError(
                f"{path}: written by Keras 3 in a format that Keras {keras.__version__} cannot read. Under Keras 3, "
                "give it to its CNN of keras.applications (`include_top=False, weights=...`), `save` that as a `.h5` "
                "file, which either can read, and name this file in `models`"
            ) from error
        raise HistobenchError(
            f"{path}: expected weights of {model.name} ({len(model.weights)} tensors) in a file that is whole; "
            f"Keras says: {error}"
        ) from error
    for variable in model.weights:
        if wrong := int((~np.isfinite(values := np.asarray(variable))).sum()):
            raise HistobenchError(
                f"{path}: expected weights of {model.name} that are numbers, but {wrong} of {values.size} values of "
                f"{variable.name if KERAS_2 else variable.path} are none: the file is damaged, or its training has "
                "diverged, against which a lower learning rate helps"
            )


def _suffix(path: Path) -> str:
    """Return the suffix that Keras expects of a file with this content."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                legacy = "model_weights" in file or any(name.startswith("layer_names") for name in file.attrs)
            return ".h5" if legacy else SAVED_WEIGHTS
        with path.open("rb") as opened:
            start = opened.read(40)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                archive.getinfo("model.weights.h5")
            return ".keras"
        found = f"one that starts with {start!r}" if start else "an empty one"
    except Exception as error:
        found = f"one that is damaged or none of Keras: {error}"
    raise HistobenchError(f"{path}: expected an HDF5 file or a `.keras` archive with weights of Keras, found {found}")


def _written_by_keras_3(path: Path) -> bool:
    """Return whether an HDF5 file has the format of Keras 3, in which a group is called `layers`."""
    with h5py.File(path) as file:
        return "layers" in file
