"""What the constructors of the networks that are built here share: their arguments are those of keras.applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def image_and_inputs(
    input_tensor: keras.KerasTensor | None,
    input_shape: tuple[int | None, int | None, int] | None,
    min_size: int,
) -> tuple[keras.KerasTensor, Any]:
    """Returns the image from which a network is built, and the inputs of its model.

    Args:
        input_tensor: a Keras tensor to build on, or None for a new input.
        input_shape: (height, width, channels) of a new input; None is any size, with 3 channels.
        min_size: smallest height and width, in pixels.

    Raises:
        ValueError: the image is too small or has another number of dimensions.
    """
    import keras

    if input_tensor is None:
        image = inputs = keras.Input(input_shape or (None, None, 3))
    else:
        image, inputs = input_tensor, keras.utils.get_source_inputs(input_tensor)
    shape = image.shape[1:]
    if len(shape) != 3 or any(size is not None and size < min_size for size in shape[:2]):
        raise ValueError(f"input_shape must be (height, width, channels) of at least {min_size} px, got {shape}")
    return image, inputs


def check_without_weights(name: str, *, include_top: bool, weights: str | None) -> None:
    """Refuses what a network without classifier and without published Keras weights cannot do.

    Raises:
        ValueError: the classifier or ImageNet weights are asked for.
    """
    if include_top:
        raise ValueError(f"include_top must be False for {name}, got {include_top}")
    if weights is not None:
        raise ValueError(f"weights must be None for {name}, for which Keras has no weights, got {weights!r}")
