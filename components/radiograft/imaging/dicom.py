"""Reads radiographs from DICOM files: the pixels, and the few tags that the pipeline uses.

Except for the ids, all returned values and all error messages come from fixed vocabularies, so that a person's name in
any tag cannot leave this module.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, BinaryIO, NamedTuple, cast

import numpy as np
from pydicom import Dataset, config, dcmread
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from radiograft.imaging import dicom_pixels
from radiograft.imaging.formats import DICOM, HEAD_BYTES, UnsupportedFileError, recognize
from radiograft.imaging.geometry import GRAY, RGB
from radiograft.imaging.image_size import check_size, read_jpeg2000_size, read_jpeg_size
from radiograft.imaging.views import BODY_PARTS, CODES, LATERALITIES, MANUFACTURERS, OTHER_VIEW, VIEWS, projection
from radiograft.storage import StorageError
from radiograft.utils.spelling import is_unknown

RADIOGRAPHS = ("CR", "DX", "RG")
PHOTOGRAPHS = ("DMS", "ES", "GM", "OP", "SM", "XC")  # skin, endoscopy, microscopy, eye, slides, external camera
OTHER_MODALITIES = (
    "CT", "DOC", "ECG", "IO", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "PX", "RF", "RTDOSE", "RTIMAGE", "RTPLAN",
    "RTSTRUCT", "SC", "SEG", "SR", "US", "XA", *PHOTOGRAPHS,
)  # fmt: skip
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # photometric interpretations that become RGB
PALETTES = ("PALETTE COLOR", *COLORS)  # photometric interpretations of color that are not read
IN_COLOR = "DICOM file in color"
FOR_PROCESSING = "FOR PROCESSING"
SEXES = ("M", "F", "O")
DESCRIPTION = (
    "Modality", "SOPInstanceUID", "PatientID", "PatientSex", "PatientAge", "ViewPosition", "BurnedInAnnotation",
    "Manufacturer", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "ViewCodeSequence", "BodyPartExamined", "ImageLaterality", "Laterality",
    "PresentationIntentType", "StudyInstanceUID",
)  # fmt: skip
PIXELS = (
    "HighBit", "PixelRepresentation", "PixelData", "PatientOrientation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "PlanarConfiguration",
)  # fmt: skip
DISK_ERRORS = (errno.EIO, errno.ESTALE)  # the file itself may be intact
SYNTAXES = {  # by whether the value representation is implicit, and whether the bytes are in little-endian order
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}

# Warnings and logs of pydicom quote tags, including names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\b")
config.settings.reading_validation_mode = config.IGNORE


class UnsupportedDicomError(UnsupportedFileError):
    """The file cannot be used. The message quotes nothing from the file except a known modality."""


class Tags(NamedTuple):
    """Tags of a radiograph. The ids are unchanged; everything else comes from a fixed vocabulary.

    Attributes:
        patient_id: PatientID, "" if missing.
        instance_uid: SOPInstanceUID, which identifies the image, "" if missing.
        view: One of VIEWS, a code of `imaging.views`, or None; OTHER_VIEW stands for an unknown spelling.
        body_part: A body part of BODY_PARTS, or None.
        laterality: One of LATERALITIES, or None.
        for_processing: Whether the pixels are raw detector values (PresentationIntentType), which viewers do not show.
        sex: One of SEXES, or None.
        age: Age in DICOM's format, such as `058Y`, `011M`, `003W` or `003D`, also years without the letter; or None.
        burned_in: Whether BurnedInAnnotation says that the pixels may identify the patient.
        manufacturer: One of MANUFACTURERS, `other`, or None.
        study_id: StudyInstanceUID, or None if it is missing.
    """

    patient_id: str
    instance_uid: str
    view: str | None
    sex: str | None
    age: str | None
    burned_in: bool
    manufacturer: str | None = None
    study_id: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    for_processing: bool = False


class Frame(NamedTuple):
    """Size of the stored pixels, and the directions of their rows and columns (PatientOrientation), () if unknown."""

    height: int
    width: int
    orientation: tuple[str, ...]


class Radiograph(NamedTuple):
    """Upright pixels and the tags: uint8 [height, width] with bright bones, or RGB, uint8 [height, width, 3]."""

    pixels: np.ndarray
    tags: Tags


def read_tags(file: IO[bytes]) -> Tags:
    """Reads the tags without reading the pixels; raises UnsupportedDicomError as `read` does."""
    with _translate_errors():
        return _tags(_dataset(file, DESCRIPTION))


def read_frame(file: IO[bytes]) -> Frame:
    """Reads how the pixels are stored without reading them; raises UnsupportedDicomError as `read` does."""
    with _translate_errors():
        dataset = _dataset(file, (*DESCRIPTION, "PatientOrientation"))
        return Frame(int(dataset.Rows), int(dataset.Columns), tuple(dataset.get("PatientOrientation") or ()))


def read(content: bytes, channels: int = GRAY) -> Radiograph:
    """Decodes a radiograph of up to 16 bits: raw, run length, JPEG, JPEG lossless, JPEG-LS or JPEG 2000.

    Rescaling and the first VOI LUT or window are applied; without a LUT or window, the range of the stored values is
    stretched to 8 bits. MONOCHROME1 is inverted. If PatientOrientation is present, the image is flipped so that the
    head is up and the patient's left is on the right. Photographs in color become RGB.

    Args:
        content: The file.
        channels: 3 if images in color are accepted, 1 if not.

    Raises:
        UnsupportedDicomError: The content is not a DICOM file, has another modality, several frames, no pixels, color
            that is not accepted, or more than MAX_PIXELS pixels (checked before decompression), or is corrupt.
    """
    with _translate_errors():
        dataset = _dataset(io.BytesIO(content), (*DESCRIPTION, *PIXELS))
        if dataset.SamplesPerPixel == RGB and channels == GRAY:
            raise UnsupportedDicomError(IN_COLOR)
        _check_stream(dataset)
        convert = dicom_pixels.to_rgb if dataset.SamplesPerPixel == RGB else dicom_pixels.to_gray
        return Radiograph(convert(dataset), _tags(dataset))


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Replaces every error of pydicom and its decoders, whose messages may quote tags, by UnsupportedDicomError.

    Values are parsed on access, so errors can occur long after the file was opened.
    """
    try:
        yield
    except (UnsupportedDicomError, StorageError, FileNotFoundError):
        raise
    except InvalidDicomError:
        raise UnsupportedDicomError("not a DICOM file") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise UnsupportedDicomError("corrupt DICOM file") from None


