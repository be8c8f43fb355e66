"""The sessions of a sweep, in parts that workers do.

What is imported here is part of the key of each result (``golden_model.provenance``): no more than it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.engine import EngineModel
from ...golden_model.experiment.sessions import ProtocolDraw, run_sessions
from .behaviour import course, measures
from .scenario import Scenario

if TYPE_CHECKING:
    from .spec import Point

__all__ = ["Part", "parts", "simulate"]

CHUNK = 250
"""Sessions of a part: some 0.4 s of work."""


@dataclass(frozen=True)
class Part:
    """Sessions of a point that one worker does.

    Attributes
    ----------
    key : str
        Of the point.
    config, reference : ChipConfig
        Of the fixed-point model and of the float model.
    scenario : Scenario
    seeds : range
    """

    key: str
    config: ChipConfig
    reference: ChipConfig
    scenario: Scenario
    seeds: range


def parts(points: Sequence[Point], seeds: range) -> list[Part]:
    """Every part of these points; points that are the same have theirs once."""
    found: dict[str, list[Part]] = {}
    for point in points:
        if point.config is None or point.reference is None:
            continue
        found[point.key] = [
            Part(point.key, point.config, point.reference, point.scenario, seeds[first : first + CHUNK])
            for first in range(0, len(seeds), CHUNK)
        ]
    return [part for of_a_point in found.values() for part in of_a_point]


def simulate(part: Part) -> dict[str, npt.NDArray[Any]]:
    """Draw the sessions of a part, run both models on each, and measure.

    Returns
    -------
    dict of str to ndarray, shape (sessions,)
        ``seed``, each of ``behaviour.MEASURES`` as ``float_`` and ``fixed_``, each of ``behaviour.COURSE``.
    """
    scenario = part.scenario
    draw = ProtocolDraw(scenario.protocol(), part.reference)
    events = {seed: draw(seed) for seed in part.seeds}
    models: tuple[tuple[EngineModel, ChipConfig], ...] = (("float", part.reference), ("fixed", part.config))
    real, fixed = (
        run_sessions(
            events.__getitem__, config, part.seeds,
            model=model, masked=scenario.masked, isi_s=scenario.isi_s, workers=1,
        )
        for model, config in models
    )  # fmt: skip
    columns: dict[str, npt.NDArray[Any]] = {"seed": np.array(part.seeds, np.int64)}
    for model, sessions in (("float", real), ("fixed", fixed)):
        columns |= {f"{model}_{name}": values for name, values in measures(sessions, scenario).items()}
    return columns | course(real, fixed)
