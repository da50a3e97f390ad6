"""Fixtures for several folders: real data, a small dataset in NIH's layout, object stores; markers and order."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.storage import EMBEDDED_BUCKET
from radiograft_pipelines.local.object_store import embedded_store
from tests.helpers.s3_double import s3_double
from tests.helpers.tiers import markers

pytest_plugins = ["tests.helpers.stages"]

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("no deadline")

NIH_PATIENTS = 60
# With `pytest --numprocesses`, the folders with the longest tests run first. Tests of a file, and tests that share an
# expensive session fixture, run in one worker.
FIRST_FOLDERS = ("chaos", "images", "e2e")
SHARED_FIXTURES = ("two_runs", "podman", "evaluation")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker, and before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Orders the tests, and adds the markers of their tier and of their pytest-xdist group."""
    tests = Path(__file__).parent
    paths = {item: item.path.relative_to(tests) for item in items}
    items.sort(key=lambda item: paths[item].parts[0] not in FIRST_FOLDERS)
    for item in items:
        group = next((name for name in SHARED_FIXTURES if name in item.fixturenames), str(paths[item]))
        item.add_marker(pytest.mark.xdist_group(group))
        for marker in markers(paths[item], item.fixturenames):
            item.add_marker(marker)


MAX_BYTES_IN_ID = 40  # of a parameter in the name of a test


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, which is not part of the repository."""
    folder = os.environ.get("RADIOGRAFT_TEST_DATA")
    if not folder:
        pytest.skip("RADIOGRAFT_TEST_DATA is not set: no real data to test on")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def nih_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic dataset of 60 patients at 64 px in NIH's layout. Copy it before you change files."""
    folder = tmp_path_factory.mktemp("nih")
    for name, content in generate_phantom_files(NIH_PATIENTS, seed=0, size=64):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gs:// URI of a bucket in the embedded object store. Use a separate prefix in each test."""
    with embedded_store(tmp_path_factory.mktemp("embedded")):
        yield f"gs://{EMBEDDED_BUCKET}"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The s3:// URI of a bucket in moto's server; AWS variables point to it. Use a separate prefix in each test."""
    with s3_double() as bucket:
        yield bucket


@pytest.fixture(params=["local", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty location: a local folder, or a prefix in the embedded store or in S3."""
    if request.param == "local":
        return str(tmp_path)
    return f"{request.getfixturevalue({'gs': 'embedded', 's3': 's3'}[request.param])}/{uuid.uuid4()}"


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Names long bytes by their argument. The content of a zip file contains the time at which it was written."""
    return argname if isinstance(val, bytes) and len(val) > MAX_BYTES_IN_ID else None
