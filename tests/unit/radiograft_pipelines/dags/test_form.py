"""The run form of the committed packages: few fields, all empty, explained in the description."""

from __future__ import annotations

import re

import pytest

from radiograft.config import all_settings
from radiograft_pipelines.dags.form import REFINEMENTS, mark_names
from tests.helpers.packages import PACKAGES, pipeline

every_package = pytest.mark.parametrize("package", PACKAGES)
FIELDS = [
    "settings", "overrides", "data_source", "data_format", "data_labels", "publish_registry", "publish_model_name",
    "model_backbone", "model_weights", "model_cut_off", "image_size", "train_fine_tune_epochs", "train_batch_size",
    "train_seed",
]  # fmt: skip


@every_package
def test_form_has_few_empty_text_fields(package: str) -> None:
    parameters = pipeline(package)["root"]["inputDefinitions"]["parameters"]
    assert parameters == {
        name: {"defaultValue": "", "isOptional": True, "parameterType": "STRING"} for name in sorted(FIELDS)
    }


@every_package
def test_description_names_other_settings_by_group_then_explains_fields(package: str) -> None:
    summary, *lines = pipeline(package)["pipelineInfo"]["description"].splitlines()
    assert summary.endswith("Research only, not for diagnosis.")
    start = lines.index("## **Run form**")
    groups, fields = ([line for line in part if line.startswith("- ")] for part in (lines[:start], lines[start:]))
    assert [line.split("`")[1] for line in fields] == FIELDS
    others = [name for line in groups for name in line.split("`")[1::2]]
    missing = {*all_settings()} - {*others, *FIELDS}
    searches = package == "hyperparameter_search"
    assert missing == REFINEMENTS | {name for name in all_settings() if name.startswith("search_") and not searches}
    assert [line.partition(":")[0] for line in groups] == [
        "- Data", "- Images", "- Model", "- Training", "- Evaluation", "- Promotion and registry",
        *(["- Search"] if searches else []),
    ]  # fmt: skip
    assert (
        "- Promotion and registry: `gate_external`, `gate_min_auroc`, `gate_noninferiority_margin`, "
        "`publish_model_registry`" in groups
    )
    assert "- `image_size`: Width and height of the images that the network sees. From 32 to 1024 pixels." in fields
    assert any(line.startswith("- `model_backbone`: Pretrained network. One of `alexnet`, ") for line in fields)


@every_package
def test_description_has_underscores_only_in_code(package: str) -> None:
    """Markdown would take the others for emphasis."""
    description = pipeline(package)["pipelineInfo"]["description"]
    assert "_" not in re.sub("`[^`]*`", "", description)
    assert description.count("`") % 2 == 0


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("see data_table.", "see `data_table`."),
        ("`data_table` or data_source", "`data_table` or `data_source`"),
        ("such as near_duplicate=drop,blank=fail; the rest", "such as `near_duplicate=drop,blank=fail`; the rest"),
        ("rotation_range=10,zoom_range=0.1", "`rotation_range=10,zoom_range=0.1`"),
        ("a range low:high, and gs:// or s3://", "a range low:high, and gs:// or s3://"),
    ],
)
def test_mark_names_puts_names_in_backticks(text: str, marked: str) -> None:
    assert mark_names(text) == marked
