"""Parsing and validation of the settings `gate_min_auroc` and `gate_external`."""

from __future__ import annotations

import pytest

from radiograft.config import Evaluate, Ingest, Publish
from radiograft.config.evaluation import MinimumAuroc, parse_min_auroc

LABELS = ("Pneumonia", "Mass", "Edema")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.7", MinimumAuroc({"Pneumonia": 0.7, "Mass": 0.7, "Edema": 0.7}, named=False)),
        (" 0 ", MinimumAuroc({"Pneumonia": 0.0, "Mass": 0.0, "Edema": 0.0}, named=False)),
        ("Mass=0.7", MinimumAuroc({"Mass": 0.7}, named=True)),
        ("mean=0.8", MinimumAuroc({}, named=True, mean=0.8)),
        ("Mass=0.7,mean=0.8", MinimumAuroc({"Mass": 0.7}, named=True, mean=0.8)),
        ("Mass=0.7, Pneumonia = 0.85", MinimumAuroc({"Mass": 0.7, "Pneumonia": 0.85}, named=True)),
    ],
)
def test_parse_min_auroc_number_or_labels_returns_minimums(text: str, expected: MinimumAuroc) -> None:
    assert parse_min_auroc(text, LABELS) == expected


def test_parse_min_auroc_label_named_mean_is_a_label() -> None:
    assert parse_min_auroc("mean=0.8", ["mean", "Mass"]) == MinimumAuroc({"mean": 0.8}, named=True)


INVALID = [
    ("high", "gate_min_auroc must be of type float, got 'high'"),
    ("", "gate_min_auroc must be of type float, got ''"),
    ("0,7", "gate_min_auroc must be of type float, got '0,7'"),
    ("70", "gate_min_auroc must be at least 0 and below 1, got 70"),
    ("1", "gate_min_auroc must be at least 0 and below 1, got 1"),
    ("-0.1", "gate_min_auroc must be at least 0 and below 1, got -0.1"),
    ("nan", "gate_min_auroc must be at least 0 and below 1, got nan"),
    ("Mass=high", "gate_min_auroc's Mass must be of type float, got 'high'"),
    ("mean=1.5", "gate_min_auroc's mean must be at least 0 and below 1, got 1.5"),
    ("Mass=1.5", "gate_min_auroc's Mass must be at least 0 and below 1, got 1.5"),
    ("Mas=0.7", "gate_min_auroc must name labels from Pneumonia, Mass, Edema, got 'Mas'; did you mean 'Mass'?"),
    (
        "Mass=0.7,0.6",
        "gate_min_auroc must be a number, or name each label once as label=number,..., got 'Mass=0.7,0.6'",
    ),
    (
        "Mass=0.7,Mass=0.6",
        "gate_min_auroc must be a number, or name each label once as label=number,..., got 'Mass=0.7,Mass=0.6'",
    ),
]


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_ingest_invalid_min_auroc_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        Ingest(data_source="/data", data_labels="Pneumonia,Mass,Edema", gate_min_auroc=text)
    assert str(error.value) == message


def test_floors_default_is_chance_level() -> None:
    assert Evaluate(publish_registry="/registry").floors(LABELS) == MinimumAuroc(
        dict.fromkeys(LABELS, 0.5), named=False
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), ("covid=0.7", {"covid": 0.7}), ("covid=0.7, nih=0.65", {"covid": 0.7, "nih": 0.65})],
)
def test_gate_external_valid_text_gives_minimum_by_set(text: str, expected: dict[str, float]) -> None:
    assert Publish(publish_registry="/r", gate_external=text).external_minimums() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("covid", "gate_external must name each external set once as set=minimum,..., got 'covid'"),
        ("covid=0.7,covid=0.6", "gate_external must name each external set once"),
        ("covid=high", "gate_external's covid must be of type float, got 'high'"),
        ("covid=1", "gate_external's covid must be at least 0 and below 1, got 1"),
        ("a/b=0.7", "gate_external must be 1 to 63 characters from A-Z a-z 0-9 _ - .*got 'a/b'"),
    ],
)
def test_gate_external_invalid_text_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Publish(publish_registry="/r", gate_external=text)
