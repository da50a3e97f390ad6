"""Turns a settings file and overrides into validated pipeline parameters, with local paths made absolute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.config import resolution
from radiograft.config.base import Scalar, check_uri
from radiograft.config.network import NAMED_WEIGHTS

URI_SETTINGS = ("data_source", "data_table_file", "publish_registry", "model_weights")
NOT_URIS = ("", *NAMED_WEIGHTS)


def values_for(pipeline: str, name: str, assignments: Sequence[str]) -> dict[str, Scalar]:
    """Returns the settings of all stages from a settings file and assignments.

    Args:
        pipeline: one of PIPELINES.
        name: path or URI of a settings file, or name of a preset.
        assignments: overrides as `name=value`.

    Raises:
        FileNotFoundError, ValueError, TypeError: as `load_settings_file`, `combine` and `fill_defaults`.
    """
    return fill_defaults(resolution.combine(pipeline, resolution.load_settings_file(name), assignments))


def fill_defaults(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Fills in defaults, makes local paths absolute and validates the settings of all stages.

    Raises:
        ValueError, TypeError: a value is invalid.
    """
    paths = {name: values[name] for name in URI_SETTINGS if isinstance(values.get(name), str)}
    absolute = {name: absolute_uri(name, path) for name, path in paths.items() if path not in NOT_URIS}
    return resolution.fill_defaults({**values, **absolute})


def absolute_uri(name: str, uri: str) -> str:
    """Returns the URI of a bucket or PACS unchanged, and a path as an absolute path with `~` expanded.

    Args:
        name: name of the setting or option, for the error message.
        uri: path, gs:// or s3:// URI; of `data_source` also dicomweb://.

    Raises:
        ValueError: as `check_uri`.
    """
    check_uri(name, uri)
    return uri if storage.is_remote(uri) else str(Path(uri).expanduser().absolute())
