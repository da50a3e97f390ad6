"""Parses untrusted YAML files; errors name the file."""

from __future__ import annotations

import collections
from typing import Any

import yaml

MAX_FILE_SIZE = 2**16  # bytes


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys, and aliases, with which ten lines can expand to a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if duplicates := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise yaml.YAMLError(f"{duplicates[0]!r} is given twice")
        return super().construct_mapping(node, deep)


def parse_yaml_mapping(content: bytes, name: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Parses a YAML file that is a mapping of names to values.

    Args:
        content: of the file.
        name: of the file, for error messages.
        may_be_empty: whether an empty file is an empty mapping instead of an error.

    Raises:
        ValueError: the file has more than MAX_FILE_SIZE bytes, is not a YAML mapping, or has an alias, a duplicate key
            or a tag that is not YAML's own.

    Example:
        >>> parse_yaml_mapping(b"image_size: 128", "demo.yaml")
        {'image_size': 128}
    """
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"{name} must have at most {MAX_FILE_SIZE:,} bytes")
    try:
        values = yaml.load(content.decode(), _Loader)  # noqa: S506  derived from SafeLoader
    except Exception as error:  # PyYAML's constructors raise many types
        raise ValueError(f"{name} must be YAML: {error}") from error
    if values is None and may_be_empty:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be a mapping of `name: value`, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
