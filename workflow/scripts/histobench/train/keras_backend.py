"""What Keras 2.14 and Keras 3, and Keras's backends, name or do differently, so that the other modules need not know.

`ops` and `PyDataset` are those of Keras 3. Keras 2.14 has neither, so there `PyDataset` is its ``Sequence``, and `ops`
has the functions that this package uses, by TensorFlow, the only backend of Keras 2.14.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import keras

from histobench.core.recipes import jit_compile

KERAS_2 = keras.__version__.startswith("2.")
BACKEND: str = keras.backend.backend()

if KERAS_2:
    import tensorflow as tf

    # Otherwise its dropout uses operations of TensorFlow whose state can't be set. Before any model is built, since
    # initial weights are drawn by the same generators.
    keras.backend.experimental.enable_tf_random_generator()
    PyDataset = keras.utils.Sequence
    ops = SimpleNamespace(
        abs=tf.abs,
        arange=lambda n, dtype: tf.range(n, dtype=dtype),
        cast=tf.cast,
        clip=tf.clip_by_value,
        concatenate=tf.concat,
        conv=lambda inputs, kernel, strides, padding: tf.nn.conv2d(inputs, kernel, strides, padding.upper()),
        convert_to_tensor=tf.convert_to_tensor,
        exp=tf.exp,
        flip=lambda x, axis: tf.reverse(x, [axis]),
        floor=tf.floor,
        image=SimpleNamespace(resize=lambda images, size, data_format: tf.image.resize(images, size)),  # noqa: ARG005
        log=tf.math.log,
        matmul=tf.matmul,
        minimum=tf.minimum,
        reshape=tf.reshape,
        shape=tf.shape,
        sum=tf.reduce_sum,
        take=tf.gather,
        transpose=tf.transpose,
        where=tf.where,
    )
else:
    ops = keras.ops
    PyDataset = keras.utils.PyDataset


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors that XLA compiles, as a whole, for every shape of its arguments.

    TensorFlow by itself would do one operation after another on a whole batch, at a tenth of the pace on a CPU. JAX
    compiles the whole step anyway. The XLA of TensorFlow 2.14 is not used on cards: it is not known to work on a K80.
    """
    if BACKEND != "tensorflow":
        return function
    import tensorflow as tf

    on_k80 = KERAS_2 and bool(tf.config.list_physical_devices("GPU"))
    return function if on_k80 else tf.function(function, jit_compile=True, autograph=False)


def compiled_by_xla(recipe: Mapping[str, Any]) -> bool:
    """Say whether XLA compiles the steps of a recipe: where it asks for it, and always under JAX."""
    return jit_compile(recipe) or BACKEND == "jax"
