"""A registry to which tests add versions by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import keras
import tensorflow as tf

from radiograft.config import RegistrySettings
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.champion import load_champion, record_seen_images
from radiograft.evaluation.promotion_gate import Champion
from radiograft.models.spec import ModelSpec
from radiograft.registry import production
from radiograft.registry import versions as registry

MODEL = "chest"
LABELS = ("Pneumonia", "Effusion", "Emphysema")


class RegistryFolder:
    """A registry in a folder, and its settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = RegistrySettings(publish_registry=str(folder / "registry"), publish_model_name=MODEL)

    def add_version(
        self,
        data: Shards,
        model: keras.Model,
        labels: Sequence[str] = LABELS,
        size: int = 32,
        lacking: str = "",
        run_id: str = "",
        odd: Mapping[str, bytes] = MappingProxyType({}),
    ) -> int:
        """Writes a version trained on `data` and promotes it.

        Args:
            lacking: name of a file that is omitted.
            odd: contents that replace those of files.
        """
        root = self.settings.publish_registry
        number = len(registry.list_versions(root, MODEL)) + 1
        extra = self.folder / f"files-{number}"
        extra.mkdir()
        model.save(extra / "model.keras")
        record_seen_images(data.rows, extra)
        (extra / "lineage.json").write_text(json.dumps({"source": data.summary["source"]}))
        ModelSpec(size, tuple(labels), "efficientnet_lite0", "none", "", "fine_tuning", thresholds={}).write(extra)
        for name, content in odd.items():
            (extra / name).write_bytes(content)
        files = {f"{registry.EXTRA_ASSETS}/{path.name}": path for path in extra.iterdir() if path.name != lacking}
        registry.write_version(root, MODEL, number, files | {"saved_model.pb": extra / "contract.json"}, {})
        current = production.read_production(root, MODEL)
        production.promote(root, MODEL, number, current, run_id=run_id, reason="by hand")
        return number

    def load_champion(self, data: Shards, run_id: str = "another run") -> Champion | None:
        """Loads the production model for a run on these data."""
        return load_champion(self.settings, data, tf.distribute.get_strategy(), run_id)

    def rejection_reason(self, data: Shards) -> str:
        """Returns why the production version is not compared on these data."""
        champion = self.load_champion(data)
        assert champion is not None
        assert champion.predictions is None
        return champion.rejection_reason
