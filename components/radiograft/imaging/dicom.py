"""Radiographs in DICOM files: which files hold one, and the few tags that may leave this module.

Messages and values that leave it are from fixed vocabularies: a name that stands in a tag, wherever, ends here.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import struct
import warnings
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple, cast

import numpy as np
from pydicom import Dataset, config, dcmread
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from radiograft.imaging import dicom_pixels
from radiograft.imaging.limits import check_size
from radiograft.storage import StorageError

RADIOGRAPHS = ("CR", "DX", "RG")
OTHER_MODALITIES = (
    "CT", "DOC", "ECG", "IO", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "PX", "RF", "RTDOSE", "RTIMAGE", "RTPLAN",
    "RTSTRUCT", "SC", "SEG", "SR", "US", "XA", "XC",
)  # fmt: skip
VIEWS = ("PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO")
SEXES = ("M", "F", "O")
DESCRIPTION = (
    "Modality", "SOPInstanceUID", "PatientID", "PatientSex", "PatientAge", "ViewPosition", "BurnedInAnnotation",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored",
)  # fmt: skip
PIXELS = (
    "HighBit", "PixelRepresentation", "PixelData", "PatientOrientation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth",
)  # fmt: skip
UNREADABLE_TAGS = (errno.EIO, errno.ESTALE)  # the disk's faults: the file itself may be whole
JPEG_FRAMES = (0xC0, 0xC1, 0xC3, 0xF7)  # markers of a frame: baseline, extended, lossless, JPEG-LS

# What pydicom warns of quotes the tags, names among them.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\b")
config.settings.reading_validation_mode = config.IGNORE


class UnsupportedDicomError(ValueError):
    """Why a file cannot be used; the message quotes nothing from it but a known modality."""


class Tags(NamedTuple):
    """What a file tells; the ids are as they stand there, everything else from a fixed vocabulary.

    Attributes:
        patient_id: empty where the file names none.
        instance_uid: SOPInstanceUID, unique to the image; empty where missing.
        view: one of VIEWS, or None.
        sex: one of SEXES, or None.
        age: as DICOM writes it, e.g. `058Y`, `011M`, `003W` or `003D`; or None.
        burned_in: whether the file says that its pixels show who the patient is.
    """

    patient_id: str
    instance_uid: str
    view: str | None
    sex: str | None
    age: str | None
    burned_in: bool


class Radiograph(NamedTuple):
    """Pixels, uint8 [height, width], upright, bones bright; and the tags."""

    pixels: np.ndarray
    tags: Tags


def read_tags(file: IO[bytes]) -> Tags:
    """Reads what stands before the pixels, and no more of the file; raises NotARadiograph as `read` does."""
    with _translate_errors():
        return _tags(_dataset(file, DESCRIPTION))


def read(content: bytes) -> Radiograph:
    """Decodes a radiograph: raw, run length, JPEG, JPEG lossless, JPEG-LS or JPEG 2000, of up to 16 bits.

    Rescaling, the first VOI LUT or else the first window are applied; without either, the values present fill the
    range. MONOCHROME1 is inverted. PatientOrientation, where there is one, puts the head up and the patient's left on
    the right; without it pixels lie as stored.

    Raises:
        NotARadiograph: no DICOM file, another modality, several frames, color, no pixels, more pixels than
            LARGEST_PIXELS (known before decompression), or damaged.
    """
    with _translate_errors():
        dataset = _dataset(io.BytesIO(content), (*DESCRIPTION, *PIXELS))
        _check_stream(dataset)
        return Radiograph(dicom_pixels.to_gray(dataset), _tags(dataset))


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Makes a refusal of whatever pydicom and its decoders stumble over, also late: values are read when asked for.

    What they raise has values of tags in the text.
    """
    try:
        yield
    except (UnsupportedDicomError, StorageError, FileNotFoundError):
        raise
    except InvalidDicomError:
        raise UnsupportedDicomError("no DICOM file") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNREADABLE_TAGS:
            raise
        raise UnsupportedDicomError("corrupt DICOM file") from None


def _dataset(file: IO[bytes], tags: tuple[str, ...]) -> Dataset:
    """The tags asked for of a file that holds one gray image of a radiograph of allowed size."""
    _refuse_deflated(file)
    dataset = dcmread(file, stop_before_pixels="PixelData" not in tags, specific_tags=list(tags))
    _check_kind(dataset)
    return dataset


def _refuse_deflated(file: IO[bytes]) -> None:
    """pydicom inflates such a file whole, however large it becomes."""
    stream = cast(BinaryIO, file)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnsupportedDicomError("deflated DICOM file, which is not read")
    file.seek(0)


def _check_kind(dataset: Dataset) -> None:
    modality = str(dataset.get("Modality", ""))
    if modality not in RADIOGRAPHS:
        found = modality if modality in OTHER_MODALITIES else "unknown"
        raise UnsupportedDicomError(f"modality {found} is no radiograph ({', '.join(RADIOGRAPHS)})")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnsupportedDicomError("DICOM file without pixels")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnsupportedDicomError("DICOM file of several frames")
    if dataset.SamplesPerPixel != 1 or dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedDicomError("DICOM file in color")
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated <= 16:
        raise UnsupportedDicomError("DICOM file of more than 16 bits a pixel")
    try:
        check_size(dataset.Rows, dataset.Columns)
    except ValueError as error:
        raise UnsupportedDicomError(str(error)) from None


def _check_stream(dataset: Dataset) -> None:
    """Compares the size that a compressed stream states with the tags', since decoders allocate by the former."""
    if "PixelData" not in dataset:
        raise UnsupportedDicomError("DICOM file without pixels")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (*JPEG2000TransferSyntaxes, *JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        stated = _jpeg2000_size(frame) if syntax in JPEG2000TransferSyntaxes else _jpeg_size(frame)
        if stated != (dataset.Rows, dataset.Columns, 1):
            raise UnsupportedDicomError("corrupt DICOM file")


def _jpeg2000_size(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components from the SIZ marker, which comes first (ISO/IEC 15444-1, A.5.1)."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise UnsupportedDicomError("corrupt DICOM file")
    right, bottom, left, top = struct.unpack(">4I", stream[8:24])
    return bottom - top, right - left, int.from_bytes(stream[40:42], "big")


def _jpeg_size(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components from the frame header (ISO/IEC 10918-1, B.2.2)."""
    place = 2
    while stream[place] == 0xFF and stream[place + 1] not in JPEG_FRAMES:
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    rows, columns, components = struct.unpack(">HHB", stream[place + 5 : place + 10])
    return rows, columns, components


def _tags(dataset: Dataset) -> Tags:
    def one_of(known: tuple[str, ...], tag: str) -> str | None:
        value = str(dataset.get(tag, "")).strip().upper()
        return value if value in known else None

    age = str(dataset.get("PatientAge", "")).strip().upper()
    return Tags(
        patient_id=str(dataset.get("PatientID") or "").strip(),
        instance_uid=str(dataset.get("SOPInstanceUID") or "").strip(),
        view=one_of(VIEWS, "ViewPosition"),
        sex=one_of(SEXES, "PatientSex"),
        age=age if re.fullmatch(r"\d{1,3}[YMWD]", age) else None,
        burned_in=str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES",
    )
