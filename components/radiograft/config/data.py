"""Settings of the data: which images, which labels, which split, what size."""

from __future__ import annotations

import dataclasses

from radiograft.config.augmentation import PRESETS as AUGMENTATIONS
from radiograft.config.augmentation import Augmentation
from radiograft.config.base import Scalar, Settings, setting
from radiograft.config.data_policy import PRESETS as POLICIES
from radiograft.config.data_policy import DataPolicy
from radiograft.config.gate import parse_min_auroc
from radiograft.config.shared import GateSettings, SeedSettings, check_uri

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NO_FINDING = "No Finding"
ALWAYS, DATA_CHANGED = "always", "data_changed"

SEPARATORS = {"comma": ",", "semicolon": ";", "space": " "}  # those that a setting cannot hold or that are easily lost


SIZE_STEP = 16  # pixels; the thumbnails of the data checks average whole cells; backbones may ask for more
TABLE_PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}


@dataclasses.dataclass(frozen=True)
class DataPolicySettings(Settings):
    """What is done about defects: ingest finds those of tables and files, preprocess those of pixels."""

    data_policy: str = setting(
        "standard",
        "What to do about a defect: report (keep it), drop, quarantine (drop and list it) or fail: "
        "near_duplicate=drop,blank=fail; the data report names all defects.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy()

    def policy(self) -> DataPolicy:
        """What `data_policy` says."""
        return DataPolicy.parse("data_policy", self.data_policy, POLICIES)


@dataclasses.dataclass(frozen=True)
class Ingest(GateSettings, DataPolicySettings, SeedSettings):
    """Which images, which labels, which split."""

    data_format: str = setting(
        "chestxray14",
        "NIH's layout, CheXpert's, a tree of DICOM files, a folder a class, a MedMNIST file, a table (see data_table), "
        "or `phantom` to have synthetic images drawn at data_source first.",
        choices=("chestxray14", "chexpert", "dicom", "folders", "medmnist", "phantom", "table"),
    )
    data_source: str = setting(
        "",
        "Folder, gs:// or s3:// prefix; of medmnist and table the file itself.",
        required=True,
    )
    data_table: str = setting(
        "standard",
        "What columns of a table are called and how to read them: image=Path,patient=PatientID,label=Finding; also "
        "separator, view, age, sex, split, uncertain=ignore, zeros or ones (of -1), views=frontal, lateral or all",
    )
    data_deidentify: str = setting(
        "auto",
        "Hash ids of patients and images, with RADIOGRAFT_SALT from the environment; `auto`: for DICOM.",
        choices=("auto", "yes", "no"),
    )
    data_labels: str = setting(
        "Pneumonia",
        "One finding, several separated by commas, or `all` 14. For MedMNIST: what 1 means, or all classes in order.",
    )
    data_negatives: str = setting(
        "rest",
        "What an image without the findings must be: any other image, or one marked 'No Finding'.",
        choices=("rest", "no_finding"),
    )
    data_validation_fraction: float = setting(
        0.125,
        "Patients of the training list held out for validation, where the data set has no validation split.",
        unit="of patients",
        low=0.01,
        high=0.5,
    )
    data_test_fraction: float = setting(
        0.2,
        "Patients held out for test where no official lists exist.",
        unit="of patients",
        low=0.01,
        high=0.5,
    )
    data_phantom_patients: int = setting(
        240,
        "Size of the phantom data set (1 to 5 images a patient).",
        unit="patients",
        low=20,
        high=100_000,
    )
    train_trigger: str = setting(
        ALWAYS,
        "`data_changed` ends a run after ingest where data and settings are those of the version in production or of "
        "the newest one judged against it, as a schedule wants it; who starts a run by hand wants it trained.",
        choices=(ALWAYS, DATA_CHANGED),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_uri("data_source", self.data_source)
        parse_min_auroc(self.gate_min_auroc, self.findings())
        self.table_layout()

    def findings(self) -> tuple[str, ...]:
        """The labels of the task in the order asked for.

        Raises:
            ValueError: a label is empty or named twice. Whether the table knows it, ingest checks.
        """
        if self.data_labels == "all":
            return FINDINGS
        names = tuple(name.strip() for name in self.data_labels.split(","))
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(f"data_labels must name each finding once, got {self.data_labels!r}")
        return names

    def table_layout(self) -> TableLayout:
        """What `data_table` says."""
        return TableLayout.parse("data_table", self.data_table, TABLE_PRESETS)

    def deidentifies(self) -> bool:
        """Whether ids are hashed and images that show a name are refused."""
        return self.data_deidentify == "yes" or (self.data_deidentify == "auto" and self.data_format == "dicom")


@dataclasses.dataclass(frozen=True)
class Preprocess(DataPolicySettings):
    """From files to shards of equally sized 8-bit gray images."""

    image_size: int = setting(224, "Side of the square the network sees.", unit="pixels", low=32, high=1024)
    image_augmentation: str = setting(
        "poster", "`poster`, `chexnet`, `none`, or ImageDataGenerator's arguments: rotation_range=10,zoom_range=0.1"
    )
    preprocess_workers: int = setting(
        1,
        "Pods that share the decoding of the images; any number gives the same shards.",
        unit="pods",
        low=1,
        high=64,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % SIZE_STEP:
            raise ValueError(f"image_size must be a multiple of {SIZE_STEP}, got {self.image_size}")
        self.augmentation()

    def augmentation(self) -> Augmentation:
        """What `image_augmentation` says."""
        return Augmentation.parse("image_augmentation", self.image_augmentation, AUGMENTATIONS)


@dataclasses.dataclass(frozen=True)
class TableLayout(Settings):
    """A column that is not named otherwise may be missing, the images' excepted."""

    image: str = setting("image", "Column of the images: path, file name, name without suffix, or SOPInstanceUID.")
    patient: str = setting("patient", "Column of the patients' ids; without it each image counts as a patient.")
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