def _dataset(file: IO[bytes], tags: tuple[str, ...]) -> Dataset:
    """Reads the given tags of a file and checks that it contains a single image of a supported kind and size.

    A preamble may be missing. Missing tags get the values with which viewers display such files.
    """
    _refuse_other_files(file)
    dataset = dcmread(file, stop_before_pixels="PixelData" not in tags, specific_tags=list(tags), force=True)
    for keyword, value in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if not dataset.get(keyword):
            setattr(dataset, keyword, value)
    dataset.PhotometricInterpretation = str(dataset.PhotometricInterpretation).strip().upper()
    if not dataset.get("BitsStored"):
        dataset.BitsStored = dataset.BitsAllocated
    _check_kind(dataset)
    return dataset


def _refuse_other_files(file: IO[bytes]) -> None:
    """Rejects deflated files, because pydicom would inflate the whole file without a limit, and files of other formats.

    Raises:
        InvalidDicomError: The file is not a DICOM file.
    """
    stream = cast(BinaryIO, file)
    if recognize(stream.read(HEAD_BYTES)) != DICOM:
        raise InvalidDicomError
    stream.seek(0)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnsupportedDicomError("unsupported deflated DICOM file")
    file.seek(0)


def _check_kind(dataset: Dataset) -> None:
    modality = str(dataset.get("Modality", ""))
    is_rgb = dataset.SamplesPerPixel == RGB and dataset.PhotometricInterpretation in COLORS
    if modality not in ((*RADIOGRAPHS, *PHOTOGRAPHS) if is_rgb else RADIOGRAPHS):
        if not modality:
            raise UnsupportedDicomError("DICOM file without a modality")
        name = modality if modality in OTHER_MODALITIES else "unknown"
        raise UnsupportedDicomError(f"modality {name} is not a radiograph ({', '.join(RADIOGRAPHS)})")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnsupportedDicomError("DICOM file without pixels")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnsupportedDicomError("DICOM file with several frames")
    is_gray = dataset.SamplesPerPixel == GRAY and dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    if not (is_gray or is_rgb):
        is_color = dataset.SamplesPerPixel != GRAY or dataset.PhotometricInterpretation in PALETTES
        raise UnsupportedDicomError(IN_COLOR if is_color else "DICOM file with an unknown photometric interpretation")
    if is_rgb and dataset.BitsAllocated != 8:
        raise UnsupportedDicomError(f"{IN_COLOR} with other than 8 bits per sample")
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated <= 16:
        raise UnsupportedDicomError("DICOM file with more than 16 bits per pixel")
    try:
        check_size(dataset.Rows, dataset.Columns)
    except ValueError as error:
        raise UnsupportedDicomError(str(error)) from None


