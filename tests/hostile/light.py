"""Parsers that need no TensorFlow, with valid files to begin with."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.uid import JPEG2000Lossless, RLELossless

from components import archives, npz
from components.drift.sample import FIELDS, Sample
from components.imaging import dicom
from components.ingest import chestxray14, medmnist, table
from components.ingest.table_layout import TableLayout
from components.modeling.torch_checkpoint import read_tensors
from components.publish import claims, production, registry
from pipelines import settings_files
from pipelines.placement import Cluster
from tests.components.archives import packed
from tests.components.dicom_files import dicom_dataset, dicom_file, in_jpeg_lossless, written
from tests.components.dicom_files import table as look_up
from tests.components.ingest.medmnist_source import medmnist_arrays
from tests.components.ingest.nih_source import TABLE_2017, TABLE_V2020, nih_files, put
from tests.components.modeling.test_torch_checkpoint import checkpoint, raw, state_dict, stored, tensor
from tests.components.pictures import encode, noise
from tests.components.tar_files import tar_gz
from tests.hostile.law import Parser
from tests.hostile.mutations import Seeds

WORDS = b"image,patient,label,view,age,sex,split\na.png,1,Pneumonia|Mass,PA,57,M,train\nb.png,2,,AP,011M,F,test\n"
MARKS = b'image,Pneumonia,Mass,age\n"a.png",1,0,3\nb.png,-1,,058Y\n'
BOXES = b"Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000003_000.png,Pneumonia,1,2,300,400,,,\n"


def _zipped(name: str, compression: int = zipfile.ZIP_DEFLATED) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", compression) as file:
            file.writestr(name, content)
        return archive.getvalue()

    return pack


def _parquet(compression: str) -> bytes:
    content = io.BytesIO()
    pd.read_csv(io.BytesIO(WORDS), dtype="string").to_parquet(content, compression=compression)  # type: ignore[call-overload]
    return content.getvalue()


def _table(suffix: str) -> Callable[[bytes, Path], bool]:
    def read(content: bytes, folder: Path) -> bool:
        put({"a.png": b"a", "b.png": b"b", f"labels{suffix}": content}, str(folder))
        return bool(table.read(f"{folder}/labels{suffix}", TableLayout()))

    return read


def _nih(name: str) -> Callable[[bytes, Path], bool]:
    def read(content: bytes, folder: Path) -> bool:
        put(nih_files() | {"BBox_List_2017.csv": BOXES, name: content}, str(folder))
        return bool(chestxray14.read(str(folder)))

    return read


def _tar(format: int, folder: str = "") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as archive:
        for name in ("a.png", "long" * 35 + "/b.png"):
            member = tarfile.TarInfo(folder + name)
            member.size, member.pax_headers = 700, {"comment": "x"}
            archive.addfile(member, io.BytesIO(bytes(700)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"{kind!r}.png")
            member.type, member.linkname = kind, "../canary"
            archive.addfile(member)
    return content.getvalue()


TARS = [_tar(each) for each in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)] + [_tar(1, "../../")]


def _archive(content: bytes, folder: Path) -> bool:
    put({"a.tar.gz": content}, str(folder))
    found = [member.uri for member in archives.members(f"{folder}/a.tar.gz", (".png",))]
    return sum(len(each or b"") for each in archives.pick(found)) >= 0


def _npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    return content.getvalue()


def _stored(name: str, **others: np.ndarray) -> Callable[[bytes], bytes]:
    """An archive of honest arrays, with checksums, of which one is what it is given."""

    def pack(content: bytes) -> bytes:
        archive = io.BytesIO(packed(**{key: array for key, array in others.items() if key != name}))
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(f"{name}.npy", content)
        return archive.getvalue()

    return pack


PICTURES = medmnist_arrays((16, 16))
SAMPLE = {
    "labels": np.array(["Mass"]), "patients": np.arange(4), "view": np.array(["PA"] * 4), "sex": np.array(["M"] * 4),
    "age": np.zeros(4, "float32"), "scores": np.zeros((4, 1), "float32"), "features": np.zeros((4, 3), "float16"),
}  # fmt: skip


def _medmnist(content: bytes, folder: Path) -> bool:
    put({"a.npz": content}, str(folder))
    rows = medmnist.read(f"{folder}/a.npz", ["Pneumonia"]).rows
    return bool(list(npz.pick(sorted(rows["uri"]))))


def arrays(held: dict[str, np.ndarray], *names: str) -> list[Seeds]:
    """Archives of these arrays, and those in which one of the named ones alone is changed, checksums right."""
    whole = io.BytesIO()
    np.savez(whole, **held)  # type: ignore[arg-type]
    inner = [
        Seeds([_npy(held[name]), _npy(held[name], (2, 0)), _npy(np.array([{}], object))], _stored(name, **held))
        for name in names
    ]
    return [Seeds([packed(**held), whole.getvalue()]), *inner]


def _dicoms() -> list[bytes]:
    pixels = (noise(64).astype("uint16") * 7)[:, :60]
    xml = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:../canary">]><a>&x;</a>'
    tags = {"PatientComments": xml, "PatientID": "7", "PatientAge": "058Y", "PatientOrientation": ["L", "F"]}
    made = [
        dicom_file(pixels, 12, WindowCenter=500, WindowWidth=900, RescaleSlope=2, RescaleIntercept=-5, **tags),
        dicom_file(noise(24), PhotometricInterpretation="MONOCHROME1"),
        dicom_file(pixels, 12, VOILUTSequence=look_up(list(range(0, 4000, 10)), 1, 12)),
        dicom_file(pixels, 12, ModalityLUTSequence=look_up(list(range(0, 4000, 10)), 1, 12)),
        in_jpeg_lossless(dicom_dataset(pixels)),
    ]
    for syntax in (RLELossless, JPEG2000Lossless):
        dataset = dicom_dataset(pixels, 12)
        dataset.compress(syntax)
        made.append(written(dataset))
    return made


def _dicom(content: bytes, folder: Path) -> bool:
    dicom.read_tags(io.BytesIO(content))
    return dicom.read(content).pixels.ndim == 2


def _torch(content: bytes, folder: Path) -> bool:
    put({"a.pth": content}, str(folder))
    return bool(read_tensors(folder / "a.pth"))


CALL = b"cos\nsystem\n(X\x04\x00\x00\x00truetR."
TENSORS = state_dict({"w": tensor(stored("FloatStorage", "7", 6), 0, (2, 3), (3, 1))})
CHECKPOINT = checkpoint({"7": raw(np.arange(6, dtype="<f4"))}, state=TENSORS)
SETTINGS = [b"data_source: /data\n" + path.read_bytes() for path in sorted(settings_files.FOLDER.glob("*.yaml"))]
TAGS = [
    b"image_size: !!python/object/apply:os.system ['true']\n",
    b"gpus: !!python/object/apply:os.system ['true']\n",
    b"image_size: &a [*a]\ndata_labels: [!!binary x, !!timestamp 1, !!bool x]\n",
]
CLUSTER = b"gpus: 1\nmost_cpu: 500m\ntolerations:\n- {key: a, operator: Exists}\nlabels: {team: x}\n"


def _settings(content: bytes, folder: Path) -> bool:
    put({"mine.yaml": content}, str(folder))
    return bool(settings_files.values_for("transfer_learning", f"{folder}/mine.yaml", []))


def _cluster(content: bytes, folder: Path) -> bool:
    put({"cluster.yaml": content}, str(folder))
    return bool(Cluster.read(folder / "cluster.yaml"))


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ENTRY = {"sha256": EMPTY_SHA256, "bytes": 0}
MANIFEST = json.dumps({"version": 1, "files": {"saved_model.pb": ENTRY, "assets.extra/a": ENTRY}}).encode()
ESCAPE = b'"files": {"../../../../canary": {"sha256": "0", "bytes": 0}, '
CHANGE = {"version": 1, "time": "2026-01-01T00:00:00+00:00", "run_id": "r", "reason": "x", "rollback": False}
CLAIM = json.dumps({"number": 1, "run_id": "r", "created": "2026", "parent": None}).encode()


def _registry(name: str, use: Callable[[str, Path], object]) -> Callable[[bytes, Path], bool]:
    """A registry with one version, of which a file is what is given."""

    def read(content: bytes, folder: Path) -> bool:
        files = {"1/manifest.json": MANIFEST, "1/saved_model.pb": b"", "1/assets.extra/a": b"", "claims/1.json": CLAIM}
        put({f"shelf/m/{each}": held for each, held in (files | {name: content}).items()}, str(folder))
        use(f"{folder}/shelf", folder / "copy")
        return True

    return read


def _fetch(place: str, copy: Path) -> None:
    registry.verify(place, "m", 1)
    registry.fetch(place, "m", 1, registry.manifest(place, "m", 1)["files"], copy)


PARSERS = {
    "csv": Parser([Seeds([WORDS, MARKS])], _table(".csv")),
    "csv.gz": Parser(
        [Seeds([gzip.compress(WORDS)]), Seeds([WORDS, MARKS], gzip.compress)], _table(".csv.gz"), megabytes=512
    ),
    "csv.zip": Parser(
        [
            Seeds([_zipped("a.csv")(WORDS), _zipped("a.csv", zipfile.ZIP_LZMA)(WORDS)]),
            Seeds([WORDS, MARKS], _zipped("a.csv")),
        ],
        _table(".csv.zip"),
        megabytes=512,
    ),
    "parquet": Parser(
        [Seeds([_parquet("snappy"), _parquet("gzip"), _parquet("none")])], _table(".parquet"), megabytes=512
    ),
    "nih table": Parser([Seeds([TABLE_V2020.encode(), TABLE_2017.encode()])], _nih("Data_Entry_2017_v2020.csv")),
    "nih list": Parser([Seeds([nih_files()["test_list.txt"]])], _nih("test_list.txt")),
    "nih boxes": Parser([Seeds([BOXES])], _nih("BBox_List_2017.csv")),
    "tar.gz": Parser([Seeds([tar_gz({"a.png": encode(noise())})]), Seeds(TARS, gzip.compress)], _archive),
    "npz": Parser(arrays(PICTURES, "train_images", "val_labels"), _medmnist),
    "drift sample": Parser(arrays(SAMPLE, "labels", "features"), lambda content, _: bool(Sample.read(content))),
    "dicom": Parser([Seeds(_dicoms())], _dicom, megabytes=1024),
    "torch": Parser([Seeds([CHECKPOINT, checkpoint({}, state=CALL)])], _torch),
    "settings": Parser([Seeds([*SETTINGS, *TAGS])], _settings),
    "cluster": Parser([Seeds([CLUSTER, *TAGS])], _cluster),
    "manifest": Parser(
        [Seeds([MANIFEST, MANIFEST.replace(b'"files": {', ESCAPE)])],
        _registry("1/manifest.json", _fetch),
    ),
    "pointer": Parser(
        [Seeds([json.dumps({"version": 1, "history": [CHANGE, CHANGE]}).encode()])],
        _registry("production.json", lambda place, _: production.current(place, "m")),
    ),
    "claim": Parser([Seeds([CLAIM])], _registry("claims/1.json", lambda place, _: claims.claim(place, "m", "r"))),
}
assert set(SAMPLE) == set(FIELDS)
