"""The registry of backbones: each file of this package that has a tuple `BACKBONES` adds its architectures.

Files here import Keras inside their functions: the settings list all backbones, and stages that need no TensorFlow read
the settings.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from radiograft.backbones.spec import BackboneSpec

__all__ = ["BackboneSpec", "get_backbone", "list_backbones"]


@functools.cache
def _backbones() -> dict[str, BackboneSpec]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {spec.name: spec for module in modules for spec in getattr(module, "BACKBONES", ())}


def list_backbones() -> tuple[str, ...]:
    """Returns the names of all backbones.

    Example:
        >>> list_backbones()[:3]
        ('alexnet', 'convnext_tiny', 'densenet121')
    """
    return tuple(_backbones())


def get_backbone(name: str) -> BackboneSpec:
    """Returns the specification of a backbone.

    Raises:
        ValueError: there is no backbone of this name.

    Example:
        >>> get_backbone("densenet121").default_cut_off
        'conv5_block16_2_conv'
    """
    if name not in _backbones():
        raise ValueError(f"model_backbone must be one of {', '.join(_backbones())}, got {name!r}")
    return _backbones()[name]
