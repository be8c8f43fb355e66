"""The conditions of figures 4 to 8: what stands in for the paper's Table 3, and its calibrations.

Source: Herreros et al. 2014, "Simulation Experiments". The text gives the true detections of the IO (70 %,
lowered to 50 %); the rest of the table is not in it. When a stimulus is detected matters most: see
:data:`PROMPT`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...golden_model.calibration.calibration import solve
from ...golden_model.calibration.goals import Goals
from ...golden_model.calibration.plasticity_events import PlasticityEvents, plasticity_events
from ...golden_model.config import ChipConfig
from ...golden_model.experiment.protocol import DetectionQuality, Protocol, Trial

__all__ = [
    "ASSUMED", "FAST_GOALS", "GOALS", "IO_TDR", "LAST", "METHODS", "NOISY_TDR", "PAIRED", "PROMPT",
    "SESSIONS",
    "Windows", "calibrated", "expected_events", "paired_first", "with_plasticity",
]  # fmt: skip

PAIRED = 120
"""Trials of acquisition, as in figure 10."""
LAST = slice(PAIRED - 40, PAIRED)
"""The last of them: the asymptote."""
SESSIONS = 500
"""The paper shows one of each; so many make means."""
IO_TDR, NOISY_TDR = 0.70, 0.50
_PN_TDR, _PN_FAR_HZ, _IO_FAR_HZ = 0.914, 0.01, 1.14
GOALS = Goals()
FAST_GOALS = replace(GOALS, trials_a=GOALS.trials_a / 2)
"""Twice as fast."""
_SPONTANEOUS_S = 120.0
_TRIALS, _ITI_S, _LONG_S, _SEED = 4000, (1.0, 1.5), 3000.0, 0
"""Paired trials that are counted, so many that their means are expected values; and a period without stimuli
that has spontaneous detections for sure, since a session must have some."""


@dataclass(frozen=True)
class Windows:
    """When a stimulus is detected, if it is: seconds after its trigger.

    Attributes
    ----------
    pn, io : (float, float)
        First and last.
    """

    pn: tuple[float, float]
    io: tuple[float, float]

    def __str__(self) -> str:
        pn, io = (
            "{:g} to {:g} ms".format(*(1000 * edge for edge in window)) for window in (self.pn, self.io)
        )
        return f"PN {pn} after the CS, IO {io} after the US"


METHODS = Windows(pn=(0.010, 0.150), io=(0.005, 0.205))
"""In which a detection counts as true."""
PROMPT = Windows(pn=(0.010, 0.030), io=(0.0, 0.010))
"""What figures 6 to 8 need. With detections anywhere in the windows of Methods, and no delay of the
inhibition, CRs settle around detections up to 200 ms after the US instead of at the US; and an ISI of a few
milliseconds is learnt in spite of the delay of the plasticity trace."""

ASSUMED = (
    f"Table 3 is not in the text. PN: {_PN_TDR:.1%} of the CS, as in training, and {_PN_FAR_HZ:g} Hz of "
    f"false alarms; IO: {IO_TDR:.0%} of the US, which the text of figure 7 gives, and {_IO_FAR_HZ:g} Hz.",
    f"Prompt detections: {PROMPT}.",
    "δp and δd from the least squares of the calibration with the expected counts of these channels, "
    f"{_SPONTANEOUS_S:g} s of spontaneous activity, Δ = {GOALS.delta_a:g} in {GOALS.trials_a:g} trials both "
    "ways, and costs " + ", ".join(f"{cost:g}" for cost in GOALS.costs) + ".",
)


def _qualities(io_tdr: float, windows: Windows) -> tuple[DetectionQuality, DetectionQuality]:
    """Both channels, PN and IO."""
    return DetectionQuality(_PN_TDR, _PN_FAR_HZ, windows.pn), DetectionQuality(io_tdr, _IO_FAR_HZ, windows.io)


def paired_first(
    cs_alone: int,
    *,
    again: int = 0,
    io_tdr: float = IO_TDR,
    isi_s: float = 0.3,
    windows: Windows = PROMPT,
) -> Protocol:
    """Acquisition, CS alone, and acquisition again."""
    trials = (Trial.PAIRED,) * PAIRED + (Trial.CS_ALONE,) * cs_alone + (Trial.PAIRED,) * again
    pn, io = _qualities(io_tdr, windows)
    return Protocol(trials, pn, io, isi_s)


def expected_events(
    config: ChipConfig, pn: DetectionQuality, io: DetectionQuality, noi_pass: float
) -> PlasticityEvents:
    """Plasticity events that a training session with 120 s of spontaneous activity has on average.

    Those of paired trials are counted in many, close to each other; those of spontaneous detections, which
    cover a step with Π = 1 unless none came in the K steps before, are known.
    """
    paired = Protocol(trials=(Trial.PAIRED,) * _TRIALS, pn=pn, io=io, iti_s=_ITI_S)
    training = paired.training(config, _SEED, spontaneous_s=_LONG_S)
    counted = plasticity_events(training, config, noi_pass=noi_pass).plasticity
    step_s, p1 = config.time.step_s, counted.p_bar[0]
    eligible_s = _SPONTANEOUS_S * (1 - (1 - pn.far_hz * step_s) ** config.trace_steps)
    return PlasticityEvents(
        p_bar=(p1, p1, eligible_s / step_s),
        d_bar=(counted.d_bar[0], p1 * step_s * io.far_hz * noi_pass),
        k=eligible_s,
        io_rate_hz=io.far_hz,
    )


def calibrated(
    config: ChipConfig,
    *,
    io_tdr: float = IO_TDR,
    goals: Goals = GOALS,
    stable: bool = True,
    windows: Windows = PROMPT,
) -> tuple[float, float]:
    """δp and δd for these channels.

    Parameters
    ----------
    config : ChipConfig
        Gives Λτ, Λnoi and the step.
    io_tdr : float
        Share of the US that the IO detects.
    goals : Goals
    stable : bool
        With the stability constraint. Without, acquisition and extinction determine both, exactly.
    windows : Windows

    Returns
    -------
    (float, float)
    """
    expected = expected_events(config, *_qualities(io_tdr, windows), goals.noi_pass)
    if stable:
        return solve(expected, goals, expected.io_rate_hz)
    rows = np.array([[p, -d] for p, d in zip(expected.p_bar[:2], expected.d_bar, strict=True)])
    potentiation, depression = np.linalg.solve(rows, goals.changes)
    return float(potentiation), float(depression)


def with_plasticity(config: ChipConfig, steps: tuple[float, float], **sections: dict[str, Any]) -> ChipConfig:
    """The configuration with these δp and δd, and more sections."""
    return config.replace(plasticity={"potentiation": steps[0], "depression": steps[1]}, **sections)
