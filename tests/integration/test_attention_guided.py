"""An attention-guided network through all stages: artifacts, report, TensorBoard, model card and predictions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.config.training import ATTENTION_GUIDED
from radiograft.data.shards.dataset import Shards
from radiograft.models.spec import ModelSpec
from radiograft.registry.results import read_results
from radiograft.serving.loaded_version import LoadedVersion
from tests.helpers import minimal_run
from tests.helpers.served_alone import serve_recorded_samples
from tests.helpers.tensorboard_events import scalars

BRANCHES = ["global", "local", "fusion", "random_local", "random_fusion"]


class Published(NamedTuple):
    """The folder of a run and the version that it published."""

    folder: Path
    version: LoadedVersion

    @property
    def branches(self) -> dict[str, dict[str, Any]]:
        """Branches in metrics.json by name."""
        results = read_results(self.folder / "evaluation")
        return {branch["branch"]: dict(branch) for branch in results["branches"]["branches"]}


@pytest.fixture(scope="module")
def published(nih_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("attention")
    settings = Ingest(data_source=str(nih_folder), data_labels="Pneumonia,Effusion", data_validation_fraction=0.25)
    images = Preprocess(image_size=32, image_crop_size=64)
    fine_tune = dataclasses.replace(minimal_run.FINE_TUNE, model_branches=ATTENTION_GUIDED, train_batch_size=8)
    with pytest.MonkeyPatch.context() as patch:
        minimal_run.replace_backbone(patch)
        result = minimal_run.run_stages(settings, folder, images, fine_tune=fine_tune)
    return Published(folder, LoadedVersion(str(folder / "registry"), minimal_run.MODEL, result.version))


def test_shards_are_stored_at_the_crop_size(published: Published) -> None:
    data = Shards.read(published.folder / "shards")
    assert (data.image_size, data.network_size) == (64, 32)
    assert next(iter(data.images("test", 4))).shape == (4, 64, 64, 1)


def test_version_gives_golden_predictions_and_describes_its_branches(published: Published) -> None:
    assert published.version.verify_golden_predictions() < 1e-5
    assert (published.version.spec.branches, published.version.spec.image_size) == (ATTENTION_GUIDED, 64)
    contract = json.loads((published.folder / "fine_tune" / "model" / "contract.json").read_text())
    assert contract["signatures"]["pictures"]["pictures"]["shape"] == [None, 64, 64, 1]


def test_saved_model_alone_gives_the_recorded_predictions(published: Published) -> None:
    alone, _ = serve_recorded_samples(published.folder / "registry" / minimal_run.MODEL / "1")
    assert len(alone) > 0
    assert max(alone) < 1e-4


def test_version_predicts_files_and_draws_heat_maps(published: Published, nih_folder: Path) -> None:
    file = next(nih_folder.rglob("*.png"))
    assert published.version.predict([file])["probability"].between(0, 1).all()
    assert published.version.heat_map(file.read_bytes(), "Effusion").startswith(b"\x89PNG")


def test_metrics_have_every_branch_with_paired_differences(published: Published) -> None:
    branches, results = published.branches, read_results(published.folder / "evaluation")
    assert list(branches) == BRANCHES
    assert branches["fusion"]["difference"] is None
    assert branches["fusion"]["auroc"] == results["metrics"]["fine_tuning"]["test"]["mean"]["auroc"]
    for name in (name for name in BRANCHES if name != "fusion"):
        expected = branches["fusion"]["auroc"]["value"] - branches[name]["auroc"]["value"]
        assert branches[name]["difference"]["value"] == pytest.approx(expected)
        assert branches[name]["difference"]["low"] <= expected <= branches[name]["difference"]["high"]
        assert list(branches[name]["labels"]) == ["Pneumonia", "Effusion"]
    assert 0 < results["branches"]["crop_share"] <= 1


def test_report_shows_branches_and_crops(published: Published) -> None:
    page = (published.folder / "report.html").read_text()
    section = page[page.index('<h2 id="branches">') :].partition("</section>")[0]
    assert section.count("data:image/jpeg;base64,") == 10
    for name in ("Global: the whole image", "Local: the crop", "Fusion: both", "Control: a random crop"):
        assert f'<th scope="row">{name}</th>' in section


def test_tensorboard_has_each_branch(published: Published) -> None:
    for name in BRANCHES:
        logged = scalars(published.folder / "logs" / "evaluation" / f"branch_{name}", ("test/",))
        assert logged["test/auroc"] == [pytest.approx(published.branches[name]["auroc"]["value"])]
    events = b"".join(path.read_bytes() for path in (published.folder / "logs" / "evaluation").rglob("events*"))
    assert b"crops" in events


def test_model_card_compares_branches(published: Published) -> None:
    card = next((published.folder / "registry").rglob("model_card.md")).read_text()
    assert "## Branches" in card
    assert "Control: both, with a random crop" in card


def test_spec_of_attention_guided_network_survives_reading(published: Published) -> None:
    folder = published.folder / "fine_tune" / "model"
    values = json.loads((folder / "contract.json").read_text())
    assert ModelSpec.read(folder).branches == values["branches"] == ATTENTION_GUIDED
    assert np.prod(values["inputs"]["picture"]["shape"][1:]) == 64 * 64
