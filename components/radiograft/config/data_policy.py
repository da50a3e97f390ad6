"""What is done about each kind of defect in the data: the setting `data_policy`, a defect a field."""

from __future__ import annotations

import dataclasses
from typing import Any

from radiograft.config.base import Scalar, Settings, setting

REPORT, DROP, QUARANTINE, FAIL = "report", "drop", "quarantine", "fail"
UNUSABLE = "unusable"

# Reasons that more than one room gives; all others stand where they are found.
BLANK = "blank picture: one shade of grey"
COLOR = "picture in colour"
INVERTED = "looks inverted: surroundings and lungs brighter than the middle"
NEAR_DUPLICATE = "nearly the same picture as another one"
NEAR_DUPLICATE_ELSEWHERE = "nearly the same picture as one of a split held out more"
UNREADABLE = "unreadable or truncated picture"
CONTRADICTION = "'No Finding' beside a finding"
CONFLICTING_ROWS = "rows that tell different things of one picture"
MISSPELLED = "finding spelt almost like one asked for"
LEAK = "patient also in a split held out more"
MIN_SIDE = 16  # pixels; MedMNIST's smallest pictures have 28
TOO_SMALL = f"picture of less than {MIN_SIDE} pixels a side"
OUTSIDE = "path that leads out of the data's folder"

REASONS = {  # which defect a reason is one of
    "row without a picture": "row_without_picture",
    "picture without a row": "picture_without_row",
    "picture in no class's folder": "picture_without_row",
    OUTSIDE: "outside",
    "further row of a picture": "repeated_row",
    "picture's name occurs in more than one folder": "repeated_name",
    "box of a picture that is not there": "stray_box",
    "box that is not inside its picture": "stray_box",
    LEAK: "patient_overlap",
    CONTRADICTION: "contradictory_labels",
    CONFLICTING_ROWS: "contradictory_labels",
    MISSPELLED: "misspelt_label",
    "empty file": "empty",
    UNREADABLE: "corrupt",
    "damaged DICOM file": "corrupt",
    "gone since ingest": "changed",
    "changed since ingest": "changed",
    "the file says that its pixels show who the patient is": "burned_in",
    "byte-identical to a picture of a split held out": "byte_identical",
    "byte-identical to an earlier picture": "byte_identical",
    NEAR_DUPLICATE: "near_duplicate",
    NEAR_DUPLICATE_ELSEWHERE: "near_duplicate",
    TOO_SMALL: "too_small",
    BLANK: "blank",
    COLOR: "colour",
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
    keeps and counts: allowed where what is found may be a good picture."""

    row_without_picture: str = _left_out(DROP, "Row of a table whose picture is not there.")
    picture_without_row: str = _left_out(DROP, "Picture of which no table or folder says anything.")
    outside: str = _left_out(DROP, "Path in a table or an archive that leads out of the data's folder: ../x.png.")
    repeated_row: str = _left_out(DROP, "Further rows of a picture; what they tell is put together.")
    repeated_name: str = _left_out(DROP, "Files of one name; of one content the first one counts, of several none.")
    stray_box: str = _left_out(DROP, "Box around a finding that lies in no picture.")
    patient_overlap: str = _left_out(
        FAIL, "Patient in several of the data set's own splits; else stays in the one held out most."
    )
    contradictory_labels: str = _left_out(
        QUARANTINE, "'No Finding' beside a finding, or rows that tell different things of one picture."
    )
    misspelt_label: str = _kept("Finding spelt almost like one asked for, of which the picture counts as free.")
    empty: str = _left_out(DROP, "File of no bytes.")
    corrupt: str = _left_out(DROP, "Truncated or damaged file, no picture, or a decompression bomb.")
    changed: str = _left_out(DROP, "File that changed or went since ingest.")
    unusable: str = _left_out(DROP, "File that is no radiograph, or not of the kind that is read.")
    burned_in: str = _left_out(DROP, "DICOM file with the patient's name in its pixels.")
    byte_identical: str = _left_out(DROP, "Further files of the same bytes; the one held out most stays.")
    near_duplicate: str = _kept("Picture that looks the same as one held out more, or an earlier one.")
    too_small: str = _left_out(QUARANTINE, "Picture of less than 16 pixels a side.")
    blank: str = _left_out(QUARANTINE, "Picture of one shade of grey.")
    colour: str = _kept("Picture whose channels differ; made grey where it is kept.")
    inverted: str = _kept("Picture whose bones seem to be dark.")

    def treatment(self, reason: str) -> str:
        """What is done with what has this reason."""
        return DROP if reason in NOT_ASKED_FOR else str(getattr(self, defect_of(reason)))


def defect_of(reason: str) -> str:
    """The kind of defect, a field of Policy; empty for what was not asked for."""
    return "" if reason in NOT_ASKED_FOR else REASONS.get(reason, UNUSABLE)


PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}
