"""The pipelines' parameters, one per stage setting: name, type, default, and help in the pipeline's description."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from radiograft.config import all_settings
from radiograft.config.base import Scalar, Settings


class PipelineParameters:
    """The parameters of a pipeline.

    Attributes:
        values: Parameters by name. While a pipeline compiles these are KFP's placeholders, not the final values.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def for_stage(self, stage: type[Settings]) -> dict[str, Any]:
        """Returns the keyword arguments of a stage's component."""
        return {name: self.values[name] for name in stage.__dataclass_fields__}


def pipeline_from_settings(
    **defaults: Scalar,
) -> Callable[[Callable[[PipelineParameters], None]], Callable[..., None]]:
    """Returns a decorator that gives a pipeline function one parameter per setting.

    The decorated function takes a single `PipelineParameters`. KFP reads the new signature and shows the parameters in
    its run form.

    Args:
        **defaults: Defaults of this pipeline that differ from those of the settings.
    """

    def decorate(pipeline: Callable[[PipelineParameters], None]) -> Callable[..., None]:
        def with_parameters(*values: Any) -> None:
            pipeline(PipelineParameters(dict(zip(all_settings(), values, strict=True))))

        with_parameters.__name__ = pipeline.__name__
        with_parameters.__doc__ = pipeline_description(pipeline.__doc__ or "")
        with_parameters.__signature__ = _signature(defaults)  # type: ignore[attr-defined]
        return with_parameters

    return decorate


def _signature(defaults: dict[str, Scalar]) -> inspect.Signature:
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,  # required parameters may follow optional ones; KFP passes by position
                default=inspect.Parameter.empty if field.metadata["required"] else defaults.get(name, field.default),
                annotation=type(field.default),
            )
            for name, field in all_settings().items()
        ]
    )


def pipeline_description(summary: str) -> str:
    """Returns a pipeline's summary followed by the help of every parameter.

    KFP shows the description of a pipeline, but not those of its parameters.
    """
    lines = [f"- {name}: {explain_setting(field)}" for name, field in all_settings().items()]
    return "\n".join([inspect.cleandoc(summary), "", "Parameters:", *lines])


def explain_setting(field: Any) -> str:
    """Returns the help of a setting with its choices, or with its range and unit."""
    meta = field.metadata
    if meta["choices"]:
        return f"{meta['help']} One of {', '.join(meta['choices'])}."
    if meta["low"] is None or meta["high"] is None:
        return str(meta["help"])
    return f"{meta['help']} From {meta['low']:.10g} to {meta['high']:.10g} {meta['unit']}".rstrip() + "."
