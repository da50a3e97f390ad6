"""Fixtures: a published version, and new images to compare with it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from radiograft.config import Publish
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.stages.publish import task as publish
from tests.helpers.stages import Evaluated

NEW_PATIENTS = 40


@pytest.fixture(scope="session")
def registry(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that contains version 1 of `chest`."""
    folder = tmp_path_factory.mktemp("registry")
    inputs = publish.PublishInputs(evaluation.inputs.model, evaluation.folder, evaluation.report)
    settings = Publish(publish_registry=str(folder), publish_model_name="chest")
    publish.run(settings, inputs, "a-run", folder / "version.json")
    return folder


@pytest.fixture(scope="session")
def same_hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other patients from the same synthetic hospital."""
    return _write(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="session")
def other_hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images, inverted. One file is corrupt."""
    folder = _write(tmp_path_factory.mktemp("other"))
    images = sorted(folder.rglob("*.png"))
    for path in images:
        inverted = io.BytesIO()
        ImageOps.invert(Image.open(path)).save(inverted, "PNG")
        path.write_bytes(inverted.getvalue())
    images[0].write_bytes(b"no image")
    return folder


def _write(folder: Path) -> Path:
    for name, content in generate_phantom_files(NEW_PATIENTS, seed=11, size=64):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
