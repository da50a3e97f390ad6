"""Layout of a user's own table of labels."""

from __future__ import annotations

import dataclasses
import re

from radiograft.config.base import Settings, setting

SEPARATORS = {  # easily lost in a setting
    "comma": ",", "semicolon": ";", "space": " ", "tab": "\t", "newline": "\n", "dash": " - ", "and": " and ",
}  # fmt: skip
NO_SEPARATOR, ANY_SEPARATOR = "none", "any"
ANY = ",;|/"
WIDE = {",": "\uff0c\u3001", ";": "\uff1b", "|": "\uff5c", "/": "\uff0f"}  # the same signs in Chinese and Japanese text


@dataclasses.dataclass(frozen=True)
class TableLayout(Settings):
    """Options of the setting `data_table`: column names and how to read them.

    Columns with default names may be missing, except the image column.
    """

    image: str = setting("image", "Image column: path, file name, file name without suffix, or SOPInstanceUID.")
    patient: str = setting("patient", "Patient ID column; without it, each image counts as one patient.")
    label: str = setting(
        "label",
        "Column with the names of the findings; without it, each finding has a column with 1, 0, -1 or no value.",
    )
    separator: str = setting(
        "|",
        "Separator between several findings: a character, `comma`, `semicolon`, `space`, `tab`, `newline`, `dash` "
        "(between spaces) or `and`; `any` for comma, semicolon, bar and slash; `none` if each cell is one finding. "
        "Printed lists are always read.",
    )
    view: str = setting("view", "Projection column: PA, AP, LL, ...")
    age: str = setting("age", "Age column: 57, 057Y, 011M, 003W, 003D.")
    sex: str = setting("sex", "Sex column.")
    reader: str = setting(
        "rad_id", "Column that names who labeled the image; without it, each row of an image counts as a reading."
    )
    manufacturer: str = setting("manufacturer", "Column of the device's manufacturer, a possible confounder.")
    split: str = setting("split", "Column with the dataset's own splits: train, validation, test or train_val.")
    uncertain: str = setting(
        "ignore", "How -1 is read: as unknown, 0 or 1.", choices=("ignore", "zeros", "ones")
    )  # CheXpert's U-Ignore, U-Zeros and U-Ones (Irvin et al. 2019)
    views: str = setting(
        "frontal", "Views to keep; images of unknown view are kept too.", choices=("frontal", "lateral", "all")
    )

    covariates: str = setting("", "Further columns of patient data; data_covariates sets it.", names=True)
    study: str = setting("", "Column of the study, for data_unit=study; unique within a patient.")
    pairs: str = setting(
        "",
        "Table beside this one with the columns `frontal` and `lateral`, which name the two images of a study; for "
        "data_unit=study.",
    )

    def named(self, field: str) -> bool:
        """Returns whether the column was named explicitly and is therefore required."""
        return bool(getattr(self, field) != getattr(TableLayout, field))

    def between(self) -> str:
        """Returns the separator between findings as a regular expression."""
        if self.separator == NO_SEPARATOR:
            return r"(?!)"
        if self.separator == ANY_SEPARATOR:
            return f"[{ANY}{''.join(WIDE.values())}]"
        sign = SEPARATORS.get(self.separator, self.separator)
        return f"[{sign}{WIDE[sign]}]" if sign in WIDE else re.escape(sign)
