"""TensorBoard reads logs from S3 if TensorFlow, which cannot, is not installed, as in the image."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from radiograft import storage

READ = """
import sys
sys.modules["tensorflow"] = None
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
runs = EventMultiplexer().AddRunsFromDirectory(sys.argv[1]).Reload()
print([(run, [event.step for event in runs.Tensors(run, "epoch_loss")]) for run in sorted(runs.Runs())])
"""


@pytest.fixture
def logs(s3: str, tmp_path: Path) -> str:
    """Logs of two tasks in S3, with one step each."""
    for step, task in enumerate(("extract-features/train", "fine-tune/train")):
        writer = EventFileWriter(str(tmp_path / task))
        value = Summary.Value(tag="epoch_loss", simple_value=0.5)
        writer.add_event(Event(step=step, summary=Summary(value=[value])))
        writer.close()
    uri = f"{s3}/{uuid.uuid4()}"
    storage.upload_tree(tmp_path, uri)
    return uri


def test_tensorboard_without_tensorflow_reads_all_tasks(logs: str) -> None:
    done = subprocess.run([sys.executable, "-c", READ, logs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[('extract-features/train', [0]), ('fine-tune/train', [1])]\n"
