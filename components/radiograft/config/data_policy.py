"""The setting `data_policy`: how each kind of data defect is handled, one field a defect."""

from __future__ import annotations

import dataclasses
from typing import Any

from radiograft.config.base import Scalar, Settings, setting

REPORT, DROP, QUARANTINE, FAIL = "report", "drop", "quarantine", "fail"
UNUSABLE = "unusable"

# Reasons used in more than one package. All others are defined where the defect is detected.
BLANK = "blank image: a single gray level"
COLOR = "color image"
INVERTED = "possibly inverted: background and lungs brighter than the mediastinum"
NEAR_DUPLICATE = "near duplicate of another image"
NEAR_DUPLICATE_ELSEWHERE = "near duplicate of an image in a held-out split"
UNREADABLE = "unreadable or truncated image"
TEXT_FILE = "text instead of an image: download the file again"
CONTRADICTION = "'No Finding' together with a finding"
CONFLICTING_ROWS = "conflicting rows for one image"
CONTRADICTORY_COPIES = "equal images with different labels"
CONTRADICTORY_NEAR_COPIES = "near-equal images with different labels"
MISSPELLED = "label that looks like a misspelling of a requested one"
LEAK = "patient also in a held-out split"
MIN_SIDE = 16  # pixels; MedMNIST's smallest images have 28
TOO_SMALL = f"image with a side shorter than {MIN_SIDE} pixels"
OUTSIDE = "path outside the data folder"  # in a table
OUTSIDE_MEMBER = "member of an archive with a path outside the data folder"
REPEATED_NAME = "file name used in more than one folder"
ARCHIVED_COPY = "copy of another file, in an archive"
BOX_OUTSIDE = "bounding box outside its image"
BOX_WITHOUT_SIZE = "bounding box in pixels of a DICOM file that the dataset does not have"
MASK = "segmentation mask beside its image"
OTHER_BODY_PART = "another body part than that of the dataset"
FOR_PROCESSING = "raw detector image, for processing"
UNKNOWN_VIEW = "view that is spelled neither as frontal nor as lateral"
FURTHER_FRONTAL = "further frontal image of its study"
FURTHER_LATERAL = "further lateral image of its study"
LATERAL_ALONE = "lateral image of a study without a frontal one"
CONFLICTING_STUDY = "images of one study with different labels"

REASONS = {  # reason: kind of defect
    "row without an image": "row_without_image",
    "image without a row": "image_without_row",
    "image outside the class folders": "image_without_row",
    OUTSIDE: "outside",
    OUTSIDE_MEMBER: "outside",
    "duplicate row for an image": "repeated_row",
    REPEATED_NAME: "repeated_name",
    ARCHIVED_COPY: "repeated_name",
    OTHER_BODY_PART: "body_part",
    FOR_PROCESSING: "for_processing",
    MASK: "mask",
    "bounding box for a missing image": "stray_box",
    BOX_OUTSIDE: "stray_box",
    BOX_WITHOUT_SIZE: "stray_box",
    LEAK: "patient_overlap",
    CONTRADICTION: "contradictory_labels",
    CONFLICTING_ROWS: "contradictory_labels",
    CONTRADICTORY_COPIES: "contradictory_labels",
    CONTRADICTORY_NEAR_COPIES: "contradictory_labels",
    CONFLICTING_STUDY: "contradictory_labels",
    MISSPELLED: "misspelled_label",
    "empty file": "empty",
    UNREADABLE: "corrupt",
    TEXT_FILE: "corrupt",
    "corrupt DICOM file": "corrupt",
    "deleted since ingest": "changed",
    "changed since ingest": "changed",
    "patient identity burned into the pixels": "burned_in",
    "byte-identical to an image in a held-out split": "byte_identical",
    "byte-identical to an earlier image": "byte_identical",
    NEAR_DUPLICATE: "near_duplicate",
    NEAR_DUPLICATE_ELSEWHERE: "near_duplicate",
    TOO_SMALL: "too_small",
    BLANK: "blank",
    COLOR: "color",
    INVERTED: "inverted",
    UNKNOWN_VIEW: "unknown_view",
}
OF_ROWS = (  # reasons that name a row of a table or a box instead of a file
    "row without an image",
    "duplicate row for an image",
    "bounding box for a missing image",
    BOX_OUTSIDE,
    BOX_WITHOUT_SIZE,
    OUTSIDE,
)
NOT_ASKED_FOR = (  # not defects: excluded by the settings or by the dataset's own split lists
    "in no official split list",
    "not a frontal view",
    "not a lateral view",
    "all requested labels unknown",
    "neither a requested finding nor 'No Finding'",
    FURTHER_FRONTAL,
    FURTHER_LATERAL,
    LATERAL_ALONE,
)


