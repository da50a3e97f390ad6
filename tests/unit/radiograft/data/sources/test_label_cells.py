"""Label cells: however a table is written, the labels are the same, and an unknown word is never a negative."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.table_layout import TableLayout
from radiograft.data.sources import label_cells
from radiograft.data.sources.table import parse_rows
from radiograft.utils.spelling import UNKNOWN_WORDS, fold_name

NAMES = ("Pneumonia", "Pleural Effusion", "No Finding", "Épanchement", "Maße", "normal, benign")
SEPARATORS = {"|": "|", "comma": ",", "semicolon": ";", "/": "/", "any": ";", "tab": "\t", "newline": "\n"}
CASES: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower, str.title)
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
LABELS = ("Pneumonia", "Épanchement", "normal, benign")


def read(cells: list[str], separator: str = "|") -> pd.DataFrame:
    return label_cells.findings_from_text(pd.Series(cells, dtype="string"), TableLayout(separator=separator), LABELS)


def values(findings: pd.DataFrame, label: str) -> list[float | None]:
    column = findings.get(label, pd.Series(0.0, findings.index))
    return [None if math.isnan(value) or value == label_cells.UNKNOWN else value for value in column]


@st.composite
def dialects(draw: st.DrawFn) -> tuple[list[list[str]], list[str], str]:
    """Lists of names, the same in cells of some dialect, and the separator."""
    lists = draw(
        st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True), min_size=1, max_size=5)
    )
    separator = draw(st.sampled_from(sorted(SEPARATORS)))
    style = draw(st.sampled_from(["plain", "quoted", "python", "json"]))

    def word(name: str) -> str:
        name = unicodedata.normalize(draw(st.sampled_from(FORMS)), draw(st.sampled_from(CASES))(name))  # type: ignore[arg-type]
        if style == "plain":
            return f'"{name}"' if "," in name else draw(st.sampled_from(["", " "])) + name
        return f'"{name}"' if style in ("quoted", "json") else f"'{name}'"

    def cell(names: list[str]) -> str:
        words = [word(name) for name in names]
        return f"[{', '.join(words)}]" if style in ("python", "json") else SEPARATORS[separator].join(words)

    return lists, [cell(names) for names in lists], separator


@settings(deadline=None, max_examples=200)
@given(dialects())
def test_findings_from_text_any_dialect_gives_same_labels(case: tuple[list[list[str]], list[str], str]) -> None:
    lists, cells, separator = case
    findings = read(cells, separator)
    for label in LABELS:
        assert values(findings, label) == [float(label in names) for names in lists]


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(UNKNOWN_WORDS - {""})),
    st.sampled_from(["", "Pneumonia", "Pleural Effusion", "No Finding"]),
    st.sampled_from(CASES),
    st.sampled_from(["{0}", " {0} ", "['{0}']", '"{0}"', "{1}|{0}", "{0} | {1}", "['{1}', '{0}']"]),
)
def test_findings_from_text_unknown_word_is_never_negative(
    word: str, other: str, case: Callable[[str], str], form: str
) -> None:
    findings = read([form.format(case(word), other), "Pneumonia", "No Finding"])
    assert values(findings, "Pneumonia")[0] == (1.0 if other == "Pneumonia" and "{1}" in form else None)


@pytest.mark.parametrize(
    "cell",
    ["inconclusive", "Not sure", "N.A.", "n.a.", "(null)", "<NA>", "\\N", "#VALUE!", "..", "??", "\u2013", "[?]", "()",
     "{}", "*", "not assessed", "Ungradable", "Unknown/Not Reported", "missing or unknown", "don\u2019t know",
     "None, None", "to be determined", "non-diagnostic", "no report", "blank", "N/D", "unbekannt", "desconocido", " - ",
     '"unknown"', "[nan]", "Unlabelled"],
)  # fmt: skip
@pytest.mark.parametrize("separator", ["|", "comma", "none"])
def test_findings_from_text_words_that_say_nothing_are_unknown(cell: str, separator: str) -> None:
    """Fails if an image of which nothing is known counts as a negative."""
    assert values(read([cell, "Pneumonia", "No Finding"], separator), "Pneumonia") == [None, 1.0, 0.0]
    assert label_cells.truth_value(cell, "ignore") == 0.5


@settings(deadline=None)
@given(st.permutations(["image", "patient", "Pneumonia", "male", "comment", "label"]))
def test_parse_rows_any_order_of_columns_gives_same_labels(order: list[str]) -> None:
    table = pd.DataFrame(
        {
            "image": ["1.png", "2.png", "3.png"], "patient": ["1", "2", "3"], "Pneumonia": ["yes", "nan", "0"],
            "male": ["1", "0", "1"], "comment": ["x", "y", "z"], "label": ["a", "b", "c"],
        },
        dtype="string",
    )[order]  # fmt: skip
    findings = parse_rows(table, TableLayout(), "t.csv", labels=["pneumonia"]).findings
    assert values(findings, "Pneumonia") == [1.0, None, 0.0]


@settings(deadline=None)
@given(st.text(max_size=8), st.sampled_from(CASES), st.sampled_from(FORMS))
def test_fold_name_is_stable(name: str, case: Callable[[str], str], form: str) -> None:
    folded = fold_name(name)
    assert fold_name(folded) == folded
    assert fold_name(unicodedata.normalize(form, name)) == folded  # type: ignore[arg-type]


def test_findings_from_text_empty_cell_says_nothing_and_word_says_unknown() -> None:
    findings = read(["", " ", "todo", "Mass|todo", "Mass"])
    assert findings["Mass"].fillna(-1).tolist() == [-1, -1, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), (" ", None), ("nan", 0.5), ("NA", 0.5), ("-1", 0.5), ("?", 0.5), ("yes", 1), ("0", 0)],
)
def test_truth_value_empty_cell_says_nothing_and_word_says_unknown(text: str, value: float | None) -> None:
    found = label_cells.truth_value(text, uncertain="ignore")
    assert found is not None
    assert (None if math.isnan(found) else found) == value


def test_findings_from_text_label_that_is_an_unknown_word_is_a_label() -> None:
    cells = pd.Series(["None", "COVID", "todo"], dtype="string")
    findings = label_cells.findings_from_text(cells, TableLayout(), ["None"])
    assert values(findings, "None") == [1.0, 0.0, None]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("(left) effusion (small)", ["(left) effusion (small)"]),
        ("[R] effusion [L]", ["[R] effusion [L]"]),
        ("('Mass', 'Edema')", ["Edema", "Mass"]),
        ("{'Mass'}", ["Mass"]),
        ("[['Mass'], ['Edema', 'Mass']]", ["Edema", "Mass"]),
        ("['Mass' 'Edema']", ["Edema", "Mass"]),
        ("array(['Mass', 'Edema'], dtype=object)", ["Edema", "Mass"]),
        ("frozenset({'Mass'})", ["Mass"]),
        ("Index(['Mass', 'Edema'], dtype='object')", ["Edema", "Mass"]),
        ("Mass\uff5cEdema", ["Edema", "Mass"]),
        ("[Mass, nan]", ["Mass"]),
        ('["caf\\u00e9"]', ["café"]),
        ('["Barrett\'s"]', ["Barrett's"]),
        ("Barrett's|Crohn's", ["Barrett's", "Crohn's"]),
        ("x" * 10_001, []),
        ('"' * 9_000, []),
    ],
)
def test_findings_from_text_brackets_and_quotes(cell: str, names: list[str]) -> None:
    findings = label_cells.findings_from_text(pd.Series([cell], dtype="string"), TableLayout())
    assert [name for name in findings if findings[name].eq(1.0).all()] == names


def test_findings_from_text_spelling_without_label_is_most_frequent_one() -> None:
    cells = pd.Series(["viral", "Viral", "Viral", "VIRAL"], dtype="string")
    assert list(label_cells.findings_from_text(cells, TableLayout())) == ["Viral"]


@pytest.mark.parametrize(
    "cell",
    ["Pneumonia?", "? Pneumonia", "possible PNEUMONIA", "suspected  pneumonia", "Pneumonia (?)", "Mass|r/o Pneumonia",
     "Pneumonia likely", "Pneumonia - uncertain", "possible/probable pneumonia", "suspected: Pneumonia",
     "maybe pneumonia", "unknown Pneumonia", "Pneumonia: unclear", "cannot be excluded: pneumonia"],
)  # fmt: skip
def test_findings_from_text_label_with_mark_of_doubt_is_unknown(cell: str) -> None:
    """Fails if `Pneumonia?` is another finding, with which an image counts as negative for Pneumonia."""
    findings = read([cell, "Pneumonia", "No Finding", f"{cell}|Pneumonia"])
    assert findings["Pneumonia"].tolist() == [0.5, 1, 0, 1]
    assert set(findings) <= {"Pneumonia", "No Finding", "Mass"}


def test_findings_from_text_label_that_is_spelled_with_doubt_is_a_label() -> None:
    cells = pd.Series(["possible mass", "Mass", "normal"], dtype="string")
    findings = label_cells.findings_from_text(cells, TableLayout(), ["Possible Mass", "Mass"])
    assert findings[["Possible Mass", "Mass"]].to_numpy().tolist() == [[1, 0], [0, 1], [0, 0]]


def test_truth_value_decimal_comma_is_a_number() -> None:
    assert [label_cells.truth_value(text, "ignore") for text in ("1,0", "0,00", "0,5", "1,0,0")] == [1, 0, None, None]


def test_findings_from_folders_many_classes_raises() -> None:
    with pytest.raises(ValueError, match="must have at most 200 class folders, got 201; use data_format=table"):
        label_cells.findings_from_folders(pd.Series(map(str, range(201)), dtype="string"))


def test_findings_from_folders_signs_in_names_are_kept() -> None:
    classes = pd.Series(["normal, benign", "a|b", "a/b"], dtype="string")
    assert list(label_cells.findings_from_folders(classes)) == ["a/b", "a|b", "normal, benign"]
