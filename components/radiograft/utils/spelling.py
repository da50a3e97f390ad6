"""Compares names regardless of case, white space and Unicode form, and recognizes words for `unknown` and doubt."""

from __future__ import annotations

import re
import unicodedata

UNKNOWN_WORDS = frozenset(
    {"", "?", "-", "--", "nan", "na", "n/a", "#n/a", "<na>", "nat", "none", "null", "nil", "unknown", "unk", "unclear",
     "uncertain", "undetermined", "indeterminate", "equivocal", "todo", "to do", "tbd", "pending", "missing",
     "not available", "not known", "not reported", "not specified", "not stated", "not recorded", "not applicable",
     "unspecified", "undefined", "unlabeled", "unlabelled", "no label"}
)  # fmt: skip
DOUBT = (
    r"possibl[ey]|probabl[ey]|likely|suspected|suspicious for|suspicion of|questionable|query|uncertain|equivocal|"
    r"cannot exclude|cannot rule out|rule out|r/o"
)
DOUBTED = re.compile(rf"(?:\?|(?:{DOUBT})\b)+\s*(?P<after>.+)|(?P<before>.+?)\s*(?:\(\?\)|\?|\((?:{DOUBT})\))+")
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
    """Returns whether a cell is empty or a word such as `nan`, `n/a`, `todo` or `Unknown`.

    Example:
        >>> is_unknown(" N/A "), is_unknown("normal")
        (True, False)
    """
    return fold_name(text) in UNKNOWN_WORDS


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
