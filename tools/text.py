"""Texts of users on a terminal and in pictures: names of files and channels are shown, never obeyed."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

__all__ = ["PlainConsole", "printable", "tinted", "with_any_letters"]

_BYTES = 0xDC00
"""A byte of a name that is not UTF-8 is this much higher in Python's text."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text in which nothing acts on a terminal: control characters as ``\x1b``, other bytes as ``\xff``.

    Parameters
    ----------
    text : str
    lines : bool
        Keep line breaks and tabs.
    """
    return "".join(
        letter if letter.isprintable() or (lines and letter in "\n\t") else _escaped(letter)
        for letter in text
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0x80 <= code - _BYTES <= 0xFF:
        return f"\\x{code - _BYTES:02x}"
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def tinted(word: str, style: str, rest: str = "") -> Text:
    """A coloured word, and what follows it, with nothing in either taken for markup."""
    return Text.assemble((word, style), rest)


def with_any_letters() -> None:
    r"""Let the two streams of output show what their encoding lacks as ``\u03b4``, not fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


class PlainConsole(Console):
    """A console that prints texts as they are: no markup, no names of emojis; colours are for ``Text``."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """A text of a message or of a table's cell."""
        return super().render_str(printable(text, lines=True), **how)

    def status(self, status: Any, **how: Any) -> Status:
        """What is going on."""
        return super().status(Text(printable(status)) if isinstance(status, str) else status, **how)
