"""Which view spellings are frontal, lateral or neither."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.imaging.views import projection

FRONTAL = (
    "PA", "AP", "ap", " Pa ", "AP Supine", "AP semi erect", "AP_horizontal", "A.P.", "PA/AP", "Frontal", "FRONTAL VIEW",
    "POSTEROANTERIOR", "antero-posterior", "postero anterior", "PA erect", "portable AP", "R-10206", "272479007",
    "399348003", "Thorax PA", "lungs, ap", "A-P", "P A", "chest P-A",
)  # fmt: skip
LATERAL = (
    "L", "LL", "RL", "LAT", "LATERAL", "Lateral view", "left lateral", "LATERAL-LEFT", "XTABLE LATERAL", "R-10236",
    "399067008",
)  # fmt: skip
NEITHER = (
    "RAO", "LAO", "LPO", "LLO", "Axial", "Coronal", "SWIMMERS", "COSTAL", "AP LLD", "PA RLD", "LLD", "AP AXIAL",
    "lordotic", "R", "supine", "PA and lateral", "left", "PAUL", "EXCLUDE", "left anterior oblique", "chest",
    "399182000", "AP LATERAL",
)  # fmt: skip


@pytest.mark.parametrize(
    ("view", "expected"),
    [*((v, "frontal") for v in FRONTAL), *((v, "lateral") for v in LATERAL), *((v, "") for v in NEITHER)],
)
def test_projection_by_spelling(view: str, expected: str) -> None:
    assert projection(view) == expected


@given(
    st.sampled_from([*FRONTAL, *LATERAL, *NEITHER]),
    st.sampled_from([str.upper, str.lower, str.title, str.swapcase]),
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    st.sampled_from(["", " ", "\t", "\u00a0"]),
)
def test_projection_ignores_case_unicode_form_and_space(view: str, case, form, space: str) -> None:  # type: ignore[no-untyped-def]
    rewritten = unicodedata.normalize(form, space + case(view) + space)  # type: ignore[arg-type]
    assert projection(rewritten) == projection(view)
