"""Settings of the data: source, labels and splits."""

from __future__ import annotations

import dataclasses

from radiograft import storage
from radiograft.config.base import (
    AUTO,
    GateSettings,
    Scalar,
    SeedSettings,
    check_uri,
    parse_columns,
    setting,
)
from radiograft.config.data_policy import DataPolicySettings
from radiograft.config.evaluation import parse_min_auroc
from radiograft.config.patient_data import check_covariate_names
from radiograft.config.table_layout import TableLayout
from radiograft.utils.quoting import parse_names
from radiograft.utils.spelling import fold_name

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NO_FINDING = "No Finding"
FORMATS = (
    "chestxray14", "chexpert", "dicom", "folders", "medmnist", "mimic", "padchest", "phantom", "rsna", "table", "vindr",
)  # fmt: skip
UNANIMOUS = "unanimous"

MULTILABEL, MULTICLASS, BINARY, REGRESSION = "multilabel", "multiclass", "binary", "regression"
TASKS = (MULTILABEL, MULTICLASS, BINARY, REGRESSION)
IMAGE, STUDY = "image", "study"
STUDY_FORMATS = ("chexpert", "dicom", "mimic", "padchest", "phantom", "table")  # the others do not name studies
TABLE_PRESETS: dict[str, dict[str, Scalar]] = {"standard": {}}


