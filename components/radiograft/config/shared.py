"""Settings that more than one stage asks for."""

from __future__ import annotations

import dataclasses
import re

from radiograft import storage
from radiograft.config.base import Settings, setting

MAX_SEED = 2**32 - 1  # Keras takes no larger one
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:/")


def check_uri(name: str, place: str) -> None:
    """Refuses what would be taken for a folder of the machine that happens to run, and is none.

    Raises:
        ValueError: another scheme than gs:// and s3://, also one that lacks a slash, or no bucket.
    """
    bucket = place.partition("://")[2].partition("/")[0] if storage.is_bucket(place) else ""
    if SCHEME.match(place) and not bucket:
        raise ValueError(f"{name} must be a path, gs://BUCKET/... or s3://BUCKET/..., got {place!r}")


@dataclasses.dataclass(frozen=True)
class SeedSettings(Settings):
    """The seed that every stage with a random choice shares."""

    train_seed: int = setting(
        0, "Seed of every random choice: split, initial weights, order, augmentation.", low=0, high=MAX_SEED
    )


@dataclasses.dataclass(frozen=True)
class GateSettings(Settings):
    """What the gate asks of each label: of ingest too, which knows the labels and can refuse others at once."""

    gate_min_auroc: str = setting(
        "0.5",
        "Test AUROC above which the whole 95 % interval must lie for production: one for every label, or one for each "
        "that counts: Pneumonia=0.8,Mass=0.7",
    )


@dataclasses.dataclass(frozen=True)
class RegistrySettings(Settings):
    """Where the versions of the model are."""

    publish_registry: str = setting("", "Folder, gs:// or s3:// prefix of the model registry.", required=True)
    publish_model_name: str = setting("chest-radiograph", "Name of the model, a folder of the registry.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_uri("publish_registry", self.publish_registry)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", self.publish_model_name):
            raise ValueError(
                "publish_model_name must be 1 to 63 of A-Z a-z 0-9 _ - and begin with a letter, "
                f"got {self.publish_model_name!r}"
            )
