"""Every pair of networks and settings: those that do not fit are refused before any image is read, all others resolve.

The stages accept what resolves; tests/integration runs the networks themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from radiograft.config.resolution import combine, fill_defaults

BASE = {
    "data_source": "/data", "publish_registry": "/registry", "publish_model_name": "model",
    "model_backbone": "efficientnet_lite0", "model_cut_off": "block7a_expand_conv",
}  # fmt: skip
SETTINGS = {
    "patient_data": {"model_patient_data": "age,sex,view"},
    "batch_norm": {"train_batch_norm": "train"},
    "searched_cut_off": {"model_cut_off": "auto"},
    "boxes": {"model_pooling": "lse", "train_box_weight": "1"},
    "random_baseline": {"model_random_baseline": "true"},
    "regression": {"data_task": "regression", "data_labels": "diameter", "data_format": "table"},
    "all_layers": {"model_feature_layer": "all"},
    "searched_layer": {"model_feature_layer": "auto"},
    "noisy_or": {"model_pooling": "noisy_or"},
    "self_transfer": {"model_pooling": "self_transfer"},
    "members": {"train_members": "3"},
    "distillation": {"train_members": "3", "train_distillation_epochs": "2"},
    "guided": {"model_branches": "attention_guided", "image_crop_size": "448"},
    "cached": {"train_augmentation": "cached"},
    "online": {"train_augmentation": "online"},
    "binary": {"data_task": "binary", "data_labels": "Mass"},
    "multiclass": {"data_task": "multiclass", "data_labels": "Mass,Nodule"},
    "pca": {"model_feature_reduction": "pca"},
    "lda": {"model_feature_reduction": "lda"},
    "flag": {"model_ood_percentile": "99"},
    "lateral": {"data_unit": "study", "model_views": "frontal_lateral", "data_format": "chexpert"},
}
# The setting that the message names first, and the pairs that it refuses.
REFUSED = {
    "model_patient_data": (
        ("patient_data", "boxes"),
        ("patient_data", "noisy_or"),
        ("patient_data", "self_transfer"),
        ("patient_data", "guided"),
    ),
    "train_batch_norm": (("batch_norm", "guided"),),
    "model_pooling": (
        ("boxes", "regression"),
        ("boxes", "guided"),
        ("regression", "noisy_or"),
        ("regression", "self_transfer"),
        ("noisy_or", "guided"),
        ("noisy_or", "multiclass"),
        ("self_transfer", "guided"),
    ),
    "model_feature_layer": (
        ("boxes", "all_layers"),
        ("boxes", "searched_layer"),
        ("all_layers", "noisy_or"),
        ("all_layers", "self_transfer"),
        ("all_layers", "guided"),
        ("searched_layer", "noisy_or"),
        ("searched_layer", "self_transfer"),
        ("searched_layer", "guided"),
    ),
    "train_distillation_epochs": (
        ("boxes", "distillation"),
        ("self_transfer", "distillation"),
    ),
    "train_box_weight": (("boxes", "multiclass"),),
    "model_views": (
        ("boxes", "lateral"),
        ("noisy_or", "lateral"),
        ("self_transfer", "lateral"),
        ("guided", "lateral"),
    ),
    "data_task": (("regression", "guided"),),
    "model_feature_reduction": (("regression", "lda"),),
    "train_augmentation": (("guided", "online"),),
}
BY_PAIR = {pair: name for name, pairs in REFUSED.items() for pair in pairs}


def compatible_pairs() -> Iterator[tuple[str, str]]:
    """Yields the pairs that do not give one setting two values."""
    for one, other in itertools.combinations(SETTINGS, 2):
        shared = SETTINGS[one].keys() & SETTINGS[other].keys()
        if all(SETTINGS[one][name] == SETTINGS[other][name] for name in shared):
            yield one, other


def resolve(*names: str) -> None:
    values = {name: value for each in names for name, value in SETTINGS[each].items()}
    fill_defaults(combine("transfer_learning", BASE, [f"{name}={value}" for name, value in values.items()]))


@pytest.mark.parametrize("name", SETTINGS)
def test_fill_defaults_each_alone_resolves(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize(("one", "other"), list(compatible_pairs()))
def test_fill_defaults_pair_resolves_or_names_the_setting(one: str, other: str) -> None:
    if name := BY_PAIR.get((one, other)):
        with pytest.raises(ValueError, match=rf"^{name} must (not )?be .*(: |because )"):
            resolve(one, other)
    else:
        resolve(one, other)
