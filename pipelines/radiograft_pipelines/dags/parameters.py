"""The pipeline's parameters, taken from the stages' settings: name, type, default, and the help as its description."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from radiograft.config import all_settings
from radiograft.config.base import Scalar, Settings


class PipelineParameters:
    """Hands each stage the parameters that its settings ask for."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    def of(self, stage: type[Settings]) -> dict[str, Any]:
        """Keyword arguments for the stage's component."""
        return {name: self.parameters[name] for name in stage.__dataclass_fields__}


def pipeline_from_settings(pipeline: Callable[[PipelineParameters], None], **defaults: Scalar) -> Callable[..., None]:
    """Gives a pipeline that takes a Form one parameter a setting, which is what KFP shows on its run form.

    Args:
        defaults: of this pipeline, where they differ from the settings' own.
    """

    def with_parameters(*values: Any) -> None:
        pipeline(PipelineParameters(dict(zip(all_settings(), values, strict=True))))

    with_parameters.__name__ = pipeline.__name__
    with_parameters.__doc__ = pipeline_description(pipeline.__doc__ or "")
    with_parameters.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,  # allows required ones anywhere in the alphabet; KFP goes by order
                default=inspect.Parameter.empty if field.metadata["required"] else defaults.get(name, field.default),
                annotation=type(field.default),
            )
            for name, field in all_settings().items()
        ]
    )
    return with_parameters


def pipeline_description(summary: str) -> str:
    """The pipeline's help: KFP shows a pipeline's description, but no parameter's."""
    lines = [f"- {name}: {explain_setting(field)}" for name, field in all_settings().items()]
    return "\n".join([inspect.cleandoc(summary), "", "Parameters:", *lines])


def explain_setting(field: Any) -> str:
    """A setting's help with its choices, or its range and unit, in one sentence."""
    meta = field.metadata
    if meta["choices"]:
        return f"{meta['help']} One of {', '.join(meta['choices'])}."
    if meta["low"] is None or meta["high"] is None:
        return str(meta["help"])
    return f"{meta['help']} From {meta['low']:.10g} to {meta['high']:.10g} {meta['unit']}".rstrip() + "."