def _check_stream(dataset: Dataset) -> None:
    """Checks that a compressed stream has the size in the tags, since decoders allocate memory by the stream."""
    if "PixelData" not in dataset:
        raise UnsupportedDicomError("DICOM file without pixels")
    _complete(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (*JPEG2000TransferSyntaxes, *JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        read_size = read_jpeg2000_size if syntax in JPEG2000TransferSyntaxes else read_jpeg_size
        stated = read_size(frame)
        if stated != (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel):
            raise UnsupportedDicomError("corrupt DICOM file")


def _complete(dataset: Dataset) -> None:
    """Adds the transfer syntax with which pydicom read a file that states none, and tags that follow from others."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        if dataset["PixelData"].is_undefined_length:
            raise UnsupportedDicomError("compressed DICOM file without a transfer syntax")
        dataset.file_meta.TransferSyntaxUID = SYNTAXES[cast(tuple[bool, bool], dataset.original_encoding)]
    if "HighBit" not in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    for keyword in ("PixelRepresentation", "PlanarConfiguration"):
        if keyword not in dataset:
            setattr(dataset, keyword, 0)


def _manufacturer(text: str) -> str | None:
    """Returns the known manufacturer whose name is a word of the text, which may contain anything."""
    words = re.findall(r"[A-Z]+", text.upper())
    known = [name for name in MANUFACTURERS for word in words if word == name or word.startswith(f"{name}FILM")]
    return known[0] if known else "other" if words else None


def _tags(dataset: Dataset) -> Tags:
    def text(tag: str) -> str:
        return " ".join(re.split(r"[\s_-]+", str(dataset.get(tag) or "").upper())).strip()

    def one_of(known: Sequence[str], tag: str) -> str | None:
        return text(tag) if text(tag) in known else None

    age = text("PatientAge")
    return Tags(
        patient_id=str(dataset.get("PatientID") or "").strip(),
        instance_uid=str(dataset.get("SOPInstanceUID") or "").strip(),
        view=_view(text("ViewPosition"), dataset),
        sex=one_of(SEXES, "PatientSex"),
        age=age if re.fullmatch(r"\d{1,3}[YMWD]?", age) else None,
        burned_in=text("BurnedInAnnotation") == "YES",
        body_part=BODY_PARTS.get(text("BodyPartExamined")),
        laterality=one_of(LATERALITIES, "ImageLaterality") or one_of(LATERALITIES, "Laterality"),
        for_processing=text("PresentationIntentType") == FOR_PROCESSING,
        manufacturer=_manufacturer(str(dataset.get("Manufacturer") or "")),
        study_id=str(dataset.get("StudyInstanceUID") or "").strip() or None,
    )


def _view(position: str, dataset: Dataset) -> str | None:
    """Returns ViewPosition in a fixed vocabulary, or without it the code in ViewCodeSequence."""
    if is_unknown(position):
        items = dataset.get("ViewCodeSequence") or []
        codes = (str(item.get("CodeValue") or "").strip().upper() for item in items)
        return next((code for code in codes if code in CODES), None)
    if position in VIEWS:
        return position
    return {"frontal": "FRONTAL", "lateral": "LATERAL"}.get(projection(position), OTHER_VIEW)
