"""Settings shared by several stages."""

from __future__ import annotations

import dataclasses
import re

from radiograft import storage
from radiograft.config.base import Settings, setting

MAX_SEED = 2**32 - 1  # Keras's limit
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:/")


def check_uri(name: str, uri: str) -> None:
    """Rejects URIs with an unsupported scheme, which would be mistaken for local paths.

    Args:
        name: name of the setting, for the error message.

    Raises:
        ValueError: the scheme is not gs:// or s3:// (gs:/x included), or the bucket is missing.
    """
    bucket = uri.partition("://")[2].partition("/")[0] if storage.is_bucket(uri) else ""
    if SCHEME.match(uri) and not bucket:
        raise ValueError(f"{name} must be a path, gs://BUCKET/... or s3://BUCKET/..., got {uri!r}")


@dataclasses.dataclass(frozen=True)
class SeedSettings(Settings):
    """Random seed shared by all stages."""

    train_seed: int = setting(
        0, "Random seed of the splits, initial weights, shuffling and augmentation.", low=0, high=MAX_SEED
    )


@dataclasses.dataclass(frozen=True)
class GateSettings(Settings):
    """Minimum AUROC for promotion. Ingest has it too, to reject unknown labels before a run starts."""

    gate_min_auroc: str = setting(
        "0.5",
        "Minimum test AUROC for promotion, which the whole 95% interval must exceed: one for all labels, or one for "
        "each label that counts, such as Pneumonia=0.8,Mass=0.7",
    )


@dataclasses.dataclass(frozen=True)
class RegistrySettings(Settings):
    """Location of the model registry, and the model's name in it."""

    publish_registry: str = setting("", "Folder, gs:// or s3:// prefix of the model registry.", required=True)
    publish_model_name: str = setting("chest-radiograph", "Name of the model: its folder in the registry.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_uri("publish_registry", self.publish_registry)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", self.publish_model_name):
            raise ValueError(
                "publish_model_name must be 1 to 63 characters from A-Z a-z 0-9 _ - and start with a letter, "
                f"got {self.publish_model_name!r}"
            )
