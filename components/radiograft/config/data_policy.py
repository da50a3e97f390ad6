"""What is done about each kind of defect in the data: the setting `data_policy`, a defect a field."""

from __future__ import annotations

import dataclasses
from typing import Any

from radiograft.config.base import Scalar, Settings, setting

REPORT, DROP, QUARANTINE, FAIL = "report", "drop", "quarantine", "fail"
UNUSABLE = "unusable"

# Reasons that more than one room gives; all others stand where they are found.
BLANK = "blank image: one shade of gray"
COLOR = "image in color"
INVERTED = "looks inverted: surroundings and lungs brighter than the middle"
NEAR_DUPLICATE = "nearly the same image as another one"
NEAR_DUPLICATE_ELSEWHERE = "nearly the same image as one of a split held out more"
UNREADABLE = "unreadable or truncated image"
CONTRADICTION = "'No Finding' beside a finding"
CONFLICTING_ROWS = "rows that tell different things of one image"
MISSPELLED = "finding spelled almost like one asked for"
LEAK = "patient also in a split held out more"
MIN_SIDE = 16  # pixels; MedMNIST's smallest images have 28
TOO_SMALL = f"image of less than {MIN_SIDE} pixels a side"
OUTSIDE = "path that leads out of the data's folder"

REASONS = {  # which defect a reason is one of
    "row without an image": "row_without_image",
    "image without a row": "image_without_row",
    "image in no class's folder": "image_without_row",
    OUTSIDE: "outside",
    "further row of an image": "repeated_row",
    "image's name occurs in more than one folder": "repeated_name",
    "box of an image that is not there": "stray_box",
    "box that is not inside its image": "stray_box",
    LEAK: "patient_overlap",
    CONTRADICTION: "contradictory_labels",
    CONFLICTING_ROWS: "contradictory_labels",
    MISSPELLED: "misspelled_label",
    "empty file": "empty",
    UNREADABLE: "corrupt",
    "damaged DICOM file": "corrupt",
    "gone since ingest": "changed",
    "changed since ingest": "changed",
    "the file says that its pixels show who the patient is": "burned_in",
    "byte-identical to an image of a split held out": "byte_identical",
    "byte-identical to an earlier image": "byte_identical",
    NEAR_DUPLICATE: "near_duplicate",
    NEAR_DUPLICATE_ELSEWHERE: "near_duplicate",
    TOO_SMALL: "too_small",
    BLANK: "blank",
    COLOR: "color",
    INVERTED: "inverted",
}
NOT_ASKED_FOR = (  # no defects, but what the settings or the data set's own lists leave out
    "in neither official list",
    "no frontal view",
    "no lateral view",
    "no finding asked for is known to be there or not",
    "neither a finding asked for nor 'No Finding'",
)


def _left_out(policy: str, help: str) -> Any:
    return setting(policy, help, choices=(DROP, QUARANTINE, FAIL))


def _kept(help: str) -> Any:
    return setting(REPORT, help, choices=(REPORT, DROP, QUARANTINE, FAIL))


@dataclasses.dataclass(frozen=True)
class DataPolicy(Settings):
    """`drop` leaves out and counts, `quarantine` also lists with the file's URI, `fail` stops the run, and `report`
    keeps and counts: allowed where what is found may be a good image."""

    row_without_image: str = _left_out(DROP, "Row of a table whose image is not there.")
    image_without_row: str = _left_out(DROP, "Image of which no table or folder says anything.")
    outside: str = _left_out(DROP, "Path in a table or an archive that leads out of the data's folder: ../x.png.")
    repeated_row: str = _left_out(DROP, "Further rows of an image; what they tell is put together.")
    repeated_name: str = _left_out(DROP, "Files of one name; of one content the first one counts, of several none.")
    stray_box: str = _left_out(DROP, "Box around a finding that lies in no image.")
    patient_overlap: str = _left_out(
        FAIL, "Patient in several of the data set's own splits; else stays in the one held out most."
    )
    contradictory_labels: str = _left_out(
        QUARANTINE, "'No Finding' beside a finding, or rows that tell different things of one image."
    )
    misspelled_label: str = _kept("Finding spelled almost like one asked for, of which the image counts as free.")
    empty: str = _left_out(DROP, "File of no bytes.")
    corrupt: str = _left_out(DROP, "Truncated or damaged file, no image, or a decompression bomb.")
    changed: str = _left_out(DROP, "File that changed or went since ingest.")
    unusable: str = _left_out(DROP, "File that is no radiograph, or not of the kind that is read.")
    burned_in: str = _left_out(DROP, "DICOM file with the patient's name in its pixels.")
    byte_identical: str = _left_out(DROP, "Further files of the same bytes; the one held out most stays.")
    near_duplicate: str = _kept("Image that looks the same as one held out more, or an earlier one.")
    too_small: str = _left_out(QUARANTINE, "Image of less than 16 pixels a side.")
    blank: str = _left_out(QUARANTINE, "Image of one shade of gray.")
    color: str = _kept("Image whose channels differ; made gray where it is kept.")
    inverted: str = _kept("Image whose bones seem to be dark.")

    def treatment(self, reason: str) -> str:
        """What is done with what has this reason."""
        return DROP if reason in NOT_ASKED_FOR else str(getattr(self, defect_of(reason)))


def defect_of(reason: str) -> str:
    """The kind of defect, a field of Policy; empty for what was not asked for."""
    return "" if reason in NOT_ASKED_FOR else REASONS.get(reason, UNUSABLE)


PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}
