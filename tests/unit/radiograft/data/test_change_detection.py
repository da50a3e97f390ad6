"""Is there anything to train on? Data and settings of a run against those of the version in production."""

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
Look = Callable[..., change_detection.ChangeReport]


@pytest.fixture
def here(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def source(here: str) -> str:
    return put(nih_files(), f"{here}/data")


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """What ingest finds with these settings; what it returns to the pipeline is the same."""

    def ingest(settings: dict[str, Scalar], run_id: str = "another run") -> change_detection.ChangeReport:
        goes_on = task.run_with_all_settings(settings, tmp_path / "catalog", run_id)
        found = change_detection.read(tmp_path / "catalog")
        assert goes_on is found.train
        return found

    return ingest


def test_what_did_not_change_is_not_trained_on(place: str, look: Look) -> None:
    settings = form(put(nih_files(), f"{place}/data"), place)
    publish_version(settings)
    found = look(settings)
    assert (found.train, found.reason) == (False, "data and settings have not changed since version 1, which is in production")
    assert found.earlier is not None
    assert found.earlier["version"] == 1
    assert found.earlier["splits"]["train"] == {"pictures": 3, "patients": 2, "positives": {"Pneumonia": 1}}


def test_what_a_run_published_itself_before_it_was_killed_does_not_count(here: str, source: str, look: Look) -> None:
    """Fails where ingest is not told its run: taken up again, the run would stop for what it made itself."""
    first = look(form(source, here))
    publish_version(form(source, here))  # as run-1
    assert (
        look(form(source, here), "run-1")
        == first
        == change_detection.ChangeReport(True, "no version is in production yet", None)
    )
    publish_version(form(source, here), promote=False)  # as run-2, judged against version 1
    assert not look(form(source, here), "run-2").train
    publish_version(form(source, here, image_size=256))
    told = "data and settings have not changed since version 1, which is in production"
    assert look(form(source, here), "run-3").reason == told
    assert look(form(source, here, image_size=256), "run-3").train


def test_who_wants_it_trained_has_it_trained(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    found = look(form(source, here, train_trigger="always"))
    assert (found.train, found.reason) == (True, "data and settings have not changed since version 1, which is in production")


def test_without_a_version_in_production_it_is_trained(place: str, source: str, look: Look) -> None:
    first = look(form(source, place))
    assert first == change_detection.ChangeReport(True, "no version is in production yet", None)
    publish_version(form(source, place, image_size=256), promote=False)
    assert look(form(source, place)) == first


def test_what_the_gate_refused_is_not_made_again(place: str, source: str, look: Look) -> None:
    """Fails where only the version in production is asked: each schedule would add the same candidate once more."""
    publish_version(form(source, place), promote=False)
    told = "data and settings have not changed since version 1, which was evaluated"
    assert look(form(source, place)) == change_detection.ChangeReport(False, told, None)
    assert look(form(source, place, train_trigger="always")).train
    assert look(form(source, place, image_size=256)).train


def test_what_was_rolled_back_is_not_made_again(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256))
    production.rollback(f"{here}/registry", MODEL, reason="by hand")
    found = look(form(source, here, image_size=256))
    told = "data and settings have not changed since version 2, which was evaluated against version 1, which is in production"
    assert (found.train, found.reason) == (False, told)


def test_a_candidate_that_met_another_opponent_is_made_again(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256), promote=False)
    production.promote(
        f"{here}/registry", MODEL, 2, production.read_production(f"{here}/registry", MODEL), reason="by hand"
    )
    assert look(form(source, here)).train


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
    "an image more": (
        {
            f"{IMAGES}/00000002_001.png": b"pixels of 00000002_001.png",
            TABLE: (TABLE_V2020 + "00000002_001.png,Mass,1,2,80,M,AP,1,1,1,1\n").encode(),
            "train_val_list.txt": "\n".join((*TRAIN_VAL, "00000002_001.png")).encode(),
        },
        ": train 3 -> 4 images, validation 3 -> 3 images, test 2 -> 2 images",
    ),
}


