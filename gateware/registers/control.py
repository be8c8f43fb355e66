"""What the control blocks of all register maps share: who the design is, and that every field is driven."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, TypeAlias

from .map import Register, RegisterMap

__all__ = ["Fields", "check_driven", "identity"]

_HEX_DIGITS = 8
"""Of the digest in a register."""

Fields: TypeAlias = dict[str, dict[str, Any]]
"""What drives a register or is driven by it, by register and field."""


def identity(magic: int, clock_hz: float, digest: str) -> dict[str, dict[str, int]]:
    """Registers MAGIC, VERSION, CLOCK_HZ and CONFIG_HASH, by register and field.

    Parameters
    ----------
    magic : int
    clock_hz : float
    digest : str
        Of the configuration, in hex.
    """
    version = re.findall(r"\d+", metadata.version("microzone"))
    words = [int(digest[at : at + _HEX_DIGITS], 16) for at in range(0, len(digest), _HEX_DIGITS)]
    return {
        "MAGIC": {"magic": magic},
        "VERSION": dict(zip(("major", "minor", "patch"), map(int, version), strict=False)),
        "CLOCK_HZ": {"hertz": round(clock_hz)},
        **{f"CONFIG_HASH[{at}]": {"digits": word} for at, word in enumerate(words)},
    }


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
