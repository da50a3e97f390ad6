"""From the values stored in a DICOM radiograph to the gray a screen shows: upright, 8 bits, bones bright."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing


def to_gray(dataset: Dataset) -> np.ndarray:
    """Pixels as DICOM's display pipeline gives them (PS3.4 N.2), uint8 [height, width].

    Args:
        dataset: one frame of one sample of up to 16 bits.

    Raises:
        Exception: anything, where the pixels or tables are damaged.
    """
    dataset.pixel_array_options(index=0)  # a stream may hold more frames than the tags say
    stored = dataset.pixel_array
    # Every step maps one value to one value, so it is done once a value that can occur and not once a pixel.
    lowest, highest = int(stored.min()), int(stored.max())
    table = np.rint(255.0 * _apply_window(np.arange(lowest, highest + 1), dataset)).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return orient_upright(table[stored.astype(np.int32) - lowest], dataset.get("PatientOrientation") or ())


def orient_upright(pixels: np.ndarray, orientation: Sequence[str]) -> np.ndarray:
    """Turns an image so that its columns run to the feet and, in a frontal view, its rows to the patient's left.

    Args:
        pixels: [height, width].
        orientation: where rows and columns run to (PS3.3 C.7.6.1.1.1), e.g. `L`, `F`; nothing: as stored.
    """
    if len(orientation) != 2:
        return pixels
    along, down = (direction[:1] for direction in orientation)
    if along in ("H", "F"):
        pixels, along, down = pixels.T, down, along
    if down == "H":
        pixels = pixels[::-1]
    if along == "R":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Brightness from 0 to 1 of stored values, int [n]: modality table or rescaling, then VOI table, window or all."""
    if dataset.get("ModalityLUTSequence"):
        values, _ = _apply_lut(values, dataset.ModalityLUTSequence[0], dataset)
    elif dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        values = values * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    if dataset.get("VOILUTSequence"):
        values, bits = _apply_lut(values, dataset.VOILUTSequence[0], dataset)
        return np.asarray(values / (2**bits - 1))
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return np.asarray(apply_windowing(values, _to_8_bit(dataset)) / 255.0)
    lowest, highest = values.min(), values.max()
    return np.asarray((values - lowest) / ((highest - lowest) or 1))


def _to_8_bit(dataset: Dataset) -> Dataset:
    """The window alone: pydicom spreads it over the range of 8 unsigned bits instead of the stored ones."""
    screen = Dataset()
    screen.PhotometricInterpretation, screen.PixelRepresentation, screen.BitsStored = "MONOCHROME2", 0, 8
    for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if dataset.get(name) is not None:
            setattr(screen, name, dataset[name].value)
    return screen


def _apply_lut(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """What a table of DICOM's (PS3.3 C.11.1.1) makes of the values, and its bits; beyond its ends they are repeated.

    pydicom's own lets values overflow where the table has 8 bits and more than 256 entries.
    """
    count, first, bits = item.LUTDescriptor
    count = count or 2**16  # which 16 bits cannot say
    data = item.LUTData
    if isinstance(data, bytes):
        little = "<" if dataset.original_encoding[1] else ">"
        in_bytes = bits <= 8 and len(data) in (count, count + 1)  # of an odd count, one byte makes it even
        table = np.frombuffer(data, np.uint8 if in_bytes else f"{little}u2")[:count]
    else:
        table = np.asarray(data)
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[places], bits
