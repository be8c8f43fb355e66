"""Raw training sessions: the samples of both electrodes, with the stimuli, as ``.npz``.

Source: Herreros et al. 2014, "Calibration of the cerebellar model": about 30 paired trials, then about two
minutes without stimuli. `thresholds` makes events of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..detection import events_in_steps
from ..events import Events, Steps
from ..files import FileError, atomic_write
from ..inputs import as_number, as_steps, check_ascending, load_entries
from .protocol import IO_QUALITY, PN_QUALITY, TRAINING, bernoulli_steps

__all__ = ["TrainingRecording", "synthetic_training"]

_COUNTS = np.iinfo(np.int16)
_MOST_BYTES = 512 << 20
"""Of a file, unpacked: an hour and a half at 25 kHz."""


@dataclass(frozen=True)
class TrainingRecording:
    """A training session as both electrodes recorded it.

    Attributes
    ----------
    pn_raw, io_raw : ndarray of int16, shape (samples,)
        ADC counts of the pontine nuclei and of the inferior olive.
    rate_hz : float
        Sample rate of both.
    cs, us : ndarray of int64
        Steps of the trial triggers.
    spontaneous_start : int
        Step where the trials end and the period without stimuli begins.

    Raises
    ------
    FileError
        If an entry is malformed; the message names it.
    """

    pn_raw: npt.NDArray[np.int16]
    io_raw: npt.NDArray[np.int16]
    rate_hz: float
    cs: Steps
    us: Steps
    spontaneous_start: int

    def __post_init__(self) -> None:
        if not self.pn_raw.size:
            raise FileError("pn_raw: has no samples")
        if self.pn_raw.size != self.io_raw.size:
            raise FileError(f"io_raw: has {self.io_raw.size} samples, pn_raw has {self.pn_raw.size}")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise FileError(f"rate_hz = {self.rate_hz:g}: must be above 0")
        for name in ("cs", "us"):
            check_ascending(name, getattr(self, name), None)

    def events(self, pn: Steps, io: Steps, config: ChipConfig) -> Events:
        """The session with these detections.

        Parameters
        ----------
        pn, io : ndarray of int64
            Sample index of each detection.
        config : ChipConfig
            Gives the step.

        Returns
        -------
        Events

        Raises
        ------
        FileError
            If a trigger is beyond the last sample; the message names the entry.
        """
        length = self.pn_raw.size
        (pn_steps, n_steps), (io_steps, _) = (
            events_in_steps(samples, length, self.rate_hz, config) for samples in (pn, io)
        )
        return Events(
            pn=pn_steps,
            io=io_steps,
            n_steps=n_steps,
            cs=self.cs,
            us=self.us,
            spontaneous_start=self.spontaneous_start,
        )

    @classmethod
    def load(cls, path: Path | str) -> TrainingRecording:
        """Read a raw training session.

        Raises
        ------
        FileError
            If the file or an entry is missing or malformed; the message names both.
        """
        names = ("pn_raw", "io_raw", "rate_hz", "cs", "us", "spontaneous_start")
        entries = load_entries(path, names, most=_MOST_BYTES)
        try:
            for name in names:
                if name not in entries:
                    raise FileError(f"{name}: entry is missing")
            return cls(
                pn_raw=_as_samples("pn_raw", entries["pn_raw"]),
                io_raw=_as_samples("io_raw", entries["io_raw"]),
                rate_hz=_as_rate("rate_hz", entries["rate_hz"]),
                cs=as_steps("cs", entries["cs"]),
                us=as_steps("us", entries["us"]),
                spontaneous_start=as_number("spontaneous_start", entries["spontaneous_start"]),
            )
        except FileError as error:
            raise FileError(f"{path}: {error}") from None

    def save(self, path: Path | str) -> None:
        """Write a raw training session; FileError if it cannot be written."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                pn_raw=self.pn_raw,
                io_raw=self.io_raw,
                rate_hz=np.float64(self.rate_hz),
                cs=self.cs,
                us=self.us,
                spontaneous_start=np.int64(self.spontaneous_start),
            )


