"""Radiograft: transfer learning for medical images.

The public Python API. The command line `radiograft` and the Kubeflow pipelines are in `radiograft_pipelines`.

Research only. Not for diagnosis.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from radiograft.backbones import get_backbone, list_backbones

if TYPE_CHECKING:  # loaded on first use: TensorFlow takes seconds to import
    from radiograft.data.catalog import Catalog
    from radiograft.models.backbone import build_backbone
    from radiograft.serving.loaded_version import LoadedVersion, load_version

__all__ = [
    "Catalog",
    "LoadedVersion",
    "__version__",
    "build_backbone",
    "get_backbone",
    "list_backbones",
    "load_version",
]

__version__ = importlib.metadata.version("radiograft")

_MODULES = {
    "Catalog": "radiograft.data.catalog",
    "LoadedVersion": "radiograft.serving.loaded_version",
    "build_backbone": "radiograft.models.backbone",
    "load_version": "radiograft.serving.loaded_version",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
