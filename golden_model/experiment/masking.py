"""Which steps the chip's own stimulation blanks, counted from a conditioned response (CR).

``chip`` knows the blanking level to the cycle; here is what it comes to in whole steps, for an engine that
has no cycles: time within a step is the same after each CR, so that the steps blanked by a train are too.

Source: Herreros et al. 2014, "Signal processing": the IO is masked for 2 s after a CR, or around each pulse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..chip import ChipTiming
from ..config import ChipConfig
from ..stimulation import Stimulator

__all__ = ["StimulationMask"]


@dataclass(frozen=True)
class StimulationMask:
    """What a CR in step k does to the steps after it, in a chip of one microcircuit.

    Where two trains blank less than half of a step each, but more together, the chip blanks one step more.

    Attributes
    ----------
    windows : ndarray of int64, shape (n, 2)
        Blanked stretches: first step, and the step after the last, less k; ascending, not touching.
    recovery_steps : int
        A CR fewer steps after the one whose train was started starts none.
    """

    windows: npt.NDArray[np.int64]
    recovery_steps: int

    @classmethod
    def of(cls, config: ChipConfig) -> StimulationMask:
        """Of a configuration; ConfigError as from ``ChipTiming`` and ``Stimulator``."""
        timing, stimulator = ChipTiming(config), Stimulator(config)
        frames, cycles = timing.frames_per_step, timing.frame_cycles
        trigger = timing.trigger_cycle(0, 0)
        stimulator.trigger(trigger)
        assert stimulator.ready is not None
        _, ends = stimulator.blanked_windows()
        last = int(max(ends, default=0)) // (frames * cycles) + 1
        numbers = np.arange((last + 1) * frames).reshape(-1, frames)
        hidden = stimulator.blanked_at(numbers * cycles + timing.result_cycle(0))
        blanked = np.array([timing.counts_as_blanked(step) for step in hidden], np.int8)
        edges = np.diff(blanked, prepend=np.int8(0), append=np.int8(0))
        windows = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
        return cls(windows.astype(np.int64), -(-(stimulator.ready - trigger) // (frames * cycles)))