@dataclasses.dataclass(frozen=True)
class Ingest(GateSettings, DataPolicySettings, SeedSettings):
    """Settings of the ingest stage: source, labels, splits and when to train."""

    data_format: str = setting(
        "chestxray14",
        "Layout of the dataset: NIH ChestX-ray14, CheXpert, MIMIC-CXR-JPG, PadChest, RSNA Pneumonia, VinDr-CXR, DICOM "
        "files, one folder per class, a MedMNIST file, or a table (see data_table); `phantom` generates synthetic "
        "images at data_source first.",
        choices=FORMATS,
    )
    data_source: str = setting(
        "",
        "Folder, gs:// or s3:// prefix of the dataset; for medmnist and table, the file itself; for dicom also "
        "dicomweb://HOST/PATH, a PACS.",
        required=True,
    )
    data_table: str = setting(
        "standard",
        "Columns of a table and how to read them, such as image=Path,patient=PatientID,label=Finding. Also: separator, "
        "view, age, sex, split, uncertain (of -1: ignore, zeros or ones), views (frontal, lateral or all).",
    )
    data_table_file: str = setting(
        "",
        "Table with the labels of DICOM files, if it is elsewhere: path, gs:// or s3:// URI. A PACS needs it.",
    )
    data_deidentify: str = setting(
        "auto",
        "Hash patient and image IDs with the salt in the environment variable RADIOGRAFT_SALT; `auto`: DICOM only.",
        choices=("auto", "yes", "no"),
    )
    data_labels: str = setting(
        "Pneumonia",
        "Labels separated by commas, or a YAML list; a name that contains a comma is put in quotes. `all`: the 14 of "
        "ChestX-ray14. MedMNIST: name of class 1, or of all classes in order.",
        names=True,
    )
    data_task: str = setting(
        AUTO,
        "What the labels are: independent (`multilabel`, a sigmoid each), classes of which every image has exactly one "
        "(`multiclass`, a softmax), a single one (`binary`), or numbers (`regression`, columns of a table). `auto` "
        "decides between the first three from the labels of the images.",
        choices=(AUTO, *TASKS),
    )
    data_negatives: str = setting(
        "rest",
        "Which images are negatives: all without the labels (`rest`), or only those marked 'No Finding'.",
        choices=("rest", "no_finding"),
    )
    data_readers: str = setting(
        UNANIMOUS,
        "Which label an image has if several readers labeled it: the one they agree about, else the image is excluded "
        "(`unanimous`); the one that `any` or `all` of them see; that of the `majority`, where a tie is unknown; or "
        "the share of those who see it (`mean`), which training learns and which counts as the majority elsewhere.",
        choices=(UNANIMOUS, "any", "all", "majority", "mean"),
    )
    data_box_training_fraction: float = setting(
        0.0,
        "Fraction of the test patients with boxes whose images move to training, so that `train_box_weight` can use "
        "their boxes: all boxes of ChestX-ray14 are in its test list. The test split is then not the official one.",
        unit="of patients",
        low=0.0,
        high=0.9,
    )
    data_validation_fraction: float = setting(
        0.125,
        "Fraction of the training patients held out for validation if the dataset has no validation split.",
        unit="of patients",
        low=0.01,
        high=0.5,
    )
    data_test_fraction: float = setting(
        0.2,
        "Fraction of the patients held out for testing if the dataset has no official splits.",
        unit="of patients",
        low=0.01,
        high=0.5,
    )
    data_phantom_patients: int = setting(
        240,
        "Size of the phantom dataset, with 1 to 5 images per patient.",
        unit="patients",
        low=20,
        high=100_000,
    )
    data_covariates: str = setting(
        "",
        "Further columns of the table that hold patient data, numbers or categories, separated by commas; "
        "model_patient_data names those that a model reads.",
        names=True,
    )
    data_covariates_insist: str = setting(
        "",
        "Columns of patient data that are used although ingest would reject them, because they are known only after "
        "the diagnosis or give the label away.",
        names=True,
    )
    data_unit: str = setting(
        IMAGE,
        "What is labeled and predicted: each `image`, or each `study`, whose frontal and lateral image are paired. For "
        "CheXpert, MIMIC-CXR, PadChest, DICOM files, the phantom, and tables that name studies or pairs in data_table.",
        choices=(IMAGE, STUDY),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_uri("data_source", self.data_source)
        self._check_table_file()
        parse_min_auroc(self.gate_min_auroc, self.findings())
        self.table_layout()
        self._check_task()
        check_covariate_names(self.covariates(), parse_columns("data_covariates_insist", self.data_covariates_insist))
        self._check_unit()

    def covariates(self) -> tuple[str, ...]:
        """Returns the names in `data_covariates`."""
        return parse_columns("data_covariates", self.data_covariates)

    @property
    def names_studies(self) -> bool:
        """Whether the dataset can name the study of each image; a table does if `data_table` says how."""
        layout = self.table_layout()
        return self.data_format in STUDY_FORMATS and (self.data_format != "table" or bool(layout.study or layout.pairs))

    def _check_unit(self) -> None:
        """Rejects studies of a dataset that does not name them."""
        if self.data_unit != STUDY:
            return
        if self.data_format not in STUDY_FORMATS:
            raise ValueError(
                f"data_unit=study must have a dataset that names the study of each image, got {self.data_format!r}, "
                f"which names none: set data_unit=image, or use {', '.join(STUDY_FORMATS)}"
            )
        if not self.names_studies:
            raise ValueError(
                "data_unit=study must have a table that names studies or pairs, got neither: set study= to the column "
                "of the study, or pairs= to a table of pairs, in data_table"
            )
        if (views := self.table_layout().views) != "frontal":
            raise ValueError(
                f"data_unit=study must have views=frontal in data_table, got {views!r}: the lateral image of a "
                "study is read with its frontal one"
            )

    def _check_task(self) -> None:
        """Rejects a task that does not suit the number of labels."""
        count = len(self.findings())
        if self.data_task == REGRESSION:
            self._check_regression()
        if self.data_task == MULTICLASS and count < 2:
            raise ValueError(
                f"data_task=multiclass needs at least two classes in data_labels, got {self.data_labels!r}: name them, "
                "or set data_task=binary"
            )
        if self.data_task == MULTICLASS and self.data_readers == "mean":
            raise ValueError(
                "data_readers=mean gives soft labels, and data_task=multiclass needs images of exactly one class: set "
                "data_readers=majority, or data_task=multilabel"
            )
        if self.data_task == BINARY and count > 1:
            raise ValueError(
                f"data_task=binary needs one label in data_labels, got {count}: name the label whose presence is "
                "predicted, or set data_task=multiclass or multilabel"
            )

    def _check_regression(self) -> None:
        """Rejects settings of the data that have no meaning for numbers."""
        layout, named = self.table_layout(), self.data_labels != "all"
        allowed = {
            "data_format": (self.data_format, ("table",), "targets are columns of a table"),
            "data_labels": (self.data_labels, (self.data_labels,) if named else (), "each target is a column"),
            "data_readers": (self.data_readers, (UNANIMOUS, "mean"), "readings of a number agree or are averaged"),
            "data_negatives": (self.data_negatives, ("rest",), "a number has no negatives"),
            "data_table's label": (layout.label, (TableLayout.label,), "each target has a column of its own"),
            "data_table's uncertain": (layout.uncertain, (TableLayout.uncertain,), "-1 is a number"),
            "gate_min_auroc": (self.gate_min_auroc, (GateSettings.gate_min_auroc,), "set gate_min_r2"),
        }
        for name, (value, values, reason) in allowed.items():
            if value not in values:
                choices = " or ".join(values) or "names of columns"
                raise ValueError(f"{name} must be {choices} with data_task=regression, got {value!r}: {reason}")

    def _check_table_file(self) -> None:
        check_uri("data_table_file", self.data_table_file)
        if self.data_format != "dicom" and storage.is_dicomweb(self.data_source):
            raise ValueError(f"data_format must be dicom for a dicomweb:// source, got {self.data_format!r}")
        if self.data_format != "dicom" and self.data_table_file:
            raise ValueError(
                f"data_table_file must be empty unless data_format is dicom, got {self.data_table_file!r} with "
                f"{self.data_format!r}; for data_format=table, data_source is the table"
            )

    def findings(self) -> tuple[str, ...]:
        """Returns the labels in the order of `data_labels`. Ingest checks whether the dataset has them.

        Raises:
            ValueError: a label is empty or repeated.
        """
        if self.data_labels == "all":
            return FINDINGS
        names = parse_names(self.data_labels)
        if not all(names) or len(set(map(fold_name, names))) < len(names):
            raise ValueError(f"data_labels must name each finding once, got {self.data_labels!r}")
        return names

    def table_layout(self) -> TableLayout:
        """Returns the parsed `data_table`, with the columns of `data_covariates`."""
        layout = TableLayout.parse("data_table", self.data_table, TABLE_PRESETS)
        if layout.covariates:
            raise ValueError(f"data_table must not name covariates, got {layout.covariates!r}: set data_covariates")
        return dataclasses.replace(layout, covariates=self.data_covariates)

    def deidentifies(self) -> bool:
        """Returns whether IDs are hashed and images with burned-in identities are excluded."""
        return self.data_deidentify == "yes" or (self.data_deidentify == "auto" and self.data_format == "dicom")
