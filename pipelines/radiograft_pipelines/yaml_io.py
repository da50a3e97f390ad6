"""YAML files that people write: names with values, of which nothing is run and nothing grows beyond the file."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import yaml

LARGEST = 2**16  # bytes; ours have 2,000


class _Loader(yaml.SafeLoader):
    """Without aliases, by which ten lines can stand for a billion values, and with each name once in its mapping."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} is given twice")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Names and values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: more than LARGEST bytes, no YAML, an alias, a name twice, a tag that is not YAML's own, or no
            mapping.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path} must have at most {LARGEST:,} bytes")
    try:
        values = yaml.load(content.decode(), _Loader)  # noqa: S506  a SafeLoader
    except Exception as error:  # PyYAML's own constructors raise whatever they stumble over
        raise ValueError(f"{path} must be YAML: {error}") from error
    if values is None and may_be_empty:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold lines of `name: value`, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
