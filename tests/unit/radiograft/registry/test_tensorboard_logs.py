"""TensorBoard logs in the registry: one readable name a run, idempotent, and ignored by all readers of versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import (  # type: ignore[import-untyped]
    EventMultiplexer,
)
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

from radiograft.config import Publish
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.tensorboard_logs import run_name, write_logs
from radiograft.registry.version_claims import Claim, claim_version
from radiograft.stages.publish import task
from tests.helpers.publish_inputs import write_inputs

RUN = "7958fae0-5b1c-4c1e-8a8f-d2f6a0b1c2d3"
CLAIM = Claim(3, RUN, "2026-11-28T17:39:08+00:00", 2)
TRAINING = {"fine_tuning/train/a.v2": "t", "fine_tuning/validation/b.v2": "v", "SHA256SUMS": "sums"}
EVALUATION = {
    "evaluation/fine_tuning/c.v2": "e",
    "evaluation/fine_tuning/sprite.png": "s",
    "evaluation/feature_extraction/d.v2": "f",
    "SHA256SUMS": "sums",
}


def _folder(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def _names(uri: str) -> list[str]:
    return sorted(entry.name for entry in registry.files_below(uri))


def test_write_logs_of_several_tasks_are_below_strategies(place: str, tmp_path: Path) -> None:
    folders = [_folder(tmp_path / "logs" / "1", TRAINING), _folder(tmp_path / "logs" / "2", EVALUATION)]
    uri = write_logs(place, "chest", CLAIM, folders)
    assert uri == f"{place}/_tensorboard/chest/2026-11-28-7958fae0-v3"
    assert _names(uri) == [
        "feature_extraction/evaluation/d.v2",
        "fine_tuning/evaluation/c.v2",
        "fine_tuning/evaluation/sprite.png",
        "fine_tuning/train/a.v2",
        "fine_tuning/validation/b.v2",
    ]


def test_write_logs_again_replaces_event_files_of_earlier_attempt(place: str, tmp_path: Path) -> None:
    """Fails if TensorBoard would read the curves of both attempts."""
    write_logs(place, "chest", CLAIM, [_folder(tmp_path / "logs" / "first", TRAINING)])
    uri = write_logs(place, "chest", CLAIM, [_folder(tmp_path / "logs" / "second", {"fine_tuning/train/z.v2": "t"})])
    assert _names(uri) == ["fine_tuning/train/z.v2"]


@pytest.mark.parametrize(
    ("run_id", "name"),
    [
        (RUN, "2026-11-28-7958fae0-v3"),
        ("20261128-173908-ea952127", "2026-11-28-ea952127-v3"),
        ("run-1", "2026-11-28-run-1-v3"),
    ],
)
def test_run_name_holds_date_run_and_version(run_id: str, name: str) -> None:
    assert run_name(CLAIM._replace(run_id=run_id)) == name


def test_readers_ignore_logs(place: str, tmp_path: Path) -> None:
    write_logs(place, "chest", CLAIM, [_folder(tmp_path / "logs", TRAINING)])
    assert registry.list_versions(place, "chest") == []
    assert production.read_production(place, "chest") is None
    assert claim_version(place, "chest", "another run").number == 1
    with pytest.raises(ValueError, match="publish_model_name must be 1 to 63 characters"):
        Publish(publish_registry=place, publish_model_name=registry.TENSORBOARD)


def test_publish_logs_are_read_by_tensorboard_as_one_name_a_run(tmp_path: Path) -> None:
    writer = EventFileWriter(str(tmp_path / "logs" / "fine_tuning" / "train"))
    writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag="epoch_loss", simple_value=0.5)])))
    writer.close()
    root = str(tmp_path / "registry")
    settings = Publish(publish_registry=root, publish_model_name="chest")
    for run in (RUN, RUN, "20261128-173908-ea952127"):
        task.run(settings, write_inputs(tmp_path / "inputs"), run, tmp_path / "version", (tmp_path / "logs",))
    board = EventMultiplexer().AddRunsFromDirectory(f"{root}/_tensorboard")
    board.Reload()
    date = claim_version(root, "chest", RUN).created[:10]
    assert sorted(board.Runs()) == [
        f"chest/{date}-7958fae0-v1/fine_tuning/train",
        f"chest/{date}-ea952127-v2/fine_tuning/train",
    ]
    assert registry.list_versions(root, "chest") == [1, 2]


def test_publish_logs_cannot_be_copied_warns_and_publishes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "registry"
    _folder(root, {"_tensorboard": "a file in the place of the folder"})
    logs = (_folder(tmp_path / "logs", TRAINING),)
    settings = Publish(publish_registry=str(root), publish_model_name="chest")
    assert task.run(settings, write_inputs(tmp_path / "inputs"), RUN, tmp_path / "version", logs).promoted
    assert "TensorBoard logs are not copied: " in caplog.text
    assert '"tensorboard": null' in (tmp_path / "version").read_text()
