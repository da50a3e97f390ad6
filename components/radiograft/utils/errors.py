"""The error that tells names which stand in the data, and what it says instead where these are to be hidden."""

from __future__ import annotations


class SensitiveValueError(ValueError):
    """A ValueError with names of folders or files, which may be patients'.

    Attributes:
        nameless: the text without them, which `identity.names_hidden` lets pass.
    """

    def __init__(self, text: str, nameless: str) -> None:
        super().__init__(text)
        self.nameless = nameless
