"""Segmentation masks in the layouts of public datasets."""

from __future__ import annotations

import pytest

from radiograft.data.sources.masks import find_masks

LAYOUTS = {
    "COVID-19 Radiography Database": (
        ["COVID/images/COVID-1.png", "COVID/images/COVID-2.png", "Normal/images/Normal-1.png"],
        ["COVID/masks/COVID-1.png", "COVID/masks/COVID-2.png", "Normal/masks/Normal-1.png"],
    ),
    "Montgomery": (
        ["MontgomerySet/CXR_png/MCUCXR_0001_0.png"],
        ["MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png", "MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png"],
    ),
    "Shenzhen": (["CXR_png/CHNCXR_0001_0.png"], ["mask/CHNCXR_0001_0_mask.png"]),
    "BUSI": (
        ["benign/benign (1).png", "benign/benign (2).png"],
        ["benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png", "benign/benign (2)_mask.png"],
    ),
    "a mask without an image": (["images/1.png", "images/2.png"], ["masks/1.png", "masks/3.png"]),
    "other suffix": (["images/1.jpg"], ["masks/1.png"]),
    "classes named as masks": (["with_mask/1.png", "without_mask/1.png"], []),
    "a class of its own": (["masks/4.png", "normal/1.png"], []),
    "a name that ends like a mask": (["a/oxygen_mask.png", "a/2.png"], []),
    "no masks": (["a/1.png", "b/1.png"], []),
}


@pytest.mark.parametrize(("images", "masks"), LAYOUTS.values(), ids=LAYOUTS)
def test_find_masks_returns_masks_of_layout(images: list[str], masks: list[str]) -> None:
    assert sorted(find_masks(images + masks)) == sorted(masks)
    assert sorted(find_masks(masks + images)) == sorted(masks)
