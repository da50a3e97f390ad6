"""A real PACS: Orthanc with its DICOMweb plug-in (Debian packages `orthanc` and `orthanc-dicomweb`), on loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "radiograft", "qua ckenbüsh:7"  # with what Basic authentication must encode
START_SECONDS = 60


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """Starts an empty server that wants USER and PASSWORD, and yields HOST:PORT. Its DICOMweb root is /dicom-web."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not program or not PLUGIN.is_file():
        pytest.skip("Orthanc and its DICOMweb plug-in are not installed: no PACS to test on")
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(_settings(folder, host)))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, settings], stdout=log, stderr=log)
    try:
        _wait(process, host)
        yield host
    finally:
        process.terminate()
        process.wait(timeout=60)


def _settings(folder: Path, host: str) -> dict[str, object]:
    return {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": int(host.rpartition(":")[2]),
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGIN)],
    }


def _wait(process: subprocess.Popen[bytes], host: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"http://{host}/dicom-web/studies", auth=(USER.encode(), PASSWORD.encode()), timeout=5)
            return
        time.sleep(0.1)
    raise RuntimeError("Orthanc did not start; see orthanc.log in the test's folder")


def store(host: str, files: Iterable[bytes]) -> None:
    """Stores DICOM files."""
    for content in files:
        response = requests.post(
            f"http://{host}/instances", content, auth=(USER.encode(), PASSWORD.encode()), timeout=60
        )
        response.raise_for_status()
