"""Parsers that import Keras or TensorFlow, with valid files as seeds."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from radiograft.data.image_loader import load
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.stages.preprocess.task import SUFFIXES, FinishedShards
from radiograft.training.checkpoints import Checkpoints, prepend_digest
from tests.fuzz.contract import Parser
from tests.fuzz.fast_parsers import arrays
from tests.fuzz.mutations import Seeds, of_json
from tests.helpers.images import encode, noise, with_chunk_at_its_end
from tests.helpers.nih_source import put


def _with_crc(content: bytes) -> bytes:
    """Returns the PNG with corrected checksums of its chunks."""
    repaired, offset = bytearray(content[:8]), 8
    while offset + 12 <= len(content):
        length = int.from_bytes(content[offset : offset + 4], "big")
        chunk = content[offset + 4 : offset + 8 + length]
        repaired += content[offset : offset + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        offset += 12 + length
    return bytes(repaired)


def _images() -> list[Seeds]:
    color = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    pngs = [encode(pixels) for pixels in (noise(20), noise(20).astype("uint16") * 257, color)]
    pngs += [encode(Image.fromarray(color).convert(mode)) for mode in "1P"]
    pngs += [encode(Image.fromarray(noise(20)), optimize=True), encode(Image.fromarray(color).convert("RGBA"))]
    damaged = [with_chunk_at_its_end(encode(color), chunk) for chunk in (b"zTXta\0\5zz", b"iCCPa\0\5zz", b"gAMA\0")]
    jpegs = [encode(pixels, "JPEG", progressive=value) for pixels in (noise(20), color) for value in (False, True)]
    jpegs += [encode(Image.fromarray(color).convert("CMYK"), "JPEG")]
    others = [encode(noise(20), name) for name in ("GIF", "BMP", "TIFF", "WEBP")]
    return [Seeds(pngs), Seeds([*pngs, *damaged], _with_crc), Seeds(damaged, changes=0), Seeds(jpegs), Seeds(others)]


def _image(content: bytes, folder: Path) -> bool:
    put({"a.png": content}, str(folder))
    return load(f"{folder}/a.png", hashlib.md5(content).hexdigest(), target=ImageInput(32)).image is not None


STATE = {
    "facts": np.frombuffer(json.dumps({"best_epoch": 1}).encode(), "uint8"),
    "array:w": np.zeros((3, 2), "float32"),
}


def _checkpoint(content: bytes, folder: Path) -> bool:
    put({"00000001.state": hashlib.sha256(content).digest() + content}, str(folder))
    return Checkpoints(str(folder)).latest() is not None


SHARD = "train-00000-of-00001"


def _finished_shard(content: bytes, folder: Path) -> bool:
    """Returns whether a new attempt reuses a finished shard; a reused shard must be unchanged."""
    finished = FinishedShards.open(folder / "part", Checkpoints(str(folder / "kept")), "the work")
    copies = {SHARD + suffix: content for suffix in SUFFIXES}
    put(copies, finished.copies.uri)
    reused = finished.has(SHARD)
    assert not reused or prepend_digest((folder / "part" / (SHARD + SUFFIXES[0])).read_bytes()) == content
    return reused


def _network() -> bytes:
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(inputs)))
    path = Path("/dev/shm") / f"network-{id(inputs)}.keras"
    keras.Model(inputs, outputs).save(path)
    content = path.read_bytes()
    path.unlink()
    return content


NETWORK = _network()
CONFIG = zipfile.ZipFile(io.BytesIO(NETWORK)).read("config.json")


def _with_config(config: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(NETWORK)) as original, zipfile.ZipFile(archive, "w") as file:
        for name in original.namelist():
            file.writestr(name, config if name == "config.json" else original.read(name))
    return archive.getvalue()


def _model(content: bytes, folder: Path) -> bool:
    put({"model.keras": content}, str(folder))
    return bool(artifact.load_model(folder))


CONTRACT = {
    "image_size": 32, "labels": ["Mass"], "backbone": "b", "weights": "w", "cut_off": "c", "strategy": "s",
    "thresholds": {"Mass": 0.5},
}  # fmt: skip


def _contract(content: bytes, folder: Path) -> bool:
    put({"contract.json": content}, str(folder))
    spec = ModelSpec.read(folder)
    assert spec.image_size <= 1024
    assert not (spec.thresholds or {}).get("unknown label")
    return bool(",".join(spec.labels))


PARSERS = {
    "image": Parser(_images(), _image, megabytes=1024),
    "checkpoint": Parser(arrays(STATE, "facts", "array:w"), _checkpoint),
    "finished shard": Parser([Seeds([prepend_digest(bytes(range(256)))])], _finished_shard),
    "keras": Parser(
        [Seeds([NETWORK]), *of_json(CONFIG, _with_config)], _model, megabytes=1024, required_text="model.keras must be"
    ),
    "contract": Parser(of_json(json.dumps(CONTRACT).encode()), _contract, required_text="contract.json"),
}
