"""The question as the command line puts it, in texts; what it asks for is an ``Asked``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...golden_model.config import ChipConfig
from ...golden_model.inference.circuits import CIRCUITS
from ..errors import UserError
from .study import WANTED, Asked

__all__ = ["Question"]


@dataclass(frozen=True)
class Question:
    """What ``microzone infer-compare`` was given.

    Attributes
    ----------
    circuits : str
        Names separated by commas; empty for all.
    want, limits : sequence of str
        ``NAME=LOW:HIGH`` of statistics and of parameters.
    draws, sessions, seed : int
        As of :class:`Asked`.
    """

    circuits: str
    want: Sequence[str]
    limits: Sequence[str]
    draws: int
    sessions: int
    seed: int

    def asked(self, config: ChipConfig) -> Asked:
        """The same, read and checked; UserError if it cannot be asked so."""
        wanted, box = _ranges("--want", self.want), _ranges("--limits", self.limits)
        names = tuple(name.strip() for name in self.circuits.split(",")) if self.circuits else tuple(CIRCUITS)
        try:
            return Asked(
                config,
                names,
                wanted or WANTED,
                box,
                draws=self.draws,
                sessions=self.sessions,
                seed=self.seed,
            )
        except ValueError as error:
            raise UserError(str(error)) from None


def _ranges(option: str, texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """``NAME=LOW:HIGH`` by name."""
    found: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, limits = text.partition("=")
        low, colon, high = limits.partition(":")
        try:
            if not (equals and colon):
                raise ValueError
            pair = float(low), float(high)
        except ValueError:
            raise UserError(f"{option} {text}: needs NAME=LOW:HIGH, as in drift=-0.1:0.1") from None
        if not all(map(math.isfinite, pair)):
            raise UserError(f"{option} {text}: needs finite limits")
        if name in found:
            raise UserError(f"{option} {name}: is there twice")
        found[name] = pair
    return found
