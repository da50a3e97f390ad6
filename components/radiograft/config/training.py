"""Settings of the network and of the two training strategies."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from radiograft.backbones import get_backbone, list_backbones
from radiograft.backbones.packages import PACKAGES
from radiograft.backbones.spec import NORMALIZATIONS
from radiograft.config.base import Scalar, SeedSettings, Settings, check_uri, parse_columns, setting
from radiograft.utils.quoting import parse_names

FRONTAL, FRONTAL_LATERAL = "frontal", "frontal_lateral"
AUTO_CUT_OFF = "auto"  # fine-tunes from each of the last blocks and keeps the best
DEFAULT_BACKBONE = "densenet121"
AUTO_NORMALIZATION = "auto"  # the normalization of the file's origin
# Suffixes of weight files. They reject misspelled names early; the format is read from the content.
WEIGHT_FILES = (".bin", ".ckpt", ".h5", ".hdf5", ".keras", ".npz", ".pkl", ".pt", ".pth", ".safetensors", ".tar")
NAMED_WEIGHTS = ("imagenet", "none", *PACKAGES)  # values of `model_weights` that are not files
FROZEN_BATCH_NORM, TRAINED_BATCH_NORM = "frozen", "train"  # values of `train_batch_norm`
AUTO_MONITOR, LOSS_MONITOR = "auto", "loss"  # values of `train_monitor`
AUTO_LAYER, LAST_LAYER, ALL_LAYERS = "auto", "last", "all"  # values of model_feature_layer
AVERAGE, MAX, LSE, LSE_LBA, NOISY_OR, CSRA = "average", "max", "lse", "lse_lba", "noisy_or", "csra"
SELF_TRANSFER = "self_transfer"
POOLINGS = (AVERAGE, MAX, LSE, LSE_LBA, NOISY_OR, CSRA, SELF_TRANSFER)  # values of model_pooling
GLOBAL, ATTENTION_GUIDED = "global", "attention_guided"  # values of model_branches
NO_REDUCTION, REDUCTIONS = "none", ("pca", "pls", "lda")  # values of model_feature_reduction

RECIPES: dict[str, dict[str, Scalar]] = {
    "poster": {},
    "chexnet": {"schedule": "plateau", "loss_weights": "balanced"},
}


def split_cut_offs(text: str) -> list[str]:
    """Splits `model_cut_off` into layer names, without checking that these layers exist.

    Raises:
        ValueError: a name is empty or occurs twice.

    Example:
        >>> split_cut_offs("block6a_expand_conv, top_conv")
        ['block6a_expand_conv', 'top_conv']
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"model_cut_off must name each layer once, got {text!r}")
    return names


def split_feature_layers(text: str) -> list[str]:
    """Splits `model_feature_layer` into layer names, without checking that these layers exist.

    Raises:
        ValueError: a name is empty or occurs twice, or a keyword is combined with other names.

    Example:
        >>> split_feature_layers("fire5, fire9")
        ['fire5', 'fire9']
    """
    names = [name.strip() for name in text.split(",")]
    keywords = {AUTO_LAYER, LAST_LAYER, ALL_LAYERS}.intersection(names)
    if not all(names) or len(set(names)) < len(names) or (keywords and len(names) > 1):
        raise ValueError(
            f"model_feature_layer must be `auto`, `last`, `all` or blocks' last layers, each named once, got {text!r}"
        )
    return names


class MapPooling(NamedTuple):
    """How a head pools the positions of the last activation.

    Attributes:
        kind: one of POOLINGS.
        sharpness: r of `lse`, and its lower bound for `lse_lba`.
        attention: weight of the attention of `csra`.
        localization: weight of the localization head's loss of `self_transfer`.
    """

    kind: str
    sharpness: float = 1.0
    attention: float = 0.0
    localization: float = 0.5


