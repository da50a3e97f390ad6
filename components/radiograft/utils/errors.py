"""Error whose message may contain sensitive names, with a redacted alternative."""

from __future__ import annotations


class SensitiveValueError(ValueError):
    """A ValueError whose message contains names of folders or files, which may be patients' names.

    Attributes:
        nameless: the message without these names, which `redact_names` shows instead.
    """

    def __init__(self, text: str, nameless: str) -> None:
        super().__init__(text)
        self.nameless = nameless
