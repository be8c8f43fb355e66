"""The pieces of a sweep that workers do: some sessions of a point, and the synthesis of a core."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.engine import EngineModel
from ...golden_model.experiment.sessions import ProtocolDraw, run_sessions
from .behaviour import course, measures
from .spec import Point, Scenario

__all__ = ["Part", "Synthesis", "parts", "simulate", "synthesise"]

CHUNK = 250
"""Sessions of a part: some 0.4 s of work."""
_VALUES: dict[str, Any] = {
    "trace": {"start", "end"},
    "threshold": True,
    "weight": True,
    "plasticity": True,
    "recalibration": {"alpha", "beta", "gamma"},
    "calibration": True,
}
"""Fields of the configuration that are values of words: they change no word's width."""


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


@dataclass(frozen=True)
class Synthesis:
    """A core to synthesise: one for all points that differ in the values of their words only."""

    config: ChipConfig

    @property
    def key(self) -> str:
        """Hash of all that the core depends on, but values."""
        fields = self.config.model_dump(mode="json", exclude=_VALUES)
        return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def synthesise(job: Synthesis) -> dict[str, Any]:
    """Logic cells of a core on the iCE40 UP5K: the numbers of ``boards.synthesis``, or why there are none.

    Returns
    -------
    dict
        Fields of ``boards.synthesis.Cost`` and the versions of the tools; ``error`` alone where the core does
        not fit, or misses the clock.
    """
    from dataclasses import asdict

    from ...boards.family import ICE40
    from ...boards.synthesis import microcircuit_cost
    from ...gateware.toolchain import ToolError

    try:
        return asdict(microcircuit_cost(job.config)) | ICE40.versions()
    except ToolError as error:
        return {"error": str(error)}
