"""Every setting of every stage: the one place where a name, a default, a unit, a range and its help stand.

The run form, the components' signatures and the command line take names and defaults from here. The defaults are the
poster's (DenseNet-121, ImageNet, 224 px, cut-off `conv5_block16_2_conv`) where the poster states a value.
"""

from __future__ import annotations

import dataclasses
import re

from components.imaging.augmentation import PRESETS as AUGMENTATIONS
from components.imaging.augmentation import Augmentation
from components.modeling.recipe import PRESETS as RECIPES
from components.modeling.recipe import Recipe
from components.settings_fields import Settings, setting

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NO_FINDING = "No Finding"
# Where fine-tuning starts unless told otherwise: the last convolution, which for DenseNet-121 is the poster's cut-off.
AUTO_CUT_OFF = "auto"  # tries the last blocks one after another and keeps the best
CUT_OFFS = {"densenet121": "conv5_block16_2_conv", "efficientnet_lite0": "top_conv"}


@dataclasses.dataclass(frozen=True)
class Seeded(Settings):
    """The seed that every stage with a random choice shares."""

    train_seed: int = setting(0, "Seed of every random choice: split, initial weights, order, augmentation.", low=0)


@dataclasses.dataclass(frozen=True)
class Ingest(Seeded):
    """Which pictures, which labels, which split."""

    data_format: str = setting(
        "chestxray14",
        "NIH's layout, a MedMNIST file, or `phantom` to have synthetic pictures drawn at data_source first.",
        choices=("chestxray14", "medmnist", "phantom"),
    )
    data_source: str = setting("", "Folder or gs:// prefix in NIH's layout, or a MedMNIST .npz file.", required=True)
    data_labels: str = setting(
        "Pneumonia",
        "One finding, several separated by commas, or `all` 14. For MedMNIST: what 1 means, or all classes in order.",
    )
    data_negatives: str = setting(
        "rest",
        "What a picture without the findings must be: any other picture, or one marked 'No Finding'.",
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
        "Size of the phantom data set (1 to 5 pictures a patient).",
        unit="patients",
        low=20,
        high=100_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.findings()

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


@dataclasses.dataclass(frozen=True)
class Preprocess(Seeded):
    """From files to shards of equally sized 8-bit grey pictures."""

    image_size: int = setting(224, "Side of the square the network sees.", unit="pixels", low=32, high=1024)
    image_augmentation: str = setting(
        "poster", "`poster`, `none`, or ImageDataGenerator's arguments: rotation_range=10,zoom_range=0.1"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}")
        self.augmentation()

    def augmentation(self) -> Augmentation:
        """What `image_augmentation` says."""
        return Augmentation.parse("image_augmentation", self.image_augmentation, AUGMENTATIONS)


@dataclasses.dataclass(frozen=True)
class Training(Seeded):
    """What both training strategies share."""

    train_batch_size: int = setting(32, "Pictures a step, over all GPUs together.", unit="pictures", low=1, high=4096)
    train_optimizer: str = setting("adam", "Optimizer of both strategies.", choices=("adam", "adamw", "rmsprop", "sgd"))
    train_recipe: str = setting(
        "poster",
        "`poster` (constant rate), `chexnet`, or any of schedule, warm_up, layer_decay, ema, clip_norm, "
        "label_smoothing, loss_weights: schedule=cosine,warm_up=0.1",
    )
    train_patience: int = setting(
        5, "Epochs without a better validation AUROC before training stops.", unit="epochs", low=1, high=1000
    )
    train_precision: str = setting(
        "auto",
        "Arithmetic; `auto` is mixed precision where the GPUs have it, else float32.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    model_cut_off: str = setting(
        CUT_OFFS["densenet121"],
        "Layer from which fine-tuning unfreezes, as Keras prints it; of several with commas, or of `auto`, the best.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipe()

    def recipe(self) -> Recipe:
        """What `train_recipe` says."""
        return Recipe.parse("train_recipe", self.train_recipe, RECIPES)


@dataclasses.dataclass(frozen=True)
class ExtractFeatures(Training):
    """Strategy 1: a new classifier on the features of the frozen backbone."""

    model_backbone: str = setting("densenet121", "Pretrained network.", choices=tuple(CUT_OFFS))
    model_weights: str = setting("imagenet", "`imagenet`, `none`, or a weight file's path or gs:// URI.")
    model_weights_md5: str = setting("", "MD5 that a weight file must have; empty: not checked.")
    model_feature_layer: str = setting(
        "last", "Layer whose pooled output the classifier gets: `last`, a block's last layer, or `auto`, the best one."
    )
    model_random_baseline: bool = setting(
        False, "Also train the classifier on a backbone with random weights, for comparison."
    )
    model_dense_units: int = setting(
        256, "Width of the new ReLU layer; 0 leaves it out.", unit="units", low=0, high=8192
    )
    model_dropout: float = setting(0.5, "Dropout before the sigmoid layer.", low=0.0, high=0.95)
    model_l2: float = setting(1e-4, "L2 penalty on the new layers' kernels.", low=0.0, high=1.0)
    train_feature_epochs: int = setting(30, "Most epochs of feature extraction.", unit="epochs", low=1, high=10_000)
    train_feature_learning_rate: float = setting(1e-3, "Learning rate of feature extraction.", low=1e-8, high=1.0)


@dataclasses.dataclass(frozen=True)
class FineTune(Training):
    """Strategy 2: training on from the cut-off layer with real-time augmentation."""

    train_fine_tune_epochs: int = setting(10, "Most epochs of fine-tuning.", unit="epochs", low=1, high=10_000)
    train_fine_tune_learning_rate: float = setting(1e-4, "Learning rate of fine-tuning.", low=1e-8, high=1.0)
    train_augmentation: str = setting(
        "auto",
        "`online` augments anew each epoch; `cached` runs the frozen layers once a view; `auto` caches where it fits.",
        choices=("auto", "cached", "online"),
    )
    train_views: int = setting(
        4, "Augmented views of each picture that `cached` keeps; epochs take turns.", unit="views", low=1, high=1000
    )


@dataclasses.dataclass(frozen=True)
class Evaluate(Seeded):
    """How sure the figures are."""

    evaluate_bootstrap_samples: int = setting(
        1000, "Resamplings of patients behind each 95 % interval.", unit="resamplings", low=100, high=100_000
    )


@dataclasses.dataclass(frozen=True)
class Publish(Settings):
    """Where the versioned model goes."""

    publish_registry: str = setting("", "Folder or gs:// prefix of the model registry.", required=True)
    publish_model_name: str = setting("chest-radiograph", "Name of the model, a folder of the registry.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", self.publish_model_name):
            raise ValueError(
                "publish_model_name must be 1 to 63 of A-Z a-z 0-9 _ - and begin with a letter, "
                f"got {self.publish_model_name!r}"
            )


STAGES: tuple[type[Settings], ...] = (Ingest, Preprocess, ExtractFeatures, FineTune, Evaluate, Publish)


def run_form() -> dict[str, dataclasses.Field[object]]:
    """All settings by name in alphabetical order, as the KFP run form lists them."""
    fields = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
    return dict(sorted(fields.items()))
