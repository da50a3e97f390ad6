"""Readers of the registry, while production moves, see one whole version at every moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft import storage
from radiograft.registry import production
from tests.helpers import production_moves
from tests.helpers.readers import list_versions, looking

MOVES = {True: 20, False: 200}  # in a bucket, on disk; `make soak` makes 1,000 in each


def test_readers_see_one_whole_version_at_every_moment(place: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fails where `mirror` deletes a version's files in place, or copies them to where Serving looks."""
    production_moves.stock(place)
    with looking(place, tmp_path_factory.mktemp("served")) as looks:
        made = production_moves.make(place, MOVES[storage.is_bucket(place)], seed=0)
    assert set(made) == {"promotion", "rollback", "new version"}
    assert min(looks.values()) > 1


def test_what_comes_into_production_while_versions_are_listed_is_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where `models list` asks for the versions before it asks for the pointer: none of them is in production."""
    place, current = str(tmp_path), production.read_production
    production_moves.stock(place)

    def just_after_a_newer_one_came(place: str, model: str) -> production.Production | None:
        monkeypatch.setattr(production, "read_production", current)
        production_moves.succeed(place, "newer")
        return current(place, model)

    monkeypatch.setattr(production, "read_production", just_after_a_newer_one_came)
    list_versions(place, tmp_path)
