"""Sessions like the paper's recorded one: latencies as measured, detections late in the CS, a drifting IO.

Source: Herreros et al. 2014, "Evaluation of the bio-hybrid experiment", figures 11, 12 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Steps
from ...golden_model.experiment.protocol import DetectionQuality, Protocol, Trial
from ...golden_model.experiment.spikes import Latency, latencies
from ..sessions.demo import IO_DRIFT_HZ

__all__ = [
    "ASSUMED", "BLANKED", "CS_ALONE", "IO_LATENCY", "PAIRED", "PN_LATENCY", "SESSION", "RecordedDraw",
    "recorded_draw",
]  # fmt: skip

PAIRED, CS_ALONE = 190, 180
BLANKED: dict[str, dict[str, object]] = {"blanking": {"mode": "fixed", "fixed_s": 2.0}}
"""The paper masked the IO for 2 s after each CR."""
PN_LATENCY = Latency(mean_s=0.0962, sd_s=0.02, margin_s=0.0)
IO_LATENCY = Latency(mean_s=0.0685, sd_s=0.03, margin_s=0.0)
"""Means as measured; their spread is that of the virtual preparation."""
_PN = DetectionQuality(tdr=0.755, far_hz=5 / (80 * 60), window_s=(0.010, 0.150))
"""Five false alarms in the 80 min of baseline."""
_IO = DetectionQuality(tdr=0.38, far_hz=1.2, window_s=(0.005, 0.205))
_LATE_S = (0.150, 0.450)
"""From the end of the window of a true detection to the end of the CS."""
_FAR_HZ, _MEAN_TRIAL_S = 0.1, 12.5
SESSION = Protocol(
    trials=(Trial.PAIRED,) * PAIRED + (Trial.CS_ALONE,) * CS_ALONE, pn=_PN, io=_IO, io_drift_hz=IO_DRIFT_HZ
)
ASSUMED = (
    "One detection a stimulus at most, with a gamma-distributed latency: PN 96.2 ± 20 ms after the CS, IO "
    "68.5 ± 30 ms after the US (the paper gives the means).",
    "PN: all false alarms but the five between trials are late detections of the CS (caption of figure 12); "
    "they are put uniformly 150 to 450 ms after it, 1.24 a trial, which makes the paper's 0.1 Hz.",
    "IO: spontaneous rate from "
    + " to ".join(f"{rate:g}" for rate in IO_DRIFT_HZ)
    + " Hz in straight lines, at the start, the end of acquisition and the end; the numbers of figure 14 are "
    "not in the text.",
)


@dataclass(frozen=True)
class RecordedDraw:
    """The session of a seed, with latencies.

    Attributes
    ----------
    protocol : Protocol
        Trials, shares of detected stimuli, false alarms between them.
    config : ChipConfig
        Gives the step.
    late : float
        PN detections late in the CS, a trial.
    """

    protocol: Protocol
    config: ChipConfig
    late: float = 0.0

    def __call__(self, seed: int) -> Events:
        """The session of a seed."""
        protocol, step_s = self.protocol, self.config.time.step_s
        spontaneous = replace(
            protocol, pn=replace(protocol.pn, tdr=0.0), io=replace(protocol.io, tdr=0.0)
        ).events(self.config, seed)
        rng = np.random.default_rng((seed, 2))  # not that of the protocol
        pn = self._evoked(spontaneous.cs, protocol.pn, PN_LATENCY, rng)
        io = self._evoked(spontaneous.us, protocol.io, IO_LATENCY, rng)
        first, stop = (round(seconds / step_s) for seconds in _LATE_S)
        late = rng.random((spontaneous.cs.size, stop - first)) < self.late / (stop - first)
        trial, offset = np.nonzero(late)
        return replace(
            spontaneous,
            pn=_united(spontaneous.n_steps, spontaneous.pn, pn, spontaneous.cs[trial] + first + offset),
            io=_united(spontaneous.n_steps, spontaneous.io, io),
        )

    def _evoked(
        self, triggers: Steps, quality: DetectionQuality, how: Latency, rng: np.random.Generator
    ) -> Steps:
        """One detection, at most, of each trigger."""
        detected = triggers[rng.random(triggers.size) < quality.tdr]
        after = latencies(detected.size, how, quality.window_s, rng)
        return detected + np.rint(after / self.config.time.step_s).astype(np.int64)


def _united(n_steps: int, *parts: Steps) -> Steps:
    steps = np.unique(np.concatenate(parts)).astype(np.int64)
    return steps[steps < n_steps]


def recorded_draw(config: ChipConfig) -> RecordedDraw:
    """Sessions like the paper's."""
    return RecordedDraw(SESSION, config, late=(_FAR_HZ - _PN.far_hz) * _MEAN_TRIAL_S)
