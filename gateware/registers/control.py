"""What the control blocks of all register maps share: who the design is, and that every field is driven."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, TypeAlias

from ..link.frames import PROTOCOL
from .map import Register, RegisterMap

__all__ = ["Fields", "check_driven", "identification"]

_HEX_DIGITS = 8
"""Of a digest, in a register."""

Fields: TypeAlias = dict[str, dict[str, Any]]
"""What drives a register or is driven by it, by register and field."""


def identification(magic: int, clock_hz: float, digest: str, identity: str) -> dict[str, dict[str, int]]:
    """Registers MAGIC, VERSION, CLOCK_HZ, CONFIG_HASH, PROTOCOL and IDENTITY, by register and field.

    Parameters
    ----------
    magic : int
    clock_hz : float
    digest : str
        Of the configuration, in hex.
    identity : str
        Of the gateware, see ``identity_of``.
    """
    version = re.findall(r"\d+", metadata.version("microzone"))
    return {
        "MAGIC": {"magic": magic},
        "VERSION": dict(zip(("major", "minor", "patch"), map(int, version), strict=False)),
        "CLOCK_HZ": {"hertz": round(clock_hz)},
        "PROTOCOL": {"version": PROTOCOL},
        **_digits("CONFIG_HASH", digest),
        **_digits("IDENTITY", identity),
    }


def _digits(name: str, digest: str) -> dict[str, dict[str, int]]:
    """A row of registers with the hex digits of a digest."""
    words = [int(digest[at : at + _HEX_DIGITS], 16) for at in range(0, len(digest), _HEX_DIGITS)]
    return {f"{name}[{at}]": {"digits": word} for at, word in enumerate(words)}


def check_driven(known: RegisterMap, driven: Sequence[Fields], which: Callable[[Register], bool]) -> None:
    """Each field of each such register of the control block is driven once, and nothing else.

    Raises
    ------
    ValueError
        If one is not.
    """
    control = known.block("control")
    for register in filter(which, control):
        fields = [field for group in driven for field in group.get(register.name, ())]
        if sorted(fields) != sorted(register.fields):
            raise ValueError(
                f"{register.path} has the fields {sorted(register.fields)}, driven are {sorted(fields)}"
            )
    unknown = {name for group in driven for name in group} - {register.name for register in control}
    if unknown:
        raise ValueError(f"the register map has no {', '.join(sorted(unknown))}")
