"""Settings that hold names: any name can be given, in quotes or in a YAML list."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config import Evaluate, Ingest
from radiograft.config.data import TABLE_PRESETS
from radiograft.config.table_layout import TableLayout
from radiograft.utils.quoting import format_names, parse_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Mass, Edema", ("Mass", "Edema")),
        ('malignant,"normal, benign"', ("malignant", "normal, benign")),
        ("malignant, 'normal, benign'", ("malignant", "normal, benign")),
        ("[malignant, 'normal, benign']", ("malignant", "normal, benign")),
        ('["malignant", "normal, benign"]', ("malignant", "normal, benign")),
        ("Barrett's, Crohn's", ("Barrett's", "Crohn's")),
        ('"all"', ("all",)),
        ('\'it\'\'s\', "say ""ah"""', ("it's", 'say "ah"')),
        ("Nodule/Mass, COVID-19 (severe)", ("Nodule/Mass", "COVID-19 (severe)")),
    ],
)
def test_findings_reads_quotes_and_yaml_lists(text: str, names: tuple[str, ...]) -> None:
    assert Ingest(data_source="/data", data_labels=text).findings() == names


def test_findings_of_yaml_file_may_be_a_list() -> None:
    values = yaml.safe_load("data_source: /data\ndata_labels: [malignant, 'normal, benign', 3]")
    settings = Ingest.of(values)
    assert settings.data_labels == 'malignant,"normal, benign",3'
    assert settings.findings() == ("malignant", "normal, benign", "3")


@pytest.mark.parametrize(
    "text", ["", "Mass,,Edema", "[]", "Mass, mass", "Pleural_Thickening, pleural thickening", '""']
)
def test_findings_empty_or_repeated_raises(text: str) -> None:
    with pytest.raises(ValueError, match="data_labels must name each finding once"):
        Ingest(data_source="/data", data_labels=text).findings()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), min_size=1))
def test_parse_names_reads_what_format_names_writes(names: list[str]) -> None:
    assert parse_names(format_names(names)) == tuple(names)


def test_gate_min_auroc_names_may_be_quoted() -> None:
    minimum = Evaluate(publish_registry="/r", gate_min_auroc='"normal, benign"=0.8,malignant=0.7')
    assert minimum.floors(["malignant", "normal, benign"]).by_label == {"normal, benign": 0.8, "malignant": 0.7}


def test_data_table_values_may_be_quoted() -> None:
    layout = TableLayout.parse("data_table", 'label="Finding, Labels",separator=",",image=Path', TABLE_PRESETS)
    assert (layout.label, layout.separator, layout.image) == ("Finding, Labels", ",", "Path")