@pytest.mark.parametrize(("changes", "told"), CHANGES.values(), ids=CHANGES)
def test_changed_data_are_trained_on(tmp_path: Path, look: Look, changes: dict[str, bytes], told: str) -> None:
    settings = form(put(nih_files(), str(tmp_path / "data")), str(tmp_path))
    publish_version(settings)
    put(changes, str(tmp_path / "data"))
    found = look(settings)
    assert (found.train, found.reason) == (True, f"the data changed since version 1, which is in production{told}")


def test_changed_settings_are_trained_with(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    found = look(form(source, here, image_size=256, train_optimizer="sgd", gate_min_auroc="0.7"))
    told = "settings changed since version 1, which is in production: image_size, gate_min_auroc, train_optimizer"
    assert (found.train, found.reason) == (True, told)


def test_data_and_settings_that_changed_are_both_told(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    found = look(form(source, here, data_labels="Effusion,Pneumonia"))
    since = "changed since version 1, which is in production"
    assert found.reason == f"the data {since}{SAME_COUNTS}; settings {since}: data_labels"


def test_the_same_data_elsewhere_are_the_same_data(here: str, source: str, look: Look, embedded: str) -> None:
    publish_version(form(source, here))
    assert not look(form(put(nih_files(), f"{embedded}/{uuid.uuid4()}"), here)).train


def test_the_version_in_production_counts_not_the_newest(here: str, source: str, look: Look) -> None:
    publish_version(form(source, here))
    publish_version(form(source, here, image_size=256))
    assert look(form(source, here)).reason.startswith("settings changed since version 2")
    production.rollback(f"{here}/registry", MODEL, reason="by hand")
    assert look(form(source, here)).reason == "data and settings have not changed since version 1, which is in production"


def test_what_an_older_package_did_not_record_is_no_change(here: str, source: str, look: Look) -> None:
    settings = form(source, here)
    publish_version({name: value for name, value in settings.items() if name != "model_l2"}, catalogd=None)
    assert not look(settings).train
    put({f"{IMAGES}/00000002_000.png": b"other pixels"}, source)
    assert look(settings).reason == "the data changed since version 1, which is in production"


DAMAGES = {
    "the pointer is no JSON": ("production.json", b"{"),
    "the pointer has no history": ("production.json", b'{"history": []}'),
    "the version's lineage is another": ("1/assets.extra/lineage.json", b"{}"),
    "the version is no version": ("1/manifest.json", b'{"files": {}}'),
}


@pytest.mark.parametrize(("name", "content"), DAMAGES.values(), ids=DAMAGES)
def test_a_version_that_cannot_be_read_keeps_nothing_from_training(
    here: str, source: str, look: Look, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    publish_version(form(source, here))
    storage.write_bytes(f"{here}/registry/{MODEL}/{name}", content)
    with caplog.at_level(logging.WARNING, "radiograft"):
        found = look(form(source, here))
    told = "what chest-radiograph in production was made with cannot be read: "
    assert (found.train, found.earlier) == (True, None)
    assert found.reason.startswith(told)
    assert [record.message for record in caplog.records] == [f"  warning: {found.reason}"]


def test_a_registry_that_cannot_be_used_keeps_nothing_from_training(here: str, source: str, look: Look) -> None:
    Path(here, "registry").write_text("a file where the folder should be")
    found = look(form(source, here))
    assert (found.train, found.earlier) == (True, None)
    assert "cannot be read: " in found.reason


def test_why_is_said_in_the_log(here: str, source: str, look: Look, caplog: pytest.LogCaptureFixture) -> None:
    publish_version(form(source, here))
    with caplog.at_level(logging.INFO, "radiograft"):
        look(form(source, here))
    told = "data and settings have not changed since version 1, which is in production: nothing is trained"
    assert told in [record.message for record in caplog.records]


def test_every_setting_of_the_run_is_recorded(tmp_path: Path, look: Look) -> None:
    settings = form(put(nih_files(), str(tmp_path / "data")), str(tmp_path), model_cut_off="auto")
    look(settings)
    assert read_settings(tmp_path / "catalog") == settings


def test_what_was_found_is_json(tmp_path: Path, look: Look) -> None:
    look(form(put(nih_files(), str(tmp_path / "data")), str(tmp_path)))
    found = json.loads((tmp_path / "catalog" / "news.json").read_text())
    assert found == {"train": True, "reason": "no version is in production yet", "earlier": None}
