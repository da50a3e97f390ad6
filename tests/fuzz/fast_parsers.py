"""Parsers that do not import TensorFlow, with valid files as seeds."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.uid import JPEG2000Lossless, RLELossless

from radiograft.config import resolution
from radiograft.config.table_layout import TableLayout
from radiograft.data.sources import chestxray14, chexpert, medmnist, table
from radiograft.data.sources import dicom as dicom_source
from radiograft.imaging import dicom
from radiograft.storage import archive, npz_archive
from radiograft.storage.weight_files import read_weight_file
from radiograft_pipelines import settings
from radiograft_pipelines.cluster.profile import ClusterProfile
from tests.fuzz.contract import Parser
from tests.fuzz.mutations import Seeds, of_json
from tests.helpers.archives import packed, tar_gz
from tests.helpers.dicom_files import dicom_dataset, dicom_file, in_jpeg_lossless, written
from tests.helpers.dicom_files import table as lookup_table
from tests.helpers.images import encode, noise
from tests.helpers.medmnist_source import medmnist_arrays
from tests.helpers.nih_source import TABLE_2017, TABLE_V2020, nih_files, put
from tests.helpers.weight_files import safetensors_file, torch_legacy, torch_zip
from tests.unit.radiograft.data.sources.test_chexpert import TRAIN, VALID
from tests.unit.radiograft.data.sources.test_chexpert import files as chexpert_files
from tests.unit.radiograft.storage.test_torch_checkpoint import (
    checkpoint,
    raw,
    state_dict,
    storage_opcodes,
    tensor_opcodes,
)
from tests.unit.radiograft.storage.test_torch_zip import WHOLE_ZIP, zip_checkpoint
from tests.unit.radiograft.storage.test_weight_files import hdf5, keras_zip, one_layer

TEXT_COLUMN = b"image,patient,label,view,age,sex,split\na.png,1,Pneumonia|Mass,PA,57,M,train\nb.png,2,,AP,011M,F,test\n"
FINDING_COLUMNS = b'image,Pneumonia,Mass,age\n"a.png",1,0,3\nb.png,-1,,058Y\n'
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
    pd.read_csv(io.BytesIO(TEXT_COLUMN), dtype="string").to_parquet(content, compression=compression)  # type: ignore[call-overload]
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


def _chexpert(content: bytes, folder: Path) -> bool:
    put(chexpert_files(train=TRAIN, valid=VALID) | {"train.csv": content}, str(folder))
    return bool(chexpert.read(str(folder), TableLayout()))


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


TARS = [_tar(kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)] + [_tar(1, "../../")]


def _archive(suffix: str) -> Callable[[bytes, Path], bool]:
    def read(content: bytes, folder: Path) -> bool:
        put({f"a{suffix}": content}, str(folder))
        members = archive.iter_members(f"{folder}/a{suffix}", lambda name: name.endswith(".png"))
        uris = [member.uri for member in members if member.content is not None]
        return sum(len(content or b"") for content in archive.read_members(uris)) >= 0

    return read


def _npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    return content.getvalue()


def _with_array(name: str, **others: np.ndarray) -> Callable[[bytes], bytes]:
    """Returns a function that packs content as one array of an archive of valid arrays, with correct checksums."""

    def pack(content: bytes) -> bytes:
        archive = io.BytesIO(packed(**{key: array for key, array in others.items() if key != name}))
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(f"{name}.npy", content)
        return archive.getvalue()

    return pack


IMAGES = medmnist_arrays((16, 16))
ODD_CELLS = (True, 2**63, -1, 2.5, np.nan, 1j, "x", b"x", np.datetime64(0, "s"))


def _medmnist(content: bytes, folder: Path) -> bool:
    put({"a.npz": content}, str(folder))
    rows = medmnist.read(f"{folder}/a.npz", ["Pneumonia"]).rows
    return bool(list(npz_archive.read_rows(sorted(rows["uri"]))))


def arrays(valid: dict[str, np.ndarray], *names: str) -> list[Seeds]:
    """Returns seeds of an archive of arrays, and of variants with one named array changed and correct checksums."""
    uncompressed = io.BytesIO()
    np.savez(uncompressed, **valid)  # type: ignore[arg-type]
    seeds = [Seeds([packed(**valid), uncompressed.getvalue()])]
    for name in names:
        wrap, array = _with_array(name, **valid), valid[name]
        seeds.append(Seeds([_npy(array), _npy(array, (2, 0)), _npy(np.array([{}], object))], wrap))
        variants = [np.full(array.shape, odd) for odd in ODD_CELLS]
        variants += [array[:0], array[None], array.reshape(-1, 1, 1), array.ravel()[0], np.repeat(array, 2, -1)]
        seeds.append(Seeds([_npy(variant) for variant in variants], wrap, changes=0))
    return seeds


def _dicoms() -> list[bytes]:
    pixels = (noise(64).astype("uint16") * 7)[:, :60]
    xml = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:../canary">]><a>&x;</a>'
    tags = {"PatientComments": xml, "PatientID": "7", "PatientAge": "058Y", "PatientOrientation": ["L", "F"]}
    files = [
        dicom_file(pixels, 12, WindowCenter=500, WindowWidth=900, RescaleSlope=2, RescaleIntercept=-5, **tags),
        dicom_file(noise(24), PhotometricInterpretation="MONOCHROME1"),
        dicom_file(pixels, 12, VOILUTSequence=lookup_table(list(range(0, 4000, 10)), 1, 12)),
        dicom_file(pixels, 12, ModalityLUTSequence=lookup_table(list(range(0, 4000, 10)), 1, 12)),
        in_jpeg_lossless(dicom_dataset(pixels)),
    ]
    for syntax in (RLELossless, JPEG2000Lossless):
        dataset = dicom_dataset(pixels, 12)
        dataset.compress(syntax)
        files.append(written(dataset))
    return files


def _dicom(content: bytes, folder: Path) -> bool:
    dicom.read_tags(io.BytesIO(content))
    return dicom.read(content).pixels.ndim == 2


def _dicom_tree(content: bytes, folder: Path) -> bool:
    put({"Mass/a.dcm": content, "None/b.dcm": dicom_file(noise(24))}, str(folder))
    return len(dicom_source.read(str(folder), TableLayout(), refuse_burned_in=True).rows) == 2


def _weights(content: bytes, folder: Path) -> bool:
    put({"a.bin": content}, str(folder))
    return bool(read_weight_file(folder / "a.bin").tensors)


def _weight_parser(*seeds: Seeds, allowed_events: Sequence[str] = ()) -> Parser:
    return Parser(seeds, _weights, required_text="a.bin must be", allowed_events=allowed_events)


FLOATS = {"conv.weight": np.arange(6, dtype="<f4").reshape(3, 2, 1, 1), "conv.bias": np.zeros(3, "<f4")}
MODULE = "torchxrayvision.models.DenseNet"
MODULES = [torch_zip(FLOATS, module=MODULE), torch_legacy(FLOATS, module=MODULE), torch_zip(FLOATS, wrapped_in="model")]
LARGE = torch_legacy({"w": np.zeros(500, "<f4")})  # most changes are in its numbers, which may have any value
SAFETENSORS = safetensors_file(FLOATS)
HEADER_END = 8 + int.from_bytes(SAFETENSORS[:8], "little")


def _safetensors(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + SAFETENSORS[HEADER_END:]


CALL = b"cos\nsystem\n(X\x04\x00\x00\x00truetR."
TENSORS = state_dict({"w": tensor_opcodes(storage_opcodes("FloatStorage", "7", 6), 0, (2, 3), (3, 1))})
CHECKPOINT = checkpoint({"7": raw(np.arange(6, dtype="<f4"))}, state=TENSORS)
SETTINGS = [b"data_source: /data\n" + path.read_bytes() for path in sorted(resolution.PRESETS_FOLDER.glob("*.yaml"))]
TAGS = [
    b"image_size: !!python/object/apply:os.system ['true']\n",
    b"gpus: !!python/object/apply:os.system ['true']\n",
    b"image_size: &a [*a]\ndata_labels: [!!binary x, !!timestamp 1, !!bool x]\n",
]
CLUSTER = b"gpus: 1\nmax_cpu: 500m\ntolerations:\n- {key: a, operator: Exists}\nlabels: {team: x}\n"


def _settings(content: bytes, folder: Path) -> bool:
    put({"mine.yaml": content}, str(folder))
    return bool(settings.values_for("transfer_learning", f"{folder}/mine.yaml", []))


def _cluster(content: bytes, folder: Path) -> bool:
    put({"cluster.yaml": content}, str(folder))
    return bool(ClusterProfile.read(folder / "cluster.yaml"))


PARSERS = {
    "csv": Parser([Seeds([TEXT_COLUMN, FINDING_COLUMNS])], _table(".csv")),
    "csv.gz": Parser(
        [Seeds([gzip.compress(TEXT_COLUMN)]), Seeds([TEXT_COLUMN, FINDING_COLUMNS], gzip.compress)],
        _table(".csv.gz"),
        megabytes=512,
    ),
    "csv.zip": Parser(
        [
            Seeds([_zipped("a.csv")(TEXT_COLUMN), _zipped("a.csv", zipfile.ZIP_LZMA)(TEXT_COLUMN)]),
            Seeds([TEXT_COLUMN, FINDING_COLUMNS], _zipped("a.csv")),
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
    "chexpert": Parser([Seeds([chexpert_files(train=TRAIN, valid=VALID)["train.csv"]])], _chexpert),
    "tar.gz": Parser(
        [Seeds([tar_gz({"a.png": encode(noise())})]), Seeds(TARS, gzip.compress)], _archive(".tar.gz"), megabytes=96
    ),
    "zip": Parser([Seeds([_zipped("a.png")(encode(noise()))])], _archive(".zip"), megabytes=512),
    "npz": Parser(arrays(IMAGES, "train_images", "val_labels"), _medmnist),
    "dicom": Parser([Seeds(_dicoms())], _dicom, megabytes=1024),
    "dicom tree": Parser([Seeds(_dicoms()[:2])], _dicom_tree),
    "torch": _weight_parser(
        Seeds([CHECKPOINT, LARGE, checkpoint({}, state=CALL), WHOLE_ZIP, zip_checkpoint(CALL, {})])
    ),
    "torch module": _weight_parser(Seeds(MODULES)),
    "safetensors": _weight_parser(Seeds([SAFETENSORS]), *of_json(SAFETENSORS[8:HEADER_END], _safetensors)),
    "numpy pickle": _weight_parser(Seeds([pickle.dumps({"conv1": [*FLOATS.values()]}, 3), b"\x80\x03" + CALL])),
    "keras weights": _weight_parser(
        Seeds([keras_zip(hdf5(one_layer))]),
        Seeds([hdf5(one_layer)]),
        Seeds([b'{"config": {"layers": []}}'], lambda config: keras_zip(hdf5(one_layer), config)),
        allowed_events=["subprocess.Popen"],  # HDF5's library can hang or crash
    ),
    "settings": Parser([Seeds([*SETTINGS, *TAGS])], _settings),
    "cluster": Parser([Seeds([CLUSTER, *TAGS])], _cluster),
}