@dataclasses.dataclass(frozen=True)
class Training(SeedSettings):
    """Settings of both training strategies."""

    train_batch_size: int = setting(32, "Global batch size, over all GPUs.", unit="images", low=1, high=4096)
    train_optimizer: str = setting("adam", "Optimizer of both strategies.", choices=("adam", "adamw", "rmsprop", "sgd"))
    train_recipe: str = setting(
        "poster",
        "`poster` (constant learning rate), `chexnet`, or any of schedule, warm_up, layer_decay, ema, clip_norm, "
        "label_smoothing, loss_weights: schedule=cosine,warm_up=0.1",
    )
    train_patience: int = setting(
        5, "Epochs without a better `train_monitor` after which training stops.", unit="epochs", low=1, high=1000
    )
    train_precision: str = setting(
        "auto",
        "Precision; `auto` is mixed precision if all GPUs support it, else float32.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    model_cut_off: str = setting(
        get_backbone(DEFAULT_BACKBONE).default_cut_off,
        "First layer that fine-tuning trains; of several separated by commas, or with `auto`, the best is kept.",
    )

    compare_backbones: str = setting(
        "", "Backbones that the pipeline backbone_comparison trains, separated by commas; empty otherwise.", names=True
    )
    train_monitor: str = setting(
        AUTO_MONITOR,
        "Validation metric by which the epoch is kept: `auto`, the mean AUROC, or `loss`, the training loss. Searches "
        "compare their candidates by `auto` either way.",
        choices=(AUTO_MONITOR, LOSS_MONITOR),
    )
    train_members: int = setting(
        1,
        "Number of best epochs whose weights are averaged into one network, if the mean of some of them validates "
        "better than the best epoch alone; 1 averages none.",
        unit="epochs",
        low=1,
        high=50,
    )
    train_distillation_epochs: int = setting(
        0,
        "Epochs in which the network is then trained on the mean predictions of the best `train_members` epochs, an "
        "ensemble that is distilled into one network; the result is kept if it validates better. 0 distills nothing.",
        unit="epochs",
        low=0,
        high=1000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backbones_to_compare()
        self.recipe()
        split_cut_offs(self.model_cut_off)

    def backbones_to_compare(self) -> tuple[str, ...]:
        """Returns the names in `compare_backbones`.

        Raises:
            ValueError: there is a single name, or a name is unknown or given twice.
        """
        names = parse_names(self.compare_backbones) if self.compare_backbones else ()
        for name in names:
            get_backbone(name)
        if len(names) == 1 or len(set(names)) < len(names):
            raise ValueError(
                f"compare_backbones must name at least two backbones, each once, got {self.compare_backbones!r}"
            )
        return names

    def recipe(self) -> Recipe:
        """Returns the parsed `train_recipe`."""
        return Recipe.parse("train_recipe", self.train_recipe, RECIPES)


@dataclasses.dataclass(frozen=True)
class ExtractFeatures(Training):
    """Settings of strategy 1: a new classifier on the features of the frozen backbone."""

    model_backbone: str = setting(DEFAULT_BACKBONE, "Pretrained network.", choices=list_backbones())
    model_weights: str = setting(
        "imagenet", "`imagenet`, `none`, a weight file's path or URI, or an installed package."
    )
    model_weights_md5: str = setting("", "Expected MD5 of a weight file; not checked if empty.")
    model_normalization: str = setting(
        AUTO_NORMALIZATION,
        "What the weights expect of the input; `auto` is that of the file's origin.",
        choices=(AUTO_NORMALIZATION, *NORMALIZATIONS),
    )
    model_feature_layer: str = setting(
        "last",
        "Layers whose pooled outputs the classifier reads: `last`, `all`, blocks' last layers separated by commas, or "
        "`auto`, the best from which the cut-off can be fine-tuned.",
    )
    model_feature_reduction: str = setting(
        "none",
        "Reductions of each layer's features that the cut-off curve compares: `none`, or any of pca, pls and lda, "
        "separated by commas.",
    )
    model_random_baseline: bool = setting(
        False, "Also train the classifier on a backbone with random weights, for comparison."
    )
    model_dense_units: int = setting(256, "Width of the new ReLU layer; 0 omits it.", unit="units", low=0, high=8192)
    model_dropout: float = setting(0.5, "Dropout rate before the last layer.", low=0.0, high=0.95)
    model_l2: float = setting(1e-4, "L2 penalty on the kernels of the new layers.", low=0.0, high=1.0)
    train_feature_epochs: int = setting(
        30, "Maximum number of epochs of feature extraction.", unit="epochs", low=1, high=10_000
    )
    train_feature_learning_rate: float = setting(1e-3, "Learning rate of feature extraction.", low=1e-8, high=1.0)
    model_patient_data: str = setting(
        "",
        "Patient data that the classifier reads beside the image: any of age, sex, view and data_covariates, separated "
        "by commas. A missing value is a flag.",
        names=True,
    )
    model_views: str = setting(
        FRONTAL,
        "Which images of a study the network reads: the frontal one, or frontal and lateral, each with a backbone of "
        "its own. `frontal_lateral` needs data_unit=study.",
        choices=(FRONTAL, FRONTAL_LATERAL),
    )
    model_patient_dropout: float = setting(
        0.1, "Probability with which training makes each value of model_patient_data missing.", low=0.0, high=0.95
    )
    model_pooling: str = setting(
        AVERAGE,
        "How the classifier pools positions: `average` pools features; the others pool a class map, which localizes: "
        "its maximum (`max`), log-sum-exp (`lse`), the same with a learned r for each label (`lse_lba`), `noisy_or`, "
        "or residual attention (`csra`). `self_transfer` trains a head on pooled features and one on a class map.",
        choices=POOLINGS,
    )
    # EfficientNet-Lite0, frozen, 519 radiographs: validation AUROC 0.83 after 3 epochs with 1, 0.79 after 12 with 10.
    model_pooling_sharpness: float = setting(
        1.0,
        "r of `lse`, and its lower bound for `lse_lba`: small values are near the mean of the class map, large ones "
        "near its maximum. Wang et al. (2017) trained whole networks with 10.",
        low=0.001,
        high=1000.0,
    )
    model_pooling_attention: float = setting(
        0.1, "Weight of the attention of `csra`, relative to the mean of the class map.", low=0.0, high=10.0
    )
    model_pooling_localization: float = setting(
        0.5,
        "Weight a of `self_transfer`: the loss is 1 - a times that of the head on pooled features plus a times that of "
        "the head on the class map.",
        low=0.0,
        high=1.0,
    )
    train_box_weight: float = setting(
        0.0,
        "Weight of the loss inside and outside annotated boxes at the positions of the class map, in feature "
        "extraction; 0 learns from labels alone. See `data_box_training_fraction`.",
        low=0.0,
        high=100.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_weights()
        split_feature_layers(self.model_feature_layer)
        self.feature_reductions()
        self.patient_data()
        self._check_cut_off()

    def patient_data(self) -> tuple[str, ...]:
        """Returns the names in `model_patient_data`.

        Raises:
            ValueError: a name is empty or given twice.

        Example:
            >>> ExtractFeatures(model_patient_data="age, sex").patient_data()
            ('age', 'sex')
        """
        return parse_columns("model_patient_data", self.model_patient_data)

    def pooling(self) -> MapPooling:
        """Returns how the classifier pools positions."""
        weights = self.model_pooling_sharpness, self.model_pooling_attention, self.model_pooling_localization
        return MapPooling(self.model_pooling, *weights)

    def feature_reductions(self) -> list[str]:
        """Returns the parsed `model_feature_reduction`.

        Example:
            >>> ExtractFeatures(model_feature_reduction="pls, pca").feature_reductions()
            ['pls', 'pca']
        """
        text = self.model_feature_reduction
        names = [] if text == NO_REDUCTION else [name.strip() for name in text.split(",")]
        if not set(names) <= set(REDUCTIONS) or len(set(names)) < len(names):
            raise ValueError(
                f"model_feature_reduction must be `{NO_REDUCTION}` or any of {', '.join(REDUCTIONS)}, each named once, "
                f"got {text!r}"
            )
        return names

    def _check_cut_off(self) -> None:
        """Rejects the default cut-off of another backbone, which remains if only the backbone is changed in the UI."""
        backbone, names = get_backbone(self.model_backbone), split_cut_offs(self.model_cut_off)
        for other in (get_backbone(name) for name in list_backbones() if name != backbone.name):
            if other.default_cut_off in names and other.default_cut_off not in backbone.cut_offs:
                raise ValueError(
                    f"model_cut_off must be a layer of {backbone.name}, such as {backbone.default_cut_off}, "
                    f"got {other.default_cut_off!r} of {other.name}"
                )

    def _check_weights(self) -> None:
        if self.model_weights not in NAMED_WEIGHTS:
            check_uri("model_weights", self.model_weights)
            if not self.model_weights.endswith(WEIGHT_FILES):
                raise ValueError(
                    f"model_weights must be {', '.join(NAMED_WEIGHTS)}, or a file whose name ends in "
                    f"{', '.join(WEIGHT_FILES)}; a SavedModel cannot be cut at a layer; got {self.model_weights!r}"
                )
        if not re.fullmatch(r"([0-9A-Fa-f]{32})?", self.model_weights_md5):
            raise ValueError(f"model_weights_md5 must be 32 hexadecimal digits, got {self.model_weights_md5!r}")


@dataclasses.dataclass(frozen=True)
class FineTune(Training):
    """Settings of strategy 2: fine-tuning from the cut-off layer with real-time augmentation."""

    train_fine_tune_epochs: int = setting(
        10, "Maximum number of epochs of fine-tuning.", unit="epochs", low=1, high=10_000
    )
    train_fine_tune_learning_rate: float = setting(1e-4, "Learning rate of fine-tuning.", low=1e-8, high=1.0)
    train_augmentation: str = setting(
        "auto",
        "`online` augments in each epoch; `cached` runs the frozen layers once per view; `auto` caches if that fits.",
        choices=("auto", "cached", "online"),
    )
    train_cached_augmentations: int = setting(
        4,
        "Augmented views of each image that `cached` stores; epochs alternate between them.",
        unit="views",
        low=1,
        high=1000,
    )
    train_batch_norm: str = setting(
        FROZEN_BATCH_NORM,
        "BatchNormalization behind the cut-off: `frozen` keeps weights and statistics of pretraining, `train` trains "
        "both, with the statistics of the whole batch over all GPUs.",
        choices=(FROZEN_BATCH_NORM, TRAINED_BATCH_NORM),
    )
    model_ood_percentile: float = setting(
        0.0,
        "Adds an out-of-distribution flag to the served answer: images whose features are farther from those of "
        "training than this percentile of the validation images, such as 99; 0 adds none.",
        low=0.0,
        high=100.0,
    )
    model_branches: str = setting(
        GLOBAL,
        "`global`: one network that reads the whole image. `attention_guided`: a second network reads the region that "
        "the first one responds to most, cut from the image of image_crop_size, and a classifier reads both.",
        choices=(GLOBAL, ATTENTION_GUIDED),
    )
    train_crop_control: bool = setting(
        True,
        "For attention_guided, also train on random crops of the same size, for comparison; this doubles the time of "
        "the second network.",
    )


@dataclasses.dataclass(frozen=True)
class Recipe(Settings):
    """Options of the setting `train_recipe`. The defaults train at a constant rate, as in the poster."""

    schedule: str = setting(
        "constant", "Learning rate schedule after warm-up.", choices=("constant", "cosine", "plateau")
    )
    warm_up: float = setting(
        0.0, "Fraction of all steps in which the learning rate rises linearly from zero.", low=0.0, high=0.5
    )
    layer_decay: float = setting(
        1.0,
        "Layer-wise learning rate decay: factor from each trainable layer to the one before it; 1 for the classifier.",
        low=0.1,
        high=1.0,
    )
    ema: float = setting(
        0.0,
        "Momentum of the exponential moving average of the weights, which is evaluated and saved; 0 disables it.",
        low=0.0,
        high=0.99999,
    )
    clip_norm: float = setting(0.0, "Maximum global norm of the gradients; 0 disables clipping.", low=0.0, high=1000.0)
    label_smoothing: float = setting(0.0, "Label smoothing factor.", low=0.0, high=0.5)
    loss_weights: str = setting(
        "none",
        "`balanced` weights positives and negatives of each label equally, or all exclusive classes.",
        choices=("none", "balanced"),
    )
