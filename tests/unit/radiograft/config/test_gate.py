"""Parsing and validation of the setting `gate_min_auroc`."""

from __future__ import annotations

import pytest

from radiograft.config import Evaluate, Ingest
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
