"""Compares names regardless of case, white space and Unicode form, and recognizes words for `unknown` and doubt."""

from __future__ import annotations

import re
import unicodedata

UNKNOWN_WORDS = frozenset(
    {"", "nan", "na", "n/a", "nat", "none", "null", "nil", "unknown", "unk", "unclear", "uncertain", "unsure",
     "undetermined", "indeterminate", "inconclusive", "equivocal", "ambiguous", "todo", "to do", "tbd", "pending",
     "to be determined", "to be confirmed", "missing", "blank", "empty", "nd", "n/d", "n/k", "undef", "undefined",
     "unavailable", "unspecified", "unlabeled", "unannotated", "ungraded", "ungradable", "unclassified",
     "unassessed", "unevaluable", "uninterpretable", "nondiagnostic", "non diagnostic", "non-diagnostic", "no label",
     "no labels", "no data", "no report", "no info", "no information", "not sure", "not available", "not known",
     "not reported", "not specified", "not stated", "not recorded", "not provided", "not given", "not applicable",
     "not labeled", "not annotated", "not determined", "not evaluated", "not evaluable",
     "not assessed", "not assessable", "not graded", "not gradable", "not done", "dont know", "don't know",
     "do not know", "cannot tell", "cannot assess", "cannot determine", "cannot be determined", "cannot be assessed",
     "could not be determined", "unable to determine", "unable to assess", "unbekannt", "inconnu", "desconocido",
     "desconhecido", "sconosciuto", "onbekend", "\\n", "#value!", "#ref!", "#div/0!", "#name?", "#num!"}
)  # fmt: skip
MARKS = " .,;:!?*#<>()[]{}\"'`\\/|~=_-\u2013\u2014\u2026"  # around a word; a cell of only these says nothing
JOINED = re.compile(r"\s*[/,]\s*|\s+or\s+")
DOUBT = (
    r"possibl[ey]|probabl[ey]|likely|suspected|suspicious for|suspicion of|questionable|query|uncertain|equivocal|"
    r"unclear|unknown|unsure|undetermined|indeterminate|inconclusive|maybe|perhaps|presumed|presumptive|may represent|"
    r"concern for|concerning for|c/f|cannot exclude|cannot be excluded|cannot rule out|cannot be ruled out|"
    r"not excluded|rule out|rule-out|r/o"
)
DOUBTED = re.compile(
    rf"(?:(?:\?|(?:{DOUBT})\b)[\s:/-]*(?:or\s+)?)+(?P<after>.+)|"
    rf"(?P<before>.+?)\s*(?:[:=-]\s*)?(?:\(\?\)|\?|\((?:{DOUBT})\)|\b(?:{DOUBT}))+"
)
INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))  # soft hyphen, zero-width characters, BOM


def fold_case(text: str) -> str:
    """Returns the same text for all spellings that differ in case, Unicode form or white space.

    Example:
        >>> fold_case(" PLEURAL   Effusion")
        'pleural effusion'
    """
    if text.isascii():
        return " ".join(text.casefold().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return " ".join(unicodedata.normalize("NFKC", folded.casefold()).translate(INVISIBLE).split())


def fold_name(name: str) -> str:
    """Returns the same text for all spellings of a name: as `fold_case`, and `_` is a space.

    Example:
        >>> fold_name("Pleural_Thickening") == fold_name("pleural thickening")
        True
    """
    return fold_case(name.replace("_", " "))


def is_unknown(text: str) -> bool:
    """Returns whether a cell is empty or a word such as `nan`, `n/a`, `todo` or `Unknown`, whatever marks surround it.

    Example:
        >>> is_unknown(" N/A "), is_unknown("(unknown)"), is_unknown("--"), is_unknown("normal")
        (True, True, True, False)
    """
    folded = fold_name(text)
    if folded in UNKNOWN_WORDS:
        return True
    bare = folded.strip(MARKS).replace(".", "").replace("\u2019", "'").replace("lled", "led")
    return bare in UNKNOWN_WORDS or all(part and part in UNKNOWN_WORDS for part in JOINED.split(bare))


def doubted_name(name: str) -> str:
    """Returns the folded name of what is only suspected, or "" if the name has no mark of doubt.

    Example:
        >>> doubted_name("Pneumonia?"), doubted_name("possible  Mass"), doubted_name("Mass")
        ('pneumonia', 'mass', '')
    """
    match = DOUBTED.fullmatch(fold_name(name))
    return (match["after"] or match["before"]) if match else ""


def fold_id(text: str) -> str:
    """Returns the same text for ids that differ in white space, Unicode form, leading zeros of numbers or a final `.0`.

    Example:
        >>> fold_id("0012"), fold_id("12.0"), fold_id("P-007 "), fold_id("1.05")
        ('12', '12', 'P-7', '1.05')
    """
    text = text if text.isascii() else unicodedata.normalize("NFKC", text).translate(INVISIBLE)
    text = re.sub(r"^(\d+)\.0+$", r"\1", " ".join(text.split()))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", text)