def _as_samples(name: str, entry: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    samples = entry if entry.dtype == np.int16 and entry.ndim == 1 else as_steps(name, entry)
    if samples.size and (samples.min() < _COUNTS.min or samples.max() > _COUNTS.max):
        raise FileError(
            f"{name}: samples from {samples.min()} to {samples.max()}, limits are {_COUNTS.min} and "
            f"{_COUNTS.max}"
        )
    return samples.astype(np.int16)


def _as_rate(name: str, entry: npt.NDArray[Any]) -> float:
    if entry.size != 1 or entry.dtype.kind not in "iuf":
        raise FileError(f"{name}: must be one number, is {entry.dtype} of {entry.size}")
    return float(entry.item())


# --- a synthetic one ---------------------------------------------------------------------------

_NOISE_COUNTS = 300.0
"""Standard deviation of the background."""
_BURST_S = 0.006
"""Length of a response of the population."""


@dataclass(frozen=True)
class _Responses:
    """How strongly a population responds: the gain of its noise in a burst, log-normal."""

    evoked_gain: float
    spontaneous_gain: float
    spontaneous_hz: float
    spread: float = 0.35


_PN_RESPONSES = _Responses(evoked_gain=6.0, spontaneous_gain=2.0, spontaneous_hz=2.0)
_IO_RESPONSES = _Responses(evoked_gain=2.9, spontaneous_gain=3.0, spontaneous_hz=3.0)


def synthetic_training(
    config: ChipConfig, seed: int, *, rate_hz: float = 25000.0, spontaneous_s: float = 120.0
) -> TrainingRecording:
    """Noise whose variability rises in bursts: one in the window after each stimulus, others at any time.

    Gains of evoked and of spontaneous bursts overlap, so that each threshold trades true detections for
    false alarms.

    Parameters
    ----------
    config : ChipConfig
        Gives the step.
    seed : int
        Of the random generator; equal seeds give equal sessions.
    rate_hz : float
        Sample rate.
    spontaneous_s : float
        Length of the period without stimuli, after the paper's 30 trials.

    Returns
    -------
    TrainingRecording
    """
    stimuli = TRAINING.training(config, seed, spontaneous_s=spontaneous_s)
    assert stimuli.spontaneous_start is not None
    rng = np.random.default_rng(seed)
    n_samples = int(stimuli.n_steps * config.time.step_s * rate_hz)

    def channel(triggers: Steps, window_s: tuple[float, float], how: _Responses) -> npt.NDArray[np.int16]:
        latency = rng.uniform(window_s[0], window_s[1] - 2 * _BURST_S, triggers.size)
        evoked = np.floor((triggers * config.time.step_s + latency) * rate_hz).astype(np.int64)
        spontaneous = bernoulli_steps(n_samples, how.spontaneous_hz / rate_hz, rng)
        gain = np.ones(n_samples, np.float32)
        for starts, mean in ((evoked, how.evoked_gain), (spontaneous, how.spontaneous_gain)):
            for start, factor in zip(starts, mean * rng.lognormal(0, how.spread, starts.size), strict=True):
                burst = slice(start, start + round(_BURST_S * rate_hz))
                gain[burst] = np.maximum(gain[burst], factor)
        noise = _NOISE_COUNTS * gain * rng.standard_normal(n_samples, dtype=np.float32)
        return np.asarray(np.clip(np.rint(noise), _COUNTS.min, _COUNTS.max), np.int16)

    return TrainingRecording(
        pn_raw=channel(stimuli.cs, PN_QUALITY.window_s, _PN_RESPONSES),
        io_raw=channel(stimuli.us, IO_QUALITY.window_s, _IO_RESPONSES),
        rate_hz=rate_hz,
        cs=stimuli.cs,
        us=stimuli.us,
        spontaneous_start=stimuli.spontaneous_start,
    )
