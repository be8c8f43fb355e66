"""Synthetic spikes: the waveforms of single units and of complex spikes, and when they come.

Parts of ``preparation``. Waveforms are extracellular: a trough, then a smaller positive phase.

Sources: shape and duration of a complex spike, an initial spike of a climbing-fibre event and spikelets on
the
milliseconds after it, as in the recording of Markanday et al. 2020; refractory time of the olive, Llinás and
Yarom 1981.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.special

from ..compiled import compiled
from ..events import Steps
from .protocol import bernoulli_steps

__all__ = [
    "ComplexSpike",
    "Latency",
    "Units",
    "add_waveforms",
    "check_settings",
    "latencies",
    "refractory_events",
]

Waveforms = npt.NDArray[np.float64]

_TROUGH_S, _TROUGH_WIDTH_S = 3e-4, 1.2e-4
_PEAK_S, _PEAK_WIDTH_S, _PEAK_SHARE = 7e-4, 1.8e-4, 0.35
_SPIKE_S = 1.2e-3
"""Length of a simple spike."""
_VARIANTS = 64
"""Complex spikes to choose from."""


def check_settings(settings: object, name: str, limits: Mapping[str, tuple[float, float]]) -> None:
    """ValueError, naming field, value and limits, if one is outside or not finite.

    Parameters
    ----------
    settings : object
        A number, or a tuple of them, a field.
    name : str
        Of the settings, for the message.
    limits : mapping of str to (float, float)
        Least and greatest value of each field.
    """
    for entry, (least, greatest) in limits.items():
        value = getattr(settings, entry)
        for number in value if isinstance(value, tuple) else (value,):
            if not (math.isfinite(number) and least <= number <= greatest):
                raise ValueError(f"{name}.{entry} = {value}: limits are {least:g} and {greatest:g}")


def _spike(time_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An extracellular action potential that begins at 0, its trough -1; 0 before and 1.2 ms after."""
    trough = np.exp(-(((time_s - _TROUGH_S) / _TROUGH_WIDTH_S) ** 2))
    peak = np.exp(-(((time_s - _PEAK_S) / _PEAK_WIDTH_S) ** 2))
    inside = (time_s >= 0) & (time_s <= _SPIKE_S)
    return np.asarray(inside * (_PEAK_SHARE * peak - trough))


