"""What the paper measured of its two channels, measured of a session.

Source: Herreros et al. 2014, "Signal processing" (windows, TDR, FAR) and figure 12 (ωCS, ωUS).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Steps
from ...golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY, DetectionQuality

__all__ = ["Channels", "around", "heard_io"]


@dataclass(frozen=True)
class Channels:
    """Both channels of a session as it was heard; IO detections while the IO was blanked do not count.

    Attributes
    ----------
    pn_tdr, io_tdr : float
        Share of the stimuli with a detection in the window.
    pn_far_hz, io_far_hz : float
        Detections outside the windows over all time, the blanked time included.
    io_unblanked_hz : float
        The same over the time in which the IO was not blanked.
    pn_latency_s, io_latency_s : float
        ωCS and ωUS: mean latency of the first detection in the window.
    """

    pn_tdr: float
    pn_far_hz: float
    io_tdr: float
    io_far_hz: float
    io_unblanked_hz: float
    pn_latency_s: float
    io_latency_s: float

    @classmethod
    def of(cls, events: Events, config: ChipConfig) -> Channels:
        """Measure the channels of a session."""
        step_s = config.time.step_s
        seconds = events.n_steps * step_s
        blanked_s = float((events.blanked[:, 1] - events.blanked[:, 0]).sum()) * step_s
        pn_tdr, pn_outside, pn_latency = _one(events.pn, events.cs, PN_QUALITY, step_s)
        io_tdr, io_outside, io_latency = _one(heard_io(events), events.us, IO_QUALITY, step_s)
        return cls(
            pn_tdr, pn_outside / seconds, io_tdr, io_outside / seconds, io_outside / (seconds - blanked_s),
            pn_latency, io_latency,
        )  # fmt: skip

    def facts(self) -> dict[str, float]:
        """As plain numbers."""
        return asdict(self)


def heard_io(events: Events) -> Steps:
    """The IO detections while the IO was not blanked."""
    if not events.blanked.size:
        return events.io
    stretch = np.searchsorted(events.blanked[:, 0], events.io, side="right") - 1
    return np.asarray(events.io[(stretch < 0) | (events.io >= events.blanked[stretch, 1])])


def _one(steps: Steps, triggers: Steps, quality: DetectionQuality, step_s: float) -> tuple[float, int, float]:
    """(TDR, detections outside the windows, mean latency of the first inside in seconds)."""
    first, stop = quality.window_steps(step_s)
    low, high = (np.searchsorted(steps, triggers + edge) for edge in (first, stop))
    hit = high > low
    latency = (steps[low[hit]] - triggers[hit]) * step_s
    mean = float(latency.mean()) if latency.size else float("nan")
    return float(hit.mean()), int(steps.size - (high - low).sum()), mean


def around(
    steps: Steps, triggers: Steps, step_s: float, span_s: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Seconds from a trigger of all detections near it, for a histogram."""
    first, stop = (round(edge / step_s) for edge in span_s)
    low, high = (np.searchsorted(steps, triggers + edge) for edge in (first, stop))
    parts = [steps[a:b] - trigger for a, b, trigger in zip(low, high, triggers, strict=True)]
    return np.concatenate(parts) * step_s if parts else np.zeros(0)
