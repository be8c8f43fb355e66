"""A user's mistake, and what is not installed, in one line each."""

from __future__ import annotations

import importlib.util

__all__ = ["UserError", "lacking_inference"]

_INFERENCE = ("torch", "sbi", "zuko")


class UserError(Exception):
    """A mistake of the user's; the message is one line."""


def lacking_inference() -> str | None:
    """What is missing of the extra `inference` and how to install it, for a message; None if nothing is."""
    missing = [name for name in _INFERENCE if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"needs {', '.join(missing)}: make inference"
