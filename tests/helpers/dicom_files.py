"""Creates DICOM files in memory."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1


def dicom_dataset(stored: np.ndarray, bits: int | None = None, **tags: Any) -> Dataset:
    """Returns a radiograph with these stored values.

    Args:
        stored: integers of 8 or 16 bits [height, width]; signed ones are stored signed.
        bits: number of significant bits; all if not given.
        tags: additional or changed tags by DICOM keyword.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * stored.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset) -> bytes:
    """Returns the bytes of the file."""
    content = io.BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    return content.getvalue()


def dicom_file(stored: np.ndarray, bits: int | None = None, **tags: Any) -> bytes:
    """Returns the bytes of a file with the dataset of `dicom_dataset`."""
    return written(dicom_dataset(stored, bits, **tags))


def table(entries: list[int], first: int, bits: int) -> list[Dataset]:
    """Returns a lookup table for ModalityLUTSequence or VOILUTSequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return [item]


def in_jpeg_lossless(dataset: Dataset) -> bytes:
    """Compresses 16-bit pixels with JPEG process 14 (ISO/IEC 10918-1, annex H), selection value 1."""
    stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.PixelData = encapsulate([jpeg_lossless(stored)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


def jpeg_lossless(values: np.ndarray) -> bytes:
    """Encodes uint16 [height, width], predicting each pixel from its left neighbor; all category codes have 5 bits."""
    rows, columns = values.shape
    predicted = np.empty_like(values, dtype=np.int64)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 2**15
    bits = "".join(_coded(int(difference)) for difference in (values.astype(np.int64) - predicted).ravel())
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = b"\xff\xc3" + struct.pack(">HBHHB3B", 11, 16, rows, columns, 1, 1, 0x11, 0)
    codes = b"\xff\xc4" + struct.pack(">HB16B17B", 36, 0, *(17 * (length == 5) for length in range(1, 17)), *range(17))
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8" + frame + codes + scan + coded + b"\xff\xd9"


def _coded(difference: int) -> str:
    difference = (difference + 2**15) % 2**16 - 2**15  # modulo 65536, as the standard requires
    category = abs(difference).bit_length()
    if not category or category == 16:
        return f"{category:05b}"
    return f"{category:05b}" + f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}"
