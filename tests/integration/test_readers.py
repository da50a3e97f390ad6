"""Readers of the registry see exactly one complete version at every moment while the production pointer changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft import storage
from radiograft.registry import production
from tests.helpers import production_moves
from tests.helpers.readers import list_versions, looking

MOVES = {True: 20, False: 200}  # in a bucket, on disk; `make soak` runs 1,000 in each


def test_readers_during_production_changes_see_one_complete_version(
    place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Fails if `sync_models` deletes files in place, or copies them to a folder that Serving reads."""
    production_moves.stock(place)
    with looking(place, tmp_path_factory.mktemp("served")) as looks:
        made = production_moves.make(place, MOVES[storage.is_bucket(place)], seed=0)
    assert set(made) == {"promotion", "rollback", "new version"}
    assert min(looks.values()) > 1


def test_list_versions_includes_version_promoted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if `models list` reads the versions before the pointer: none of them would be in production."""
    place, read_production = str(tmp_path), production.read_production
    production_moves.stock(place)

    def publish_first(place: str, model: str) -> production.Production | None:
        monkeypatch.setattr(production, "read_production", read_production)
        production_moves.succeed(place, "newer")
        return read_production(place, model)

    monkeypatch.setattr(production, "read_production", publish_first)
    list_versions(place, tmp_path)
