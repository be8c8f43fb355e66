"""How narrow the words of inferred configurations may be: fixed point against float on the same sessions.

As in a sweep, a format is wide enough where behaviour shifts by no more than the Monte Carlo error of float;
here the measures are the statistics T, and the conditions are samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.inference.behaviour import STATISTICS
from ...golden_model.inference.parameters import PARAMETERS, ParameterSpace
from ..sweep.behaviour import paired_shift
from .checks import Sample
from .request import Request
from .store import WORDS, Simulations

__all__ = ["Width", "narrowest", "widths"]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Width:
    """A word of so many fraction bits, in all conditions.

    Attributes
    ----------
    bits : int
    distance : float or None
        The largest of any statistic in any condition, in Monte Carlo errors of float; None where the formats
        refuse one of the conditions.
    furthest : str
        Its statistic.
    """

    bits: int
    distance: float | None
    furthest: str

    def among(self, real: Reals, fixed: Reals) -> Width:
        """With another condition: T of the same sessions, shape (sessions, len(STATISTICS)) each."""
        if self.distance is None or np.isnan(fixed).all():
            return Width(self.bits, None, "")
        worst = self
        for column, statistic in enumerate(STATISTICS):
            shift = paired_shift(real[:, column], fixed[:, column])
            if statistic.name == "energy" or shift is None or shift.distance <= (worst.distance or 0.0):
                continue
            worst = Width(self.bits, shift.distance, statistic.name)
        return worst

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        refused = self.distance is None
        return {"bits": self.bits, "refused": refused, "distance": self.distance, "furthest": self.furthest}


def widths(
    request: Request, samples: Sequence[Sample], simulations: Simulations, name: str, sessions: int
) -> list[Width]:
    """Every width of a word up to the configured one, narrowest first.

    Parameters
    ----------
    request : Request
    samples : sequence of Sample
        The conditions.
    simulations : Simulations
    name : str
        Of a parameter of whole numbers.
    sessions : int
        Of each width in each condition.
    """
    parameter = PARAMETERS[name]
    configured = round(parameter.of(request.config))
    tried = range(round(parameter.low), configured + 1)
    found = {bits: Width(bits, 0.0, "") for bits in tried}
    seeds = simulations.seeds(np.arange(sessions), WORDS)
    for index, sample in enumerate(samples, 1):
        space = ParameterSpace((name,), sample.config)
        label = f"{name}, sample {index}"
        widest = np.full((sessions, 1), float(configured))
        real = simulations.run_space(f"{label}, float", space, widest, seeds, variant="engine-float")
        z = np.repeat(np.array(tried, np.float64), sessions)[:, None]
        fixed = simulations.run_space(label, space, z, np.tile(seeds, len(tried)), variant="engine-fixed")
        for bits, values in zip(tried, fixed.statistics.reshape(len(tried), sessions, -1), strict=True):
            found[bits] = found[bits].among(real.statistics, values)
    return list(found.values())


def narrowest(found: Sequence[Width]) -> int | None:
    """The narrowest that keeps to a distance of 1, as every wider one does; None if the widest does not."""
    smallest = None
    for width in reversed(found):
        if width.distance is None or width.distance > 1:
            break
        smallest = width.bits
    return smallest