def _excluded(policy: str, help: str) -> Any:
    return setting(policy, help, choices=(DROP, QUARANTINE, FAIL))


def _optional(policy: str, help: str) -> Any:
    return setting(policy, help, choices=(REPORT, DROP, QUARANTINE, FAIL))


def _reported(help: str) -> Any:
    return _optional(REPORT, help)


@dataclasses.dataclass(frozen=True)
class DataPolicy(Settings):
    """How each kind of defect is handled.

    - `drop` excludes the item and counts it.
    - `quarantine` also lists it with the URI of its file.
    - `fail` stops the run.
    - `report` keeps the item and counts it. It is allowed only for defects that a valid image may show.
    """

    row_without_image: str = _excluded(DROP, "Table row whose image is missing.")
    image_without_row: str = _excluded(DROP, "Image without a table row or class folder.")
    outside: str = _excluded(DROP, "Path in a table or archive that points outside the data folder, such as ../x.png.")
    repeated_row: str = _excluded(DROP, "Additional rows for an image; their findings are merged into the first row.")
    repeated_name: str = _excluded(
        DROP, "Files with the same name: the first is kept if their contents are equal, none otherwise."
    )
    stray_box: str = _excluded(DROP, "Bounding box of a missing image, or outside its image.")
    patient_overlap: str = _excluded(
        FAIL,
        "Patient in several of the dataset's own splits. Unless this fails, one split keeps the patient: test before "
        "validation before training.",
    )
    contradictory_labels: str = _excluded(
        QUARANTINE,
        "'No Finding' together with a requested label, conflicting rows for one image, images of one study with "
        "different labels, or equal or near-equal images with different labels, of which no copy is kept.",
    )
    misspelled_label: str = _reported(
        "Label that looks like a misspelling of a requested one; the image counts as negative."
    )
    unknown_view: str = _optional(
        DROP, "View in no list of frontal or lateral views, such as an oblique or axial one; allowed if views=all."
    )
    body_part: str = _excluded(
        QUARANTINE, "DICOM file that shows another body part than at least 90% of the files that name one."
    )
    for_processing: str = _excluded(
        DROP, "DICOM file with raw detector values, if the dataset also has images for presentation."
    )
    mask: str = _excluded(DROP, "Segmentation mask in a folder such as `masks`, or named x_mask, beside its image.")
    empty: str = _excluded(DROP, "Empty file.")
    corrupt: str = _excluded(DROP, "Truncated or corrupt file, non-image, or decompression bomb.")
    changed: str = _excluded(DROP, "File that was changed or deleted after ingest.")
    unusable: str = _excluded(DROP, "File that is not a radiograph, or of an unsupported kind.")
    burned_in: str = _excluded(DROP, "DICOM file marked as showing the patient's identity in its pixels.")
    byte_identical: str = _excluded(
        DROP, "Files with identical bytes. One is kept: test before validation before training."
    )
    near_duplicate: str = _reported("Image that looks like an earlier one, or like one in a held-out split.")
    too_small: str = _excluded(QUARANTINE, "Image with a side shorter than 16 pixels.")
    blank: str = _excluded(QUARANTINE, "Image with a single gray level.")
    color: str = _reported("Image in color in a set of gray images; converted to gray if kept.")
    inverted: str = _reported("Image whose gray levels appear to be inverted.")

    def treatment(self, reason: str) -> str:
        """Returns how an item excluded or reported for this reason is handled: one of the four policies."""
        return DROP if reason in NOT_ASKED_FOR else str(getattr(self, defect_of(reason)))


def defect_of(reason: str) -> str:
    """Returns the kind of defect, a field of `DataPolicy`, or an empty string for reasons in `NOT_ASKED_FOR`.

    Example:
        >>> defect_of("empty file")
        'empty'
    """
    return "" if reason in NOT_ASKED_FOR else REASONS.get(reason, UNUSABLE)


PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}


@dataclasses.dataclass(frozen=True)
class DataPolicySettings(Settings):
    """Policy for data defects. Ingest detects those of tables and files, preprocess those of images."""

    data_policy: str = setting(
        "standard",
        "How defects are handled: report (keep), drop, quarantine (drop and list) or fail, such as "
        "near_duplicate=drop,blank=fail; the data report lists all kinds of defects.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy()

    def policy(self) -> DataPolicy:
        """Returns the parsed `data_policy`."""
        return DataPolicy.parse("data_policy", self.data_policy, PRESETS)