@dataclass(frozen=True)
class Units:
    """Neurons that one electrode hears: independent Poisson spike trains, each unit of its own size.

    Parameters
    ----------
    number : int
        Units, 0 to 1000.
    amplitude_uv : float
        Median of the spikes' troughs over the units, 0 or more.
    spread : float
        Standard deviation of the logarithm of the amplitude over the units, 0 to 2.
    rate_hz : float
        Spontaneous rate of each unit, 0 to 1000.
    response_hz : float
        What the height of a response adds to the rate of each unit, 0 to 1000.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    number: int
    amplitude_uv: float
    spread: float
    rate_hz: float
    response_hz: float

    def __post_init__(self) -> None:
        if self.number != int(self.number):
            raise ValueError(f"Units.number = {self.number}: must be whole")
        limits = {"number": (0, 1000), "amplitude_uv": (0, 1e4), "spread": (0, 2)}
        check_settings(self, "Units", limits | {"rate_hz": (0, 1000), "response_hz": (0, 1000)})

    def waveforms(self, rate_hz: float, rng: np.random.Generator) -> Waveforms:
        """Spikes in microvolts, shape (number, frames)."""
        time_s = np.arange(math.ceil(_SPIKE_S * rate_hz) + 1) / rate_hz
        amplitude = self.amplitude_uv * rng.lognormal(0, self.spread, self.number)
        return np.asarray(amplitude[:, None] * _spike(time_s))

    def spikes(
        self, response: npt.NDArray[np.float64], rate_hz: float, rng: np.random.Generator
    ) -> tuple[Steps, Steps]:
        """Draw the spikes of a stretch.

        Parameters
        ----------
        response : ndarray of float64, shape (n,)
            Strength of the population's response in each frame, 0 to 1.
        rate_hz : float
            Frames a second.
        rng : numpy.random.Generator
            Source of the randomness; must be used for nothing else.

        Returns
        -------
        (ndarray of int64, ndarray of int64)
            Frame and unit of each spike.
        """
        highest = self.rate_hz + self.response_hz * response.max()
        count = rng.poisson(self.number * highest * response.size / rate_hz)
        frame, unit = rng.integers(response.size, size=count), rng.integers(max(self.number, 1), size=count)
        kept = rng.random(count) * highest < self.rate_hz + self.response_hz * response[frame]
        return frame[kept], unit[kept]


@dataclass(frozen=True)
class ComplexSpike:
    """What one event of the inferior olive looks like on an electrode: all or none, 5 to 9 ms long.

    Parameters
    ----------
    amplitude_uv : float
        Mean of the trough of the initial spike.
    spread : float
        Standard deviation of an event's amplitude, as a share of it; amplitudes are normal, cut at two of
        them. spikelets : (int, int)
        Least and greatest number of spikelets.
    interval_s : (float, float)
        From one spike to the next, uniform.
    share : (float, float)
        Amplitude of a spikelet over that of the initial spike, uniform.

    Raises
    ------
    ValueError
        If a value is out of range, or a pair descends.
    """

    amplitude_uv: float = 240.0
    spread: float = 0.1
    spikelets: tuple[int, int] = (3, 4)
    interval_s: tuple[float, float] = (1.3e-3, 1.7e-3)
    share: tuple[float, float] = (0.45, 0.75)

    def __post_init__(self) -> None:
        limits = {"amplitude_uv": (0.0, 1e4), "spread": (0.0, 0.45), "spikelets": (0.0, 20.0)}
        limits |= {"interval_s": (1e-4, 0.01), "share": (0.0, 1.0)}
        check_settings(self, "ComplexSpike", limits)
        for name in ("spikelets", "interval_s", "share"):
            least, greatest = getattr(self, name)
            if least > greatest:
                raise ValueError(f"ComplexSpike.{name} = {(least, greatest)}: needs least <= greatest")

    def waveforms(self, rate_hz: float, rng: np.random.Generator) -> Waveforms:
        """Complex spikes to choose from, in microvolts, shape (64, frames)."""
        length_s = self.spikelets[1] * self.interval_s[1] + _SPIKE_S
        time_s = np.arange(math.ceil(length_s * rate_hz) + 1) / rate_hz
        drawn = []
        for _ in range(_VARIANTS):
            number = int(rng.integers(self.spikelets[0], self.spikelets[1] + 1))
            onsets = np.cumsum(rng.uniform(*self.interval_s, size=number))
            shares = rng.uniform(*self.share, size=number)
            size = self.amplitude_uv * (1 + self.spread * np.clip(rng.standard_normal(), -2, 2))
            spikelets = shares[:, None] * _spike(time_s - onsets[:, None])
            drawn.append(size * (_spike(time_s) + spikelets.sum(axis=0)))
        return np.array(drawn)


@dataclass(frozen=True)
class Latency:
    """From a stimulus to the onset of a response: gamma-distributed, cut at its limits.

    Parameters
    ----------
    mean_s, sd_s : float
        Of the distribution before it is cut.
    margin_s : float
        The latest onset comes this long before the end of the window of a true detection.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    mean_s: float
    sd_s: float
    margin_s: float = 0.015

    def __post_init__(self) -> None:
        check_settings(self, "Latency", {"mean_s": (1e-4, 10), "sd_s": (1e-4, 10), "margin_s": (0, 10)})


