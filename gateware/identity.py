"""A bitstream that knows itself: its registers have the digest of what it was synthesised from.

A design cannot hold the digest of all that it is. So it is made twice: with :data:`NO_IDENTITY`, which gives
the digest, and with that. Everything else of the two is the same.
"""

from __future__ import annotations

import hashlib

__all__ = ["IDENTITY_DIGITS", "NO_IDENTITY", "identity_of"]

IDENTITY_DIGITS = 16
"""Hex digits of an identity: 64 bits."""
NO_IDENTITY = "0" * IDENTITY_DIGITS
"""What a design says of itself that was never asked who it is: one in a test bench."""


def identity_of(rtlil: str, *others: str) -> str:
    """The identity of a design, from its RTLIL with :data:`NO_IDENTITY`: two that differ have not the same.

    Parameters
    ----------
    rtlil : str
        Of the whole design, without source locations: equal text for equal hardware.
    *others : str
        What a bitstream depends on besides: constraints, how it is synthesised.

    Returns
    -------
    str
        The first 64 bits of its SHA-256, in hex.
    """
    return hashlib.sha256("\0".join([rtlil, *others]).encode()).hexdigest()[:IDENTITY_DIGITS]
