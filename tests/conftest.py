"""What tests of several folders share: real data, a small data set in NIH's layout, a running object store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.storage import EMBEDDED_BUCKET
from radiograft_pipelines.local.object_store import embedded_store
from tests.helpers.s3_double import s3_double

pytest_plugins = ["tests.helpers.stages"]

if "PYTEST_XDIST_WORKER" in os.environ:  # which share the cores: more threads would wait for each other
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

NIH_PATIENTS = 60
# For `pytest --numprocesses`: the folders of the longest tests begin, and tests that share what is dear to make stay
# with one worker, as each file's do.
FIRST = ("chaos", "images", "e2e")
DEAR = ("two_runs", "podman", "evaluation")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Orders the tests, and says which of them belong together."""
    here = Path(__file__).parent
    places = {item: item.path.relative_to(here) for item in items}
    items.sort(key=lambda item: places[item].parts[0] not in FIRST)
    for item in items:
        group = next((name for name in DEAR if name in item.fixturenames), str(places[item]))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, which is never part of the repository."""
    folder = os.environ.get("RADIOGRAFT_TEST_DATA")
    if not folder:
        pytest.skip("RADIOGRAFT_TEST_DATA is unset: no real data to test on")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def nih_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom data set of 60 patients at 64 px in NIH's layout; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("nih")
    for name, content in generate_phantom_files(NIH_PATIENTS, seed=0, size=64):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gs:// URI of a running embedded object store's bucket; take a prefix of your own in it."""
    with embedded_store(tmp_path_factory.mktemp("embedded")):
        yield f"gs://{EMBEDDED_BUCKET}"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The s3:// URI of a bucket of moto's server, to which AWS's variables lead; take a prefix of your own in it."""
    with s3_double() as bucket:
        yield bucket


@pytest.fixture(params=["local", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, or an empty prefix of the embedded bucket or of one in S3."""
    if request.param == "local":
        return str(tmp_path)
    return f"{request.getfixturevalue({'gs': 'embedded', 's3': 's3'}[request.param])}/{uuid.uuid4()}"
