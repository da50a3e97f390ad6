"""The KFP run form: the fields of every pipeline, and the description that explains them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from radiograft.config import all_settings
from radiograft.config.resolution import FORM_SETTINGS, PRESETS_FOLDER

NAME = re.compile(r"[\w.=]*\w_\w[\w.=]*(?:,[\w.]+=[\w.]+)*(?<!\.)")  # also name_a=1,name_b=2
FIELDS = ("settings", "overrides", *FORM_SETTINGS)


# Settings that refine another one. The description of the pipelines has no room for them.
REFINEMENTS = {
    "data_box_training_fraction", "data_covariates_insist", "data_negatives", "data_phantom_patients", "data_readers",
    "data_table_file", "evaluate_bootstrap_samples", "evaluate_masks", "evaluate_min_patients",
    "evaluate_ordered_classes", "gate_min_r2", "image_crop_size", "image_reduced_jpeg", "image_super_resolution",
    "model_feature_reduction", "model_generator_blocks", "model_generator_filters", "model_normalization",
    "model_patient_dropout", "model_pooling_attention", "model_pooling_localization", "model_pooling_sharpness",
    "model_scale", "model_weights_md5", "search_finalists", "search_folds", "search_pruner", "search_seeds",
    "search_strategy", "train_adversarial_steps", "train_adversarial_weight", "train_box_weight",
    "train_cached_augmentations", "train_crop_control", "train_distillation_epochs", "train_feature_weight",
    "train_frozen_engine", "train_generator_crop", "train_generator_ema", "train_generator_learning_rate",
    "train_members", "train_monitor", "train_pixel_steps",
}  # fmt: skip


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PRESETS = _code(sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml")))
FIELD_HELP = {
    "settings": f"A preset ({PRESETS}), or the URI of a YAML file of settings.",
    "overrides": "Any other settings as `name=value`, separated by commas or lines.",
    "data_format": f"Layout of the dataset. One of {_code(all_settings()['data_format'].metadata['choices'])}.",
    "data_labels": "Labels separated by commas, or `all` for the 14 of ChestX-ray14.",
}
SEARCH = "Search"  # of hyperparameters
GROUPS = {  # title and prefixes
    "Data": ("data",),
    "Images": ("image", "preprocess"),
    "Model": ("model", "compare"),
    "Training": ("train",),
    "Evaluation": ("evaluate",),
    "Promotion and registry": ("gate", "publish"),
    SEARCH: ("search",),
}


def pipeline_with_form(pipeline: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Gives a pipeline function, which takes all fields by name, one text parameter a field.

    KFP reads the new signature and shows the parameters in its run form. Each is empty by default.
    """

    def with_fields(*values: Any) -> None:
        pipeline(dict(zip(FIELDS, values, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, default="", annotation=str) for name in FIELDS]
    with_fields.__name__ = pipeline.__name__
    with_fields.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_fields


def describe_pipeline(summary: str, *, searches: bool = False) -> str:
    """Returns a pipeline's description: its summary, the names of most other settings by group, and the form's fields.

    KFP shows the description as Markdown, headings in the size of the text, in a card that grows upward from the
    bottom of the page and does not scroll. The description is therefore short, and the fields come last. Only a
    pipeline that searches hyperparameters shows the settings of the search.
    """
    names = [name for name in all_settings() if name not in {*FORM_SETTINGS, *REFINEMENTS}]
    groups = {
        title: [name for name in names if name.partition("_")[0] in prefixes]
        for title, prefixes in GROUPS.items()
        if searches or title != SEARCH
    }
    return "\n".join(
        [
            f"{summary} Research only, not for diagnosis.",
            "\n## **Other settings**\n",
            "Names for `overrides` and settings files; `radiograft settings` explains these and the rest.\n",
            *(f"- {title}: {_code(members)}" for title, members in groups.items() if members),
            "\n## **Run form**\n",
            "An empty field takes its value from the settings.\n",
            *map(_describe_field, FIELDS),
        ]
    )


def _describe_field(name: str) -> str:
    text = FIELD_HELP.get(name) or explain_setting(all_settings()[name])
    return f"- `{name}`: {mark_names(text)}"


def mark_names(text: str) -> str:
    """Puts backticks around names with an underscore, which Markdown would take for emphasis.

    Example:
        >>> mark_names("see data_table or `data_source`")
        'see `data_table` or `data_source`'
    """
    parts = text.split("`")  # every second part stands in backticks already
    parts[::2] = [NAME.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def explain_setting(field: Any) -> str:
    """Returns the help of a setting with its choices, or with its range and unit."""
    meta = field.metadata
    if meta["choices"]:
        return f"{meta['help']} One of {_code(meta['choices'])}."
    if meta["low"] is None or meta["high"] is None:
        return str(meta["help"])
    return f"{meta['help']} From {meta['low']:.10g} to {meta['high']:.10g} {meta['unit']}".rstrip() + "."
