"""Resolves the settings of a run from its form, shows them, and hands each stage its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Preprocess, Publish, SuperResolution, all_settings
from radiograft.config.base import Scalar, Settings
from radiograft.config.resolution import resolve_form

STAGE_SETTINGS: dict[str, type[Settings]] = {
    "preprocess_settings": Preprocess,
    "extract_features_settings": ExtractFeatures,
    "fine_tune_settings": FineTune,
    "evaluate_settings": Evaluate,
    "publish_settings": Publish,
    "super_resolution_settings": SuperResolution,
}
SEARCH_SETTINGS = "search_settings"  # of all stages, since the trials of a search may differ in any of them
OUTPUTS = ("registry", SEARCH_SETTINGS, *STAGE_SETTINGS)


def resolve(form: Mapping[str, str], pipeline: str, page: Path) -> dict[str, Scalar]:
    """Resolves the settings of all stages and writes them as a Markdown page.

    Args:
        form: text by field of the run form; other keys are ignored.
        pipeline: one of PIPELINES.
        page: file to write.

    Raises:
        FileNotFoundError: the settings file does not exist.
        ValueError, TypeError: a setting is unknown, invalid or given twice.
    """
    settings = resolve_form(form, pipeline)
    page.write_text(settings_page(settings), encoding="utf-8")
    return settings


def settings_page(settings: Mapping[str, Scalar]) -> str:
    """Returns a Markdown table of the settings, those that differ from their defaults in bold."""
    defaults = {name: field.default for name, field in all_settings().items()}
    rows = [f"| {_emphasize(name, value, defaults[name])} | `{value}` |" for name, value in sorted(settings.items())]
    note = "A setting in bold differs from its default."
    return "\n".join(["# Settings of this run", "", note, "", "| setting | value |", "|---|---|", *rows, ""])


def _emphasize(name: str, value: Scalar, default: object) -> str:
    return f"`{name}`" if value == default else f"**`{name}`**"


def write_stage_settings(settings: Mapping[str, Scalar], files: Mapping[str, str]) -> None:
    """Writes the settings of each later stage as one string, and the URI of the registry.

    Args:
        settings: settings of all stages.
        files: path by output name, some or all of OUTPUTS; other keys are ignored.
    """
    texts = {name: stage.of(settings).to_json() for name, stage in STAGE_SETTINGS.items()}
    texts |= {"registry": str(settings["publish_registry"]), SEARCH_SETTINGS: json.dumps(settings, sort_keys=True)}
    for name in files.keys() & texts.keys():
        path, text = Path(files[name]), texts[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
