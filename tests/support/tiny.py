"""A backbone that takes a second to build, where those of keras.applications take ten, for what holds with any."""

import keras

layers = keras.layers


def tiny(*, include_top: bool, weights: None, input_shape: tuple[int, int, int], pooling: str) -> keras.Model:
    """Return a small CNN with batch norm, called as the models of keras.applications are."""
    assert (include_top, weights, pooling) == (False, None, "avg")
    image = keras.Input(input_shape)
    x = image
    for filters, strides in ((8, 2), (16, 2), (16, 1)):
        x = layers.Conv2D(filters, 3, strides=strides, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x), name="tiny")


def install() -> None:
    """Let specifications name it as an application."""
    keras.applications.Tiny = tiny
