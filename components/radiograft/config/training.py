"""Settings of training, and of fine-tuning."""

from __future__ import annotations

import dataclasses

from radiograft.backbones import get_backbone
from radiograft.config.base import Scalar, SeedSettings, Settings, setting
from radiograft.utils.quoting import parse_names

AUTO_CUT_OFF = "auto"  # fine-tunes from each of the last blocks and keeps the best
DEFAULT_BACKBONE = "densenet121"
FROZEN_BATCH_NORM, TRAINED_BATCH_NORM = "frozen", "train"  # values of `train_batch_norm`
AUTO_MONITOR, LOSS_MONITOR = "auto", "loss"  # values of `train_monitor`
AUTO_ENGINE, TENSORFLOW = "auto", "tensorflow"  # values of `train_frozen_engine`
TENSORFLOW_BFLOAT16, OPENVINO, OPENVINO_BFLOAT16 = "tensorflow_bfloat16", "openvino", "openvino_bfloat16"
FROZEN_ENGINES = (AUTO_ENGINE, TENSORFLOW, TENSORFLOW_BFLOAT16, OPENVINO, OPENVINO_BFLOAT16)
GLOBAL, ATTENTION_GUIDED = "global", "attention_guided"  # values of model_branches

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
    train_frozen_engine: str = setting(
        AUTO_ENGINE,
        "What runs the frozen layers on a CPU. `auto` measures what is installed and takes the fastest whose features "
        "agree with TensorFlow's; on GPUs and for fewer than 4,096 images it is TensorFlow.",
        choices=FROZEN_ENGINES,
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
        is_mixed = self.train_precision not in ("auto", "float32")
        if is_mixed and self.train_frozen_engine not in (AUTO_ENGINE, TENSORFLOW):
            raise ValueError(
                f"train_frozen_engine={self.train_frozen_engine} needs train_precision=float32 or auto, got "
                f"{self.train_precision}: change one of them"
            )
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
class FineTune(Training):
    """Settings of strategy 2: fine-tuning from the cut-off layer with real-time augmentation."""

    train_fine_tune_epochs: int = setting(
        10, "Maximum number of epochs of fine-tuning.", unit="epochs", low=1, high=10_000
    )
    train_fine_tune_learning_rate: float = setting(1e-4, "Learning rate of fine-tuning.", low=1e-8, high=1.0)
    train_augmentation: str = setting(
        "auto",
        "`online` augments in each epoch; `cached` runs the frozen layers once per copy; `auto` caches if that fits.",
        choices=("auto", "cached", "online"),
    )
    train_cached_augmentations: int = setting(
        4,
        "Augmented copies of each image that `cached` stores; epochs alternate between them.",
        unit="copies",
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
