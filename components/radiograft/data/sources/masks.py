"""Finds segmentation masks among the images of a dataset, by the names of folders and files."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable

HINTS = ("mask", "segmentation", "truth")  # without any, a dataset of a million images is not searched
MASK_FOLDER = re.compile(
    r"(?:(?:.+[ _-]|manual|left|right|lung)?masks?|segmentations?|ground[ _-]?truths?)$", re.IGNORECASE
)
MASK_NAME = re.compile(r"(.+?)(?:[ _-](?:mask|segmentation))(?:[ _-]?\d+)?$", re.IGNORECASE)
MIN_SHARE = 0.5  # of the files in a mask folder that are named as an image is


def find_masks(paths: Iterable[str]) -> list[str]:
    """Returns the images that are masks.

    A folder named as one of masks is one if at least half of its files are named as images that lie beside it, such as
    `COVID/masks/1.png` and `COVID/images/1.png`. A file is a mask if its folder holds the image of which it is named as
    the mask, such as `benign (1)_mask.png` and `benign (1).png`.

    Example:
        >>> find_masks(["images/1.png", "masks/1.png", "masked/1.png"])
        ['masks/1.png']
    """
    paths = list(dict.fromkeys(paths))
    every_path = "\n".join(paths).lower()
    if not any(hint in every_path for hint in HINTS):
        return []
    folders = {path: folder for path in paths if (folder := _mask_folder(path))}
    beside: dict[str, set[str]] = collections.defaultdict(set)  # folders of the images, by stem
    for path in paths:
        if path not in folders:
            beside[_stem(path)].add(path.rpartition("/")[0])
    partners = {path: _has_image_beside(folder, beside[image_stem(path)]) for path, folder in folders.items()}
    of_folder = collections.Counter(folders.values())
    matched: collections.Counter[str] = collections.Counter()
    for path, folder in folders.items():
        matched[folder] += partners[path]
    in_folders = [path for path, folder in folders.items() if matched[folder] >= MIN_SHARE * of_folder[folder]]
    single = [path for path in paths if path not in folders and MASK_NAME.fullmatch(_stem(path))]
    return in_folders + [path for path in single if path.rpartition("/")[0] in beside[image_stem(path)]]


def _has_image_beside(mask_folder: str, places: Iterable[str]) -> bool:
    parent = mask_folder.rpartition("/")[0]
    return any(not parent or f"{place}/".startswith(f"{parent}/") for place in places)


def _mask_folder(path: str) -> str:
    """Returns the outermost folder on the path whose name is one of masks, or ""."""
    parts = path.split("/")[:-1]
    depth = next((depth for depth, part in enumerate(parts) if MASK_FOLDER.match(part)), None)
    return "" if depth is None else "/".join(parts[: depth + 1])


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def image_stem(path: str) -> str:
    """Returns the stem of the image of which a file may be the mask."""
    match = MASK_NAME.fullmatch(_stem(path))
    return match[1] if match else _stem(path)
