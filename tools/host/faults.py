"""Faults as a host hears of them: by number, which a newer chip may have more of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.stimulation.interlock import InterlockFault

__all__ = ["Fault", "UnknownFault", "fault_of"]

F = TypeVar("F", InterlockFault, AmplifierFault)


@dataclass(frozen=True)
class UnknownFault:
    """A fault that this host has no name for.

    Attributes
    ----------
    number : int
    """

    number: int

    @property
    def name(self) -> str:
        """For a message."""
        return f"fault {self.number}, unknown to this host"


Fault: TypeAlias = InterlockFault | AmplifierFault | UnknownFault


def fault_of(kind: type[F], number: int) -> F | UnknownFault:
    """The fault of a number, whether this host knows it or not."""
    try:
        return kind(number)
    except ValueError:
        return UnknownFault(number)
