"""The whole chip: from raw samples of the electrodes to pulses for the facial nucleus, float and fixed.

Joins, for one time base, what the pages before describe each by itself::

    samples - detection - microcircuits - stimulation
                 ^  blanking, recalibration  |
                 +---------------------------+

Time is counted in clock cycles from the start of frame 0, the first after set-up. Frame n, one sample of
every electrode, takes the L cycles from nL on; step k consists of the F frames from kF on. In order:

- A sample of an IO electrode is *blanked* where the blanking level is up when the front end has it, two
  commands after its conversion: it leaves filter and averages as they are, and brings no event.
- Step k is blanked, for the microcircuits and the recalibration, where the level is up at the first sample of
  more than half of its frames. An IO event that the other half brings is none either (see ``microcircuit``).
- The detections of step k reach the microcircuits, which start ``tick_cycle`` cycles after the beginning of
  the step's last frame; that may be in the next frame, before its first sample. The conditioned response
  (CR) of microcircuit c triggers the stimulation 4(c+1) cycles later.

Source: Herreros et al. 2014, figure 1 and "Signal processing".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .amplifier import FrameTiming
from .config import ChannelDetection, ChipConfig, ConfigError
from .detection import Detector, DetectorFixed, DetectorFloat
from .microcircuit import CYCLES_PER_CHANNEL, Microcircuit, MicrocircuitFixed, MicrocircuitFloat
from .recalibration import Outcome
from .stimulation import Stimulator

__all__ = ["Chip", "ChipFixed", "ChipFloat", "ChipResponse", "ChipTiming", "electrode_settings"]

Number = TypeVar("Number", np.float64, np.int64)

Source = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.int16]]
"""Electrodes, amplified and converted: given for each of n frames the shares of the frame before in which the
cathodic and the anodic output were on, shape (n, 2), the samples of the n frames, shape (n, electrodes)."""

_GAIN_BITS = 12
_SAMPLE_CYCLES, _DETECTION_CYCLES = 20, 44
"""Clock cycles of the detection for a gain of so many bits; each more takes a cycle more."""


def electrode_settings(config: ChipConfig) -> list[ChannelDetection]:
    """Settings of each electrode's detector; an electrode that is nobody's has those of the IO."""
    pn = set(config.electrodes.pn)
    return [
        config.detection.pn if electrode in pn else config.detection.io
        for electrode in range(config.amplifier.electrodes)
    ]


class ChipTiming(FrameTiming):
    """When, within a frame, the chip does what; known without making it.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    sample_cycles : int
        After so many the gateware's detection takes the next sample, at most.
    detection_cycles : int
        From a sample taken to its event in the banks of the microcircuits, at most; an access in between
        included.
    blanked_cycle : int
        From the start of a step's last frame until the microcircuits begin to be told that it was blanked.
    tick_cycle : int
        From there until the microcircuits start.
    decision_cycles : int
        From the result of the step's last sample to the trigger of the stimulation, for microcircuit 0.

    Raises
    ------
    ConfigError
        If the clock is too slow for a frame and its detections.
    """

    def __init__(self, config: ChipConfig) -> None:
        super().__init__(config)
        circuits = len(config.electrodes.pn)
        used = (*config.electrodes.pn, *config.electrodes.io)
        last_result = max(self.result_cycle(electrode) for electrode in used)
        more = max(config.formats.detection_gain.width - _GAIN_BITS, 0)
        self.sample_cycles, self.detection_cycles = _SAMPLE_CYCLES + more, _DETECTION_CYCLES + more
        chips, clock_hz = config.amplifier.chips, config.time.clock_hz
        waiting = (chips - 1) * self.sample_cycles  # the results of all chips come at once
        if waiting + self.sample_cycles > self.command_cycles:
            raise ConfigError(
                f"amplifier.chips = {chips}: detection takes {waiting + self.sample_cycles} cycles for a "
                f"sample of each, limit is a command's {self.command_cycles} at time.clock_hz = {clock_hz:g}"
            )
        self.blanked_cycle = last_result + waiting + self.detection_cycles
        self.tick_cycle = self.blanked_cycle + circuits + 1
        self.decision_cycles = self.tick_cycle + CYCLES_PER_CHANNEL - last_result
        # A step ends before the next one's first sample, and before the next one ends.
        step = self.frame_cycles * self.frames_per_step
        latest = min(self.frame_cycles + self.first_result_cycle, step)
        if self.tick_cycle >= latest:
            raise ConfigError(
                f"time.clock_hz = {clock_hz:g}: the samples of a step take {self.tick_cycle} cycles from its "
                f"last frame on, limit is {latest - 1}"
            )

    def counts_as_blanked(self, hidden: npt.NDArray[np.bool_]) -> bool:
        """Whether a step is blanked, by the blanking level at the first sample of each of its frames."""
        return bool(2 * np.count_nonzero(hidden) > self.frames_per_step)

    def trigger_cycle(self, step: int, circuit: int) -> int:
        """When the CR of a step triggers the stimulation."""
        last_frame = (step + 1) * self.frames_per_step - 1
        return last_frame * self.frame_cycles + self.tick_cycle + CYCLES_PER_CHANNEL * (circuit + 1)


@dataclass(frozen=True)
class ChipResponse(Generic[Number]):
    """What a chip did in a stretch of steps.

    Attributes
    ----------
    detections : ndarray of int64, shape (n, 2)
        Frame and electrode of each detection, in this order.
    blanked_frames : ndarray of int64
        Frames that count as blanked.
    pn, io : ndarray of bool, shape (steps, circuits)
        Detections as the microcircuits got them, IO detections of blanked steps included.
    blanked : ndarray of bool, shape (steps,)
        Steps that were blanked.
    cr : ndarray of bool, shape (steps, circuits)
        Steps with a conditioned response.
    weight : ndarray, shape (steps, circuits)
        w after each step, real values or raw words.
    recalibrations : sequence of Outcome
    """

    detections: npt.NDArray[np.int64]
    blanked_frames: npt.NDArray[np.int64]
    pn: npt.NDArray[np.bool_]
    io: npt.NDArray[np.bool_]
    blanked: npt.NDArray[np.bool_]
    cr: npt.NDArray[np.bool_]
    weight: npt.NDArray[Number]
    recalibrations: Sequence[Outcome[Number]] = ()

    @classmethod
    def join(cls, parts: Sequence[ChipResponse[Number]]) -> ChipResponse[Number]:
        """One response of consecutive ones, at least one."""
        names = ("detections", "blanked_frames", "pn", "io", "blanked", "cr", "weight")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, recalibrations=[outcome for part in parts for outcome in part.recalibrations])


class Chip(ABC, Generic[Number]):
    """Detection, microcircuits and stimulation of one chip; the base of both models.

    The stimulation is armed from the first frame on, and nothing goes wrong: no emergency stop, no fault of
    the amplifier.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    timing : ChipTiming
    detector : Detector
        One electrode each; its parameters can be changed between steps.
    circuits : Microcircuit
        One channel each; w, δp, δd and coefficients can be changed between steps.
    stimulator : Stimulator
        Has the edges of its outputs, in clock cycles.
    steps : int
        Done so far.

    Raises
    ------
    ConfigError
        If rates, clock and durations do not fit together; the message names field, value and limit.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.timing = ChipTiming(config)
        self.detector: Detector[Number] = self._detector(electrode_settings(config), config.amplifier.rate_hz)
        self.circuits: Microcircuit[Number] = self._circuits(len(config.electrodes.pn))
        self.stimulator = Stimulator(config)
        self.steps = 0
        self._used = np.zeros(config.amplifier.electrodes, np.bool_)
        self._used[[*config.electrodes.pn, *config.electrodes.io]] = True
        # The answers of all chips to a command are there at once.
        channels, electrodes = config.amplifier.channels, config.amplifier.electrodes
        self._heard = np.array([self.timing.result_cycle(e % channels) for e in range(electrodes)])
        self._is_io = np.isin(np.arange(electrodes), config.electrodes.io)

    @abstractmethod
    def _detector(self, settings: list[ChannelDetection], rate_hz: float) -> Detector[Number]: ...

    @abstractmethod
    def _circuits(self, channels: int) -> Microcircuit[Number]: ...

    def step(self, source: Source) -> ChipResponse[Number]:
        """One step in closed loop: `source` is asked once, for the F frames of the step.

        Parameters
        ----------
        source : callable
            See :data:`Source`.

        Returns
        -------
        ChipResponse
        """
        timing = self.timing
        first = self.steps * timing.frames_per_step
        on = self.stimulator.on_cycles(
            (first - 1) * timing.frame_cycles, timing.frames_per_step, timing.frame_cycles
        )
        return self._step(source(on / timing.frame_cycles))

    def process(self, samples: npt.ArrayLike) -> ChipResponse[Number]:
        """Many steps in open loop.

        Parameters
        ----------
        samples : array_like of int, shape (frames, electrodes)
            ADC counts of whole steps, at least one.

        Returns
        -------
        ChipResponse

        Raises
        ------
        ValueError
            If the shape does not fit, or a sample is outside ``formats.sample``.
        """
        given = np.asarray(samples)
        frames, electrodes = self.timing.frames_per_step, self.config.amplifier.electrodes
        if given.ndim != 2 or given.shape[1] != electrodes or not given.shape[0] or given.shape[0] % frames:
            raise ValueError(
                f"samples of shape {given.shape}: needs (frames, {electrodes}), frames a multiple of {frames}"
            )
        return ChipResponse.join(
            [self._step(given[start : start + frames]) for start in range(0, given.shape[0], frames)]
        )

    def _step(self, samples: npt.NDArray[Any]) -> ChipResponse[Number]:
        timing, electrodes = self.timing, self.config.electrodes
        frames = timing.frames_per_step
        first = self.steps * frames
        numbers = np.arange(first, first + frames)
        level = self.stimulator.blanked_at(numbers[:, None] * timing.frame_cycles + self._heard)
        hidden = level[:, 0]
        blanked = timing.counts_as_blanked(hidden)
        found = self.detector.process(samples, blanked=level & self._is_io)
        fired = np.array([at.size > 0 for at in found.samples]) & self._used
        pn, io = fired[list(electrodes.pn)], fired[list(electrodes.io)]
        response = self.circuits.process(
            pn.reshape(1, -1), io.reshape(1, -1), blanked=np.full((1, pn.size), blanked)
        )
        for circuit in np.flatnonzero(response.cr[0]):
            self.stimulator.trigger(timing.trigger_cycle(self.steps, int(circuit)))
        self.steps += 1
        pairs = [(frame, e) for e in np.flatnonzero(fired) for frame in found.samples[e]]
        return ChipResponse(
            detections=np.array(sorted(pairs), np.int64).reshape(-1, 2),
            blanked_frames=numbers[hidden],
            pn=pn.reshape(1, -1),
            io=io.reshape(1, -1),
            blanked=np.array([blanked]),
            cr=response.cr,
            weight=response.weight,
            recalibrations=response.recalibrations,
        )


class ChipFloat(Chip[np.float64]):
    """The chip with detection and microcircuits in double precision."""

    def _detector(self, settings: list[ChannelDetection], rate_hz: float) -> DetectorFloat:
        return DetectorFloat(self.config, settings, rate_hz)

    def _circuits(self, channels: int) -> MicrocircuitFloat:
        return MicrocircuitFloat(self.config, channels)


class ChipFixed(Chip[np.int64]):
    """The chip on raw words, bit for bit what the gateware does."""

    def _detector(self, settings: list[ChannelDetection], rate_hz: float) -> DetectorFixed:
        return DetectorFixed(self.config, settings, rate_hz)

    def _circuits(self, channels: int) -> MicrocircuitFixed:
        return MicrocircuitFixed(self.config, channels)
