"""Change detection: data and settings of a run are compared with those of earlier versions."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.config.base import Scalar, read_settings
from radiograft.data import change_detection
from radiograft.registry import production
from radiograft.stages.ingest import task
from tests.helpers.nih_source import IMAGES, TABLE_V2020, TEST, TRAIN_VAL, nih_files, put
from tests.helpers.versions import form, publish_version

TABLE = "Data_Entry_2017_v2020.csv"
MODEL = "chest-radiograph"
SAME_COUNTS = ": same image counts, but different images, patients, labels or splits"
Detect = Callable[..., change_detection.ChangeReport]


@pytest.fixture
def here(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def source(here: str) -> str:
    return put(nih_files(), f"{here}/data")


@pytest.fixture
def detect(tmp_path: Path) -> Detect:
    """Runs ingest with these settings and returns its change report, after comparing it with the returned decision."""

    def ingest(settings: dict[str, Scalar], run_id: str = "another run") -> change_detection.ChangeReport:
        trains = task.run_with_all_settings(settings, tmp_path / "catalog", run_id)
        report = change_detection.read(tmp_path / "catalog")
        assert trains is report.changed
        return report

    return ingest


def test_detect_changes_unchanged_skips_training(place: str, detect: Detect) -> None:
    settings = form(put(nih_files(), f"{place}/data"), place)
    publish_version(settings)
    report = detect(settings)
    assert (report.changed, report.reason) == (
        False,
        "data and settings have not changed since version 1, which is in production",
    )
    assert report.earlier is not None
    assert report.earlier["version"] == 1
    assert report.earlier["splits"]["train"] == {"pictures": 3, "patients": 2, "positives": {"Pneumonia": 1}}


def test_detect_changes_resumed_run_ignores_own_version(here: str, source: str, detect: Detect) -> None:
    """Fails if ingest does not know its run: a resumed run would skip training because of its own version."""
    first = detect(form(source, here))
    publish_version(form(source, here))  # as run-1
    assert (
        detect(form(source, here), "run-1")
        == first
        == change_detection.ChangeReport(True, "no version is in production yet", None)
    )
    publish_version(form(source, here), promote=False)  # as run-2, evaluated against version 1
    assert not detect(form(source, here), "run-2").changed
    publish_version(form(source, here, image_size=256))
    expected = "data and settings have not changed since version 1, which is in production"
    assert detect(form(source, here), "run-3").reason == expected
    assert detect(form(source, here, image_size=256), "run-3").changed


def test_detect_changes_no_production_version_trains(place: str, source: str, detect: Detect) -> None:
    first = detect(form(source, place))
    assert first == change_detection.ChangeReport(True, "no version is in production yet", None)
    publish_version(form(source, place, image_size=256), promote=False)
    assert detect(form(source, place)) == first


def test_detect_changes_rejected_candidate_skips_training(place: str, source: str, detect: Detect) -> None:
    """Fails if only the production version is compared: each scheduled run would publish the same candidate again."""
    publish_version(form(source, place), promote=False)
    expected = "data and settings have not changed since version 1, which was evaluated"
    assert detect(form(source, place)) == change_detection.ChangeReport(False, expected, None)
    assert detect(form(source, place, image_size=256)).changed


def test_detect_changes_rolled_back_version_skips_training(here: str, source: str, detect: Detect) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256))
    production.rollback(f"{here}/registry", MODEL, reason="by hand")
    report = detect(form(source, here, image_size=256))
    assert not report.changed
    assert report.reason == (
        "data and settings have not changed since version 2, which was evaluated against version 1, which is in "
        "production"
    )


def test_detect_changes_candidate_of_other_champion_trains(here: str, source: str, detect: Detect) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256), promote=False)
    production.promote(
        f"{here}/registry", MODEL, 2, production.read_production(f"{here}/registry", MODEL), reason="by hand"
    )
    assert detect(form(source, here)).changed


CHANGES: dict[str, tuple[dict[str, bytes], str]] = {
    "an image's byte": ({f"{IMAGES}/00000002_000.png": b"pixels of 00000002_0O0.png"}, SAME_COUNTS),
    "a label": ({TABLE: TABLE_V2020.replace("Mass", "Pneumonia").encode()}, SAME_COUNTS),
    "a list": (
        {
            "train_val_list.txt": "\n".join(TRAIN_VAL[:-1]).encode(),
            "test_list.txt": "\n".join((*TEST, TRAIN_VAL[-1])).encode(),
        },
        ": train 3 -> 3 images, validation 3 -> 2 images, test 2 -> 3 images",
    ),
    "an additional image": (
        {
            f"{IMAGES}/00000002_001.png": b"pixels of 00000002_001.png",
            TABLE: (TABLE_V2020 + "00000002_001.png,Mass,1,2,80,M,AP,1,1,1,1\n").encode(),
            "train_val_list.txt": "\n".join((*TRAIN_VAL, "00000002_001.png")).encode(),
        },
        ": train 3 -> 4 images, validation 3 -> 3 images, test 2 -> 2 images",
    ),
}


@pytest.mark.parametrize(("changes", "counts"), CHANGES.values(), ids=CHANGES)
def test_detect_changes_changed_data_trains(
    tmp_path: Path, detect: Detect, changes: dict[str, bytes], counts: str
) -> None:
    settings = form(put(nih_files(), str(tmp_path / "data")), str(tmp_path))
    publish_version(settings)
    put(changes, str(tmp_path / "data"))
    report = detect(settings)
    assert (report.changed, report.reason) == (
        True,
        f"the data changed since version 1, which is in production{counts}",
    )


def test_detect_changes_changed_settings_trains(here: str, source: str, detect: Detect) -> None:
    publish_version(form(source, here))
    report = detect(form(source, here, image_size=256, train_optimizer="sgd", gate_min_auroc="0.7"))
    expected = "settings changed since version 1, which is in production: gate_min_auroc, image_size, train_optimizer"
    assert (report.changed, report.reason) == (True, expected)


def test_detect_changes_reason_lists_data_and_settings(here: str, source: str, detect: Detect) -> None:
    publish_version(form(source, here))
    report = detect(form(source, here, data_labels="Effusion,Pneumonia"))
    since = "changed since version 1, which is in production"
    assert report.reason == f"the data {since}{SAME_COUNTS}; settings {since}: data_labels"


def test_detect_changes_moved_data_skips_training(here: str, source: str, detect: Detect, embedded: str) -> None:
    publish_version(form(source, here))
    assert not detect(form(put(nih_files(), f"{embedded}/{uuid.uuid4()}"), here)).changed


def test_detect_changes_after_rollback_compares_with_production(here: str, source: str, detect: Detect) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256))
    assert detect(form(source, here)).reason.startswith("settings changed since version 2")
    production.rollback(f"{here}/registry", MODEL, reason="by hand")
    assert (
        detect(form(source, here)).reason
        == "data and settings have not changed since version 1, which is in production"
    )


def test_detect_changes_unrecorded_setting_is_unchanged(here: str, source: str, detect: Detect) -> None:
    settings = form(source, here)
    publish_version({name: value for name, value in settings.items() if name != "model_l2"}, catalogued=None)
    assert not detect(settings).changed
    put({f"{IMAGES}/00000002_000.png": b"other pixels"}, source)
    assert detect(settings).reason == "the data changed since version 1, which is in production"


@pytest.mark.parametrize("name", ["train_views", "publish_margin"])
def test_detect_changes_renamed_setting_trains(here: str, source: str, detect: Detect, name: str) -> None:
    """Fails if a recorded setting that no longer exists is ignored: its new name may have another value now."""
    settings = form(source, here)
    publish_version(settings | {name: 4})
    expected = f"settings changed since version 1, which is in production: {name}"
    assert detect(settings) == (True, expected, detect(settings).earlier)


MALFORMED = {
    "invalid JSON in production.json": ("production.json", b"{"),
    "empty history in production.json": ("production.json", b'{"history": []}'),
    "empty lineage": ("1/assets.extra/lineage.json", b"{}"),
    "incomplete manifest": ("1/manifest.json", b'{"files": {}}'),
}


@pytest.mark.parametrize(("name", "content"), MALFORMED.values(), ids=MALFORMED)
def test_detect_changes_malformed_version_trains(
    here: str, source: str, detect: Detect, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    publish_version(form(source, here, train_batch_size=2))
    storage.write_bytes(f"{here}/registry/{MODEL}/{name}", content)
    with caplog.at_level(logging.WARNING, "radiograft"):
        report = detect(form(source, here, train_batch_size=2))
    expected = "the metadata of chest-radiograph in production cannot be read: "
    assert (report.changed, report.earlier) == (True, None)
    assert report.reason.startswith(expected)
    assert [record.message for record in caplog.records] == [f"  warning: {report.reason}"]


def test_detect_changes_unusable_registry_trains(here: str, source: str, detect: Detect) -> None:
    Path(here, "registry").write_text("a file where the folder should be")
    report = detect(form(source, here))
    assert (report.changed, report.earlier) == (True, None)
    assert "cannot be read: " in report.reason


def test_detect_changes_logs_reason(here: str, source: str, detect: Detect, caplog: pytest.LogCaptureFixture) -> None:
    publish_version(form(source, here))
    with caplog.at_level(logging.INFO, "radiograft"):
        detect(form(source, here))
    reason = "data and settings have not changed since version 1, which is in production"
    expected = f"{reason}; the retraining pipeline skips training"
    assert expected in [record.message for record in caplog.records]


def test_ingest_records_all_settings(tmp_path: Path, detect: Detect) -> None:
    settings = form(put(nih_files(), str(tmp_path / "data")), str(tmp_path), model_cut_off="auto")
    detect(settings)
    assert read_settings(tmp_path / "catalog") == settings


def test_detect_changes_writes_json(tmp_path: Path, detect: Detect) -> None:
    detect(form(put(nih_files(), str(tmp_path / "data")), str(tmp_path)))
    report = json.loads((tmp_path / "catalog" / "news.json").read_text())
    assert report == {"changed": True, "reason": "no version is in production yet", "earlier": None}
