"""Where a table keeps what ingest needs, as data: the names of its columns and how to read its cells."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting

SEPARATORS = {"comma": ",", "semicolon": ";", "space": " "}  # those that a setting cannot hold or that are easily lost


@dataclasses.dataclass(frozen=True)
class TableLayout(Settings):
    """A column that is not named otherwise may be missing, the pictures' excepted."""

    image: str = setting("image", "Column of the pictures: path, file name, name without suffix, or SOPInstanceUID.")
    patient: str = setting("patient", "Column of the patients' ids; without it each picture counts as a patient.")
    label: str = setting(
        "label", "Column of the findings in words; without it each finding has a column of 1, 0, -1 or nothing."
    )
    separator: str = setting("|", "What stands between several words: a sign, `comma`, `semicolon` or `space`.")
    view: str = setting("view", "Column of the projection: PA, AP, LL, ...")
    age: str = setting("age", "Column of the age: 57, 057Y, 011M, 003W, 003D.")
    sex: str = setting("sex", "Column of the sex.")
    split: str = setting("split", "Column of the data set's own split: train, validation, test or train_val.")
    uncertain: str = setting(
        "ignore", "What -1 means: unknown, 0 or 1.", choices=("ignore", "zeros", "ones")
    )  # CheXpert's U-Ignore, U-Zeros and U-Ones (Irvin et al. 2019)
    views: str = setting("frontal", "Which views to keep, where they are known.", choices=("frontal", "lateral", "all"))

    def named(self, field: str) -> bool:
        """Whether the column was named, so that it must be there."""
        return bool(getattr(self, field) != getattr(TableLayout, field))

    def between(self) -> str:
        """The sign between words."""
        return SEPARATORS.get(self.separator, self.separator)


PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}
