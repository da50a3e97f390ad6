"""Compiled steps of a network on data in device memory, for Keras's JAX and TensorFlow backends.

Each call starts a step and returns its result, a small tensor. `wait` for it to finish all steps started before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

Step = Callable[[], Any]


def card() -> str | None:
    """Returns the driver's name of the first GPU, or None if the backend finds no GPU."""
    if keras.backend.backend() == "jax":
        import jax

        return None if jax.default_backend() == "cpu" else str(jax.devices()[0].device_kind)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0])["device_name"]) if gpus else None


def wait(result: Any) -> None:
    """Blocks until the result, and all work started before it on the same device, has been computed."""
    keras.ops.convert_to_numpy(keras.ops.cast(result, "float32"))


def forward_step(model: keras.Model, inputs: Any) -> Step:
    """Compiles inference on the inputs; the step returns the model's output."""
    if keras.backend.backend() == "jax":
        import jax

        state = tuple(_values(group) for group in (model.trainable_variables, model.non_trainable_variables))
        compiled = jax.jit(model.predict_step)
        return lambda: compiled(state, inputs)[0]
    import tensorflow as tf

    compiled = tf.function(model.predict_step, jit_compile=True)
    return lambda: compiled(inputs)


def training_step(model: keras.Model, inputs: Any, truth: Any) -> Step:
    """Compiles the forward pass, backward pass and update of `fit`; the step returns the mean loss so far.

    On JAX the step trains copies of the weights and does not change the model.
    """
    model.optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "jax":
        return _training_step_on_jax(model, (inputs, truth))
    import tensorflow as tf

    compiled = tf.function(model.train_step, jit_compile=True)
    return lambda: compiled((inputs, truth))["loss"]


def _training_step_on_jax(model: keras.Model, data: tuple[Any, Any]) -> Step:
    import jax

    groups = (
        model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
    )  # fmt: skip
    state = tuple([jax.numpy.copy(value) for value in _values(group)] for group in groups)
    compiled = jax.jit(model.train_step, donate_argnums=0)

    def step() -> Any:
        nonlocal state
        logs, state = compiled(state, data)
        return logs["loss"]

    return step


def _values(variables: list[keras.Variable]) -> list[Any]:
    return [variable.value for variable in variables]
