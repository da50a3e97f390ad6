"""Converts the stored values of a DICOM image to displayed ones of 8 bits: upright, gray with bright bones, or RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing

LINEAR = "LINEAR"  # the default, also for a missing or unknown VOILUTFunction
VOI_FUNCTIONS = ("LINEAR_EXACT", "SIGMOID")  # the others


def to_gray(dataset: Dataset) -> np.ndarray:
    """Applies DICOM's display pipeline (PS3.4 N.2).

    Args:
        dataset: A dataset with one frame, one sample per pixel and up to 16 bits.

    Returns:
        uint8 [height, width].

    Raises:
        Exception: Any error of pydicom or NumPy, if the pixels or lookup tables are corrupt.
    """
    dataset.pixel_array_options(index=0)  # a stream may contain more frames than the tags declare
    stored = dataset.pixel_array.astype(np.int32)
    is_padding = find_padding(stored, dataset)
    # The pipeline maps value to value, so it is computed once per possible value instead of once per pixel.
    lowest, highest = _range(stored, ~is_padding)
    table = np.rint(255.0 * _apply_window(np.arange(lowest, highest + 1), dataset)).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    pixels = table[np.clip(stored, lowest, highest) - lowest]
    pixels[is_padding] = 0
    return orient_upright(pixels, dataset.get("PatientOrientation") or ())


def to_rgb(dataset: Dataset) -> np.ndarray:
    """Decodes a dataset of one frame and three samples of 8 bits; pydicom converts YBR to RGB.

    Returns:
        uint8 [height, width, 3].

    Raises:
        Exception: Any error of pydicom or NumPy, if the pixels are corrupt.
    """
    dataset.pixel_array_options(index=0)  # a stream may contain more frames than the tags declare
    return orient_upright(dataset.pixel_array.astype(np.uint8), dataset.get("PatientOrientation") or ())


def find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Returns which pixels are padding (PS3.3 C.7.5.1.1.2), bool [height, width]; none if all would be.

    Args:
        stored: stored values, int32 [height, width].
        dataset: PixelPaddingValue and PixelPaddingRangeLimit, each as a signed or unsigned number.
    """
    value, limit = (dataset.get(f"PixelPadding{name}") for name in ("Value", "RangeLimit"))
    if value is None:
        return np.zeros(stored.shape, bool)
    ends = sorted(_as_stored(end, dataset) for end in (value, value if limit is None else limit))
    is_padding: np.ndarray = (stored >= ends[0]) & (stored <= ends[1])
    return np.zeros(stored.shape, bool) if is_padding.all() else is_padding


def _as_stored(value: int, dataset: Dataset) -> int:
    """Returns a padding value as pydicom returns pixels: its low bits, signed if the pixels are."""
    bits = int(dataset.BitsStored)
    low: int = int(value) % 2**bits
    return low - 2**bits if dataset.PixelRepresentation and low >= 2 ** (bits - 1) else low


def _range(stored: np.ndarray, shown: np.ndarray) -> tuple[int, int]:
    values = stored if shown.all() else stored[shown]
    return int(values.min()), int(values.max())


def orient_upright(pixels: np.ndarray, orientation: Sequence[str]) -> np.ndarray:
    """Flips and transposes an image: columns run to the feet and, in a frontal view, rows to the patient's left.

    Args:
        pixels: [height, width] or [height, width, 3].
        orientation: Directions of rows and columns (PS3.3 C.7.6.1.1.1), such as `L` and `F`. If empty, the image is
            returned as stored.
    """
    if len(orientation) != 2:
        return pixels
    along, down = (direction[:1] for direction in orientation)
    if along in ("H", "F"):
        pixels, along, down = pixels.swapaxes(0, 1), down, along
    if down == "H":
        pixels = pixels[::-1]
    if along == "R":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def orient_boxes(corners: np.ndarray, orientation: Sequence[str]) -> np.ndarray:
    """Returns boxes on the stored image as boxes on the image that `orient_upright` returns.

    Args:
        corners: float64 [boxes, 4]: x and y of the upper left corner, width and height, as fractions of the image.
        orientation: As in `orient_upright`.
    """
    if len(orientation) != 2:
        return corners
    along, down = (direction[:1] for direction in orientation)
    x, y, width, height = np.asarray(corners, np.float64).T
    if along in ("H", "F"):
        x, y, width, height, along, down = y, x, height, width, down, along
    if down == "H":
        y = 1 - y - height
    if along == "R":
        x = 1 - x - width
    return np.stack([x, y, width, height], axis=1)


def _apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Maps stored values, int [n], to brightness from 0 to 1.

    The modality LUT or rescaling comes first, then the VOI LUT, the window, or else the full range of the values.
    """
    if dataset.get("ModalityLUTSequence"):
        values, _ = _apply_lut(values, dataset.ModalityLUTSequence[0], dataset)
    elif dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        values = values * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    if dataset.get("VOILUTSequence"):
        values, bits = _apply_lut(values, dataset.VOILUTSequence[0], dataset)
        return np.asarray(values / (2**bits - 1))
    if _has_window(dataset):
        return np.asarray(apply_windowing(values, _window_of_8_bits(dataset)) / 255.0)
    lowest, highest = values.min(), values.max()
    return np.asarray((values - lowest) / ((highest - lowest) or 1))


def _has_window(dataset: Dataset) -> bool:
    """Returns whether there is a window; a width below 1, or of 0 if not linear, is invalid (PS3.3 C.11.2.1.2)."""
    centers, widths = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centers is None or widths is None:
        return False
    width = float(widths[0] if isinstance(widths, Sequence) else widths)
    return width > 0 if dataset.get("VOILUTFunction") in VOI_FUNCTIONS else width >= 1


def _window_of_8_bits(dataset: Dataset) -> Dataset:
    """Copies only the window, so that pydicom maps it to 8 unsigned bits instead of the range of the stored values."""
    window = Dataset()
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, 8
    for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if dataset.get(name) is not None:
            setattr(window, name, dataset[name].value)
    if window.get("VOILUTFunction") not in VOI_FUNCTIONS:
        window.VOILUTFunction = LINEAR
    return window


def _apply_lut(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Applies a DICOM lookup table (PS3.3 C.11.1.1); values beyond its ends take the first or last entry.

    pydicom's own function overflows for tables with 8 bits and more than 256 entries.

    Returns:
        The mapped values, and the number of bits per entry.
    """
    count, first, bits = item.LUTDescriptor
    count = count or 2**16  # DICOM encodes 65,536 as 0
    data = item.LUTData
    if isinstance(data, bytes):
        little = "<" if dataset.original_encoding[1] else ">"
        is_bytes = bits <= 8 and len(data) in (count, count + 1)  # an odd count is padded to an even length
        table = np.frombuffer(data, np.uint8 if is_bytes else f"{little}u2")[:count]
    else:
        table = np.asarray(data)
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[indices], bits
