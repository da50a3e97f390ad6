"""Generators of super-resolution in a registry: versions of their own kind, which are no classifiers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from radiograft.registry import versions
from radiograft.utils import json_io

KIND = "super_resolution"  # in the manifest of a version
SPEC = "super_resolution.json"  # beside the network
METRICS = "super_resolution_metrics.json"
VERSION_URI = re.compile(r"(?P<registry>.+)/(?P<model>[^/]+)/(?P<number>[1-9][0-9]*)/?")


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """Specification of a generator.

    Attributes:
        scale: ratio of the sides of output and input.
        image_size: side of the enlarged images in training, in pixels.
        channels: 1 for gray, 3 for RGB.
        guard: high-frequency energy above which an enlarged image is flagged, in squared gray levels; see
            `radiograft.evaluation.super_resolution.fit_guard`.
    """

    scale: int
    image_size: int
    channels: int
    guard: float

    def write(self, folder: Path) -> None:
        """Writes super_resolution.json to a folder."""
        (folder / SPEC).write_text(json.dumps({"kind": KIND, **dataclasses.asdict(self)}, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads super_resolution.json from a folder.

        Raises:
            FileNotFoundError: it is missing.
            ValueError: it is malformed.
        """
        return cls.from_json(json_io.parse_json_object((folder / SPEC).read_bytes(), SPEC))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the specification from the content of super_resolution.json.

        Raises:
            ValueError: a value is missing or has the wrong type.
        """
        try:
            scale, size, channels = (int(values[name]) for name in ("scale", "image_size", "channels"))
            return cls(scale, size, channels, float(values["guard"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{SPEC} must hold scale, image_size, channels and guard: {error!r}") from error


class PublishedGenerator(NamedTuple):
    """A published generator, and the SHA-256 of its manifest, which pins all of its files."""

    uri: str
    spec: GeneratorSpec
    sha256: str


def parse_version_uri(name: str, uri: str) -> tuple[str, str, int]:
    """Returns registry, model and number of REGISTRY/MODEL/NUMBER.

    Args:
        name: of the argument or setting, for the error message.
        uri: a path, gs:// or s3:// URI.

    Raises:
        ValueError: the URI has another form.

    Example:
        >>> parse_version_uri("uri", "gs://bucket/registry/chest/3")
        ('gs://bucket/registry', 'chest', 3)
    """
    match = VERSION_URI.fullmatch(uri)
    if not match:
        raise ValueError(f"{name} must be REGISTRY/MODEL/NUMBER, got {uri!r}")
    return match["registry"], match["model"], int(match["number"])


def find_generator(name: str, uri: str) -> PublishedGenerator:
    """Reads the specification of a published generator.

    Args:
        name: of the setting, for error messages.
        uri: REGISTRY/NAME/NUMBER.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: the version is not a generator, or is corrupt.
    """
    place = parse_version_uri(name, uri)
    manifest = versions.read_manifest(*place)
    if manifest.get("kind") != KIND:
        raise ValueError(
            f"{name} must be a generator of the pipeline {KIND}, got {uri!r}, a version of a classifier: name a "
            "version that this pipeline published"
        )
    (values,) = versions.read_objects(*place, SPEC)
    return PublishedGenerator(uri.rstrip("/"), GeneratorSpec.from_json(values), str(manifest["sha256"]))


def is_generator(manifest: Mapping[str, Any]) -> bool:
    """Returns whether the manifest is that of a generator."""
    return manifest.get("kind") == KIND


def check_classifier(registry: str, model: str, number: int) -> None:
    """Rejects a version that is not a classifier, before it is loaded as one.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: it is a generator.
    """
    if is_generator(versions.read_manifest(registry, model, number)):
        raise ValueError(
            f"version {number} of {model} must be a classifier, got a generator of super-resolution: enlarge images "
            "with `radiograft models enlarge`, or choose another model"
        )


def check_name(registry: str, model: str, *, generators: bool) -> None:
    """Rejects a name whose versions are of the other kind, so that a name means one kind of model.

    Args:
        registry, model: where a version is to be published.
        generators: whether it is a generator.

    Raises:
        ValueError: the message names the last version.
    """
    for number in reversed(versions.list_versions(registry, model)):
        try:
            manifest = versions.read_manifest(registry, model, number)
        except ValueError:  # a corrupt version does not stop a retraining, and an earlier one is of the same kind
            continue
        if is_generator(manifest) != generators:
            kinds = ["classifiers", "generators of super-resolution"]
            wanted, found = kinds[generators], kinds[not generators]
            raise ValueError(
                f"publish_model_name must be a name of {wanted}, got {model!r}, whose version {number} is one of "
                f"{found}: choose another name"
            )
        return