def latencies(
    size: int, how: Latency, window_s: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw latencies in seconds.

    Raises
    ------
    ValueError
        If hardly any would be within the limits.
    """
    first, last = window_s[0], window_s[1] - how.margin_s
    shape = (how.mean_s / how.sd_s) ** 2
    scale = how.mean_s / shape
    low, high = scipy.special.gammainc(shape, [max(first, 0) / scale, max(last, 0) / scale])
    if not high - low > 1e-3:
        raise ValueError(
            f"Latency = {how.mean_s:g} ± {how.sd_s:g} s: hardly ever from {first:g} to {last:g}, the limits"
        )
    drawn = scale * scipy.special.gammaincinv(shape, rng.uniform(low, high, size))
    return np.asarray(np.clip(drawn, first, last))


def refractory_events(
    n_frames: int,
    rate_hz: float,
    highest_hz: float,
    refractory_s: float,
    rates: Callable[[Steps], npt.NDArray[np.float64]],
    rng: np.random.Generator,
) -> Steps:
    """Events at a rate that may drift, never closer than the refractory time.

    A Poisson process of rate r/(1 - r·d) with dead time d has the mean rate r.

    Parameters
    ----------
    n_frames : int
        Length.
    rate_hz : float
        Frames a second.
    highest_hz : float
        Highest mean rate of events.
    refractory_s : float
        d; below one over `highest_hz`.
    rates : callable
        Mean rate in each of some frames.
    rng : numpy.random.Generator
        Source of the randomness.

    Returns
    -------
    ndarray of int64
        Frames, ascending.

    Raises
    ------
    ValueError
        If the refractory time leaves no room for the highest rate.
    """
    if highest_hz * refractory_s >= 1:
        limit = 1 / highest_hz
        raise ValueError(f"refractory time = {refractory_s:g}: below {limit:g}, one over the highest rate")
    highest = highest_hz / (1 - highest_hz * refractory_s)
    frames = bernoulli_steps(n_frames, highest / rate_hz, rng)
    mean = rates(frames)
    frames = frames[rng.random(frames.size) * highest < mean / (1 - mean * refractory_s)]
    dead, kept, free = round(refractory_s * rate_hz), [], 0
    for frame in frames.tolist():
        if frame >= free:
            kept.append(frame)
            free = frame + dead
    return np.array(kept, np.int64)


class Neighbourhood:
    """The near units of an electrode, and what their spikes add to it.

    Parameters
    ----------
    electrode : int
        Column of the frames.
    units : Units
    rate_hz : float
        Frames a second.
    rng : numpy.random.Generator
        Source of the randomness; must be used for nothing else.
    onsets : ndarray of int64, optional
        Frames in which responses of the population begin, ascending.
    course : ndarray of float64, optional
        Strength of a response over its frames, 0 to 1.

    Attributes
    ----------
    waveforms : ndarray of float64, shape (number, frames)
        Spike of each unit in microvolts.
    """

    def __init__(
        self,
        electrode: int,
        units: Units,
        rate_hz: float,
        rng: np.random.Generator,
        onsets: Steps | None = None,
        course: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.electrode, self.units, self.rate_hz = electrode, units, rate_hz
        self.waveforms = units.waveforms(rate_hz, rng)
        self._onsets = np.zeros(0, np.int64) if onsets is None else onsets
        self._course = np.zeros(0) if course is None else course
        self._rng = rng

    def add(self, frames: npt.NDArray[np.float64], start: int, n: int) -> None:
        """Add the spikes that begin in the next `n` frames.

        Parameters
        ----------
        frames : ndarray of float64, shape (n + length of a waveform or more, electrodes)
            Microvolts.
        start : int
            Number of its first frame in the session.
        n : int
            Each call goes on where the one before ended.
        """
        at, unit = self.units.spikes(self._response(start, n), self.rate_hz, self._rng)
        add_waveforms(frames, self.electrode, unit, self.waveforms, at)

    def _response(self, start: int, n: int) -> npt.NDArray[np.float64]:
        """How strongly the population responds in each frame; where two responses overlap, the stronger."""
        response, length = np.zeros(n), self._course.size
        first, last = np.searchsorted(self._onsets, [start - length, start + n])
        for onset in self._onsets[first:last] - start:
            begin, end = max(onset, 0), min(onset + length, n)
            part = response[begin:end]
            np.maximum(part, self._course[begin - onset : end - onset], out=part)
        return response


@compiled()
def add_waveforms(frames, column, which, waveforms, at):  # type: ignore[no-untyped-def]
    """``frames[at[i]:, column] += waveforms[which[i]]`` for each i, in this order."""
    for i in range(at.size):
        for k in range(waveforms.shape[1]):
            frames[at[i] + k, column] += waveforms[which[i], k]
