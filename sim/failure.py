"""What a bench raises when it finds a difference."""

from __future__ import annotations

__all__ = ["BenchFailure", "check"]


class BenchFailure(AssertionError):
    """A bench that ran and found a difference; the message is the bench's own."""


def check(holds: object, message: str) -> None:
    """BenchFailure unless `holds`: an ``assert`` that no option of Python's (``-O``) takes away."""
    if not holds:
        raise BenchFailure(message)
