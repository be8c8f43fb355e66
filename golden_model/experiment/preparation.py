"""The virtual preparation: what electrodes in pontine nuclei and inferior olive see, in a closed loop.

An anaesthetised rat in an eye-blink experiment, streaming, seeded: for each frame (one sample of every
electrode) the electrodes' voltages, given what the stimulation did in the frame before.

- *PN*: a few units, almost silent. A response of the population, evoked by the CS with the probability that
  the protocol calls its TDR, or spontaneous at its FAR, makes all of them fire: bursts of some tens of
  milliseconds.
- *IO*: complex spikes, all or none: a large spike and spikelets. Spontaneous ones have a refractory time;
  the US evokes one with the protocol's TDR, less where the eyelid is closed:
  p = TDR·(1 - protection·closure).
- *Stimulation*: an artefact u·(d + s₁f₁ + s₂f₂) of the drive d = anodic - cathodic, where f₁ and f₂
  follow d with two time constants (what is left on an electrode after the pulse); the eyelid follows the
  cathodic phase after a latency, through a critically damped low-pass, and saturates where it is closed.

With the paper's numbers the default detector finds its numbers again (see docs/blocks/preparation.md).

Sources: Herreros et al. 2014, "Experimental protocol", "Signal processing", figures 9 to 12, and the
artefact that made them mask the IO; windows, TDR and FAR of ``protocol``.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..compiled import compiled
from ..config import ChipConfig, ConfigError
from ..detection import DetectorFloat
from ..events import MAX_STEPS, Steps
from .preparation_settings import Artefact, Eyelid, PreparationSettings
from .protocol import Protocol
from .spikes import Neighbourhood, add_waveforms, latencies, refractory_events

__all__ = ["Artefact", "Eyelid", "Preparation", "PreparationSettings"]

Microvolts = npt.NDArray[np.float64]

_BLOCK = 8192
"""Frames that are drawn at once."""
_COUNT_UV = 0.195
"""One count of the amplifier, for the search for complex spikes in a recording."""
_BEFORE_S, _AFTER_S, _FADE_S = 0.004, 0.008, 0.001
"""What is cut out of a recording around a detection."""
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Of a recording, from where one microcircuit begins to where the next one does: any number of them is well
apart."""
_PN_EVENTS, _IO_EVENTS, _NOISE, _PN_UNITS, _IO_UNITS = range(5)
"""Streams of randomness."""
_US, _EVOKED, _SPONTANEOUS = range(3)
"""What waits for its frame."""


class _Follow(NamedTuple):
    """How artefact and eyelid follow the pulses: shares of the distance that a frame covers, and sizes."""

    decay: float
    tail: float
    eyelid: float
    decay_share: float
    tail_share: float
    eyelid_gain: float


_RESPONSE = np.dtype(
    [
        ("decay", np.float64),  # of the artefact
        ("tail", np.float64),
        ("first", np.float64),  # the two poles of the eyelid
        ("second", np.float64),
        ("closure", np.float64),
    ]
)
"""What a frame of the response to the stimulation goes on from."""
"""Of the states of :func:`_record`."""


class Preparation:
    """A session's electrodes, in closed loop with the stimulation.

    Parameters
    ----------
    config : ChipConfig
        Gives the step, the amplifier's rate and band, and which electrode is whose. Microcircuits share the
        stimuli and have noise, units and events of their own; an electrode that is nobody's has noise alone.
    protocol : Protocol
        Trials, TDR, FAR, windows, drift of the IO rate.
    seed : int
        Equal seeds give equal sessions, with the stimuli that `protocol` gives for this seed.
    settings : PreparationSettings
    spontaneous_s : float
        Length of a period without stimuli after the trials, as at the end of a training session.
    io_background : ndarray of float64, shape (samples,), optional
        A recording in microvolts at the amplifier's rate, repeated without end, in place of noise, units and
        spontaneous complex spikes of the IO electrodes. Evoked ones are copies of those that the detector of
        the IO finds in it, or, where it finds none, those of the settings. Microcircuits begin at different
        places, each of them the golden ratio of the recording's length after the one before.

    Attributes
    ----------
    n_frames, n_steps, frames_per_step, electrodes : int
        Length of the session, in frames and in steps; frames of a step; electrodes of a frame.
    frames : int
        Recorded so far.
    cs, us : ndarray of int64
        Steps of the stimuli.
    trials : sequence of Trial
    spontaneous_start : int
        Step where the trials end.

    Raises
    ------
    ConfigError
        If a step is not a whole number of frames.
    ValueError
        If settings, protocol and background do not fit together; the message names the value.
    """

    def __init__(
        self,
        config: ChipConfig,
        protocol: Protocol,
        seed: int,
        *,
        settings: PreparationSettings | None = None,
        spontaneous_s: float = 0.0,
        io_background: npt.ArrayLike | None = None,
    ) -> None:
        self.config, self.protocol, self.seed = config, protocol, seed
        self.settings = PreparationSettings() if settings is None else settings
        self.rate_hz = rate_hz = config.amplifier.rate_hz
        self.frames_per_step = round(config.time.step_s * rate_hz)
        if not math.isclose(self.frames_per_step, config.time.step_s * rate_hz) or not self.frames_per_step:
            raise ConfigError(
                f"amplifier.rate_hz = {rate_hz:g}: {config.time.step_s * rate_hz:g} frames a step, "
                "must be whole"
            )
        if not 0 <= spontaneous_s < math.inf:
            raise ValueError(f"spontaneous_s = {spontaneous_s:g}: must be 0 or more")
        stimuli = protocol.stimuli(config, np.random.default_rng(seed))
        self.cs, self.us, self.trials = stimuli.cs, stimuli.us, protocol.trials
        self.spontaneous_start = stimuli.n_steps
        self.n_steps = stimuli.n_steps + config.steps(spontaneous_s)
        if self.n_steps > MAX_STEPS:
            raise ValueError(f"session of {self.n_steps} steps: limit is {MAX_STEPS}")
        self.n_frames = self.n_steps * self.frames_per_step
        self.electrodes = config.amplifier.electrodes
        self.frames = 0
        self._background = _background(io_background)
        self._draw_pn()
        self._draw_io()
        self._make_noise()
        self._make_response()

    def _rng(self, stream: int, index: int) -> np.random.Generator:
        """A generator of its own for each stream, none of them that of the stimuli."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, index)))

    # --- what is drawn ahead ---------------------------------------------------------------------

    def _draw_pn(self) -> None:
        """All responses of the PN, and the course of one."""
        how, pn = self.settings, self.protocol.pn
        self._evoked_pn: list[Steps] = []
        self._spontaneous_pn: list[Steps] = []
        for circuit in range(len(self.config.electrodes.pn)):
            rng = self._rng(_PN_EVENTS, circuit)
            latency = latencies(self.cs.size, how.pn_latency, pn.window_s, rng)
            onset = self.cs * self.frames_per_step + np.rint(latency * self.rate_hz).astype(np.int64)
            # In the order of frames: after stimuli close to each other the later response may begin first.
            self._evoked_pn.append(np.sort(onset[rng.random(onset.size) < pn.tdr]))
            self._spontaneous_pn.append(
                refractory_events(self.n_frames, self.rate_hz, pn.far_hz, 0.0, self._pn_rates, rng)
            )
        knots = np.cumsum([0.0, *how.pn_response_s]) * self.rate_hz
        self._course = np.interp(np.arange(math.ceil(knots[-1]) + 1), knots, [0.0, 1.0, 1.0, 0.0])

    def _draw_io(self) -> None:
        """Spontaneous complex spikes; whether and when the US would evoke one."""
        how, io = self.settings, self.protocol.io
        highest = max(self.protocol.io_drift_hz, default=io.far_hz)
        self._complex_spikes: list[Microvolts] = []
        self._willing: list[npt.NDArray[np.float64]] = []
        self._io_latency: list[Steps] = []
        self._spontaneous_io: list[list[int]] = []
        self._evoked_io: list[list[int]] = []
        recorded = np.zeros((0, 0))
        if self._background is not None:
            recorded = _complex_spikes_in(self._background, self.config)
        # Frame, kind, circuit, which: handled in this order.
        self._queue = [(int(step) * self.frames_per_step, _US, 0, i) for i, step in enumerate(self.us)]
        for circuit in range(len(self.config.electrodes.io)):
            rng = self._rng(_IO_EVENTS, circuit)
            drawn = how.complex_spike.waveforms(self.rate_hz, rng)
            self._complex_spikes.append(recorded if recorded.size else drawn)
            latency = latencies(self.us.size, how.io_latency, io.window_s, rng)
            self._io_latency.append(np.rint(latency * self.rate_hz).astype(np.int64))
            self._willing.append(rng.random(self.us.size))
            self._spontaneous_io.append([])
            self._evoked_io.append([])
            if self._background is None:
                spontaneous = refractory_events(
                    self.n_frames, self.rate_hz, highest, how.io_refractory_s, self._io_rates, rng
                )
                self._queue += [(int(at), _SPONTANEOUS, circuit, i) for i, at in enumerate(spontaneous)]
        self._refractory_until = [0] * len(self.config.electrodes.io)
        heapq.heapify(self._queue)

    def _pn_rates(self, frames: Steps) -> npt.NDArray[np.float64]:
        return np.full(frames.size, self.protocol.pn.far_hz)

    def _io_rates(self, frames: Steps) -> npt.NDArray[np.float64]:
        return self.protocol.io_rate_hz(frames // self.frames_per_step, self.cs, self.spontaneous_start)

    # --- blocks ----------------------------------------------------------------------------------

    def _make_noise(self) -> None:
        how, amplifier = self.settings, self.config.amplifier
        low, high = amplifier.bandwidth_hz
        if high > self.rate_hz / 2:
            raise ConfigError(f"amplifier.bandwidth_hz = {low:g} to {high:g}: limit is {self.rate_hz / 2:g}")
        self._noise_uv = how.background_uv * math.sqrt(self.rate_hz / 2 / (high - low))
        self._noise = [self._rng(_NOISE, electrode) for electrode in range(self.electrodes)]
        near = self._near = list[Neighbourhood]()
        for circuit, electrode in enumerate(self.config.electrodes.pn):
            rng = self._rng(_PN_UNITS, circuit)
            onsets = np.sort(np.concatenate([self._evoked_pn[circuit], self._spontaneous_pn[circuit]]))
            near.append(Neighbourhood(electrode, how.pn_units, self.rate_hz, rng, onsets, self._course))
        for circuit, electrode in enumerate(self.config.electrodes.io):
            rng = self._rng(_IO_UNITS, circuit)
            if self._background is None:
                near.append(Neighbourhood(electrode, how.io_units, self.rate_hz, rng))
        waveforms = [*self._complex_spikes, *(each.waveforms for each in near)]
        self._tail = max(each.shape[1] for each in waveforms)
        self._buffer = np.zeros((_BLOCK + self._tail, self.electrodes))
        self._boundary = self._block_end = 0

    def _next_block(self) -> None:
        """Everything that does not depend on the stimulation, for the next block of frames."""
        buffer, start = self._buffer, self.frames
        buffer[: self._tail] = buffer[_BLOCK:]
        buffer[self._tail :] = 0
        io = self.config.electrodes.io
        for electrode, rng in enumerate(self._noise):
            if self._background is not None and electrode in io:
                size = self._background.size
                first = start + int(io.index(electrode) * _GOLDEN % 1 * size)
                buffer[:_BLOCK, electrode] += self._background[np.arange(first, first + _BLOCK) % size]
            else:
                buffer[:_BLOCK, electrode] += self._noise_uv * rng.standard_normal(_BLOCK)
        for near in self._near:
            near.add(buffer, start, _BLOCK)
        self._block_end = start + _BLOCK

    def _pass_boundary(self) -> None:
        """What begins with the next frame: a block, a US, complex spikes."""
        if self.frames == self._block_end:
            self._next_block()
        queue = self._queue
        while queue and queue[0][0] == self.frames:
            _, kind, circuit, which = heapq.heappop(queue)
            if kind == _US:
                self._present_us(which)
            elif kind == _EVOKED:
                self._add_complex_spike(circuit, which)
                self._evoked_io[circuit].append(self.frames)
            elif self.frames >= self._refractory_until[circuit]:
                # From the other end: a US and a spontaneous event of one number do not look the same.
                self._add_complex_spike(circuit, -1 - which)
                self._spontaneous_io[circuit].append(self.frames)
        self._boundary = min(self._block_end, queue[0][0]) if queue else self._block_end

    def _present_us(self, which: int) -> None:
        """Evoke, or do not evoke, a complex spike in each microcircuit; the eyelid may be in the way."""
        closure = float(self._state["closure"][0])
        probability = self.protocol.io.tdr * (1 - self.settings.eyelid.protection * closure)
        for circuit, willing in enumerate(self._willing):
            if willing[which] < probability:
                at = self.frames + int(self._io_latency[circuit][which])
                heapq.heappush(self._queue, (at, _EVOKED, circuit, which))
                quiet = at + round(self.settings.io_refractory_s * self.rate_hz)
                self._refractory_until[circuit] = max(self._refractory_until[circuit], quiet)

    def _add_complex_spike(self, circuit: int, which: int) -> None:
        waveforms = self._complex_spikes[circuit]
        variant, at = np.array([which % len(waveforms)]), np.array([self.frames - self._block_end + _BLOCK])
        add_waveforms(self._buffer, self.config.electrodes.io[circuit], variant, waveforms, at)

    # --- the response to the stimulation ---------------------------------------------------------

    def _make_response(self) -> None:
        artefact, eyelid = self.settings.artefact, self.settings.eyelid
        frame_s = 1 / self.rate_hz
        self._follow = _Follow(
            decay=-math.expm1(-frame_s / artefact.decay_s),
            tail=-math.expm1(-frame_s / artefact.tail_s),
            eyelid=-math.expm1(-frame_s / eyelid.time_constant_s),
            decay_share=artefact.decay_share,
            tail_share=artefact.tail_share,
            eyelid_gain=eyelid.gain,
        )
        self._artefact_uv = np.zeros(self.electrodes)
        self._artefact_uv[list(self.config.electrodes.pn)] = artefact.pn_uv
        self._artefact_uv[list(self.config.electrodes.io)] = artefact.io_uv
        self._state = np.zeros(1, _RESPONSE)
        self._late = np.zeros(round(eyelid.latency_s * self.rate_hz))
        self._eyelid = np.zeros(self.n_steps)

    def record(self, on: npt.ArrayLike) -> Microvolts:
        """The next frames.

        Parameters
        ----------
        on : array_like of float, shape (n, 2)
            For each frame, the share of the frame before it in which the cathodic and the anodic output
            were on.

        Returns
        -------
        ndarray of float64, shape (n, electrodes)
            Microvolts. The same, bit for bit, however a session is divided into calls.

        Raises
        ------
        ValueError
            If the shape does not fit, a share is not from 0 to 1, or the session is shorter.
        """
        shares = np.ascontiguousarray(on, np.float64)
        if shares.ndim != 2 or shares.shape[1] != 2:
            raise ValueError(f"on of shape {shares.shape}: needs (frames, 2)")
        if not _are_shares(shares):
            raise ValueError("on: must be shares from 0 to 1")
        n = shares.shape[0]
        if self.frames + n > self.n_frames:
            raise ValueError(f"frames = {self.frames + n}: limit is {self.n_frames}, the session's")
        recorded = np.empty((n, self.electrodes))
        done = 0
        while done < n:
            if self.frames == self._boundary:
                self._pass_boundary()
            stop = min(n, done + self._boundary - self.frames)
            at = self.frames - self._block_end + _BLOCK
            _record(
                shares, recorded, done, stop, self._buffer, at, self.frames, self._state, self._follow,
                self._artefact_uv, self._late, self._eyelid, self.frames_per_step,
            )  # fmt: skip
            self.frames += stop - done
            done = stop
        return recorded

    # --- ground truth ----------------------------------------------------------------------------

    def _so_far(self, events: list[Steps]) -> tuple[Steps, ...]:
        return tuple(frames[: np.searchsorted(frames, self.frames)] for frames in events)

    @property
    def evoked_pn(self) -> tuple[Steps, ...]:
        """Frames in which evoked responses of the PN began so far, an array a microcircuit."""
        return self._so_far(self._evoked_pn)

    @property
    def spontaneous_pn(self) -> tuple[Steps, ...]:
        """Frames in which spontaneous responses of the PN began so far, an array a microcircuit."""
        return self._so_far(self._spontaneous_pn)

    @property
    def evoked_io(self) -> tuple[Steps, ...]:
        """Frames in which evoked complex spikes began so far, an array a microcircuit."""
        return tuple(np.array(frames, np.int64) for frames in self._evoked_io)

    @property
    def spontaneous_io(self) -> tuple[Steps, ...]:
        """The same of spontaneous ones; those of a recording as background are not known."""
        return tuple(np.array(frames, np.int64) for frames in self._spontaneous_io)

    @property
    def eyelid(self) -> npt.NDArray[np.float64]:
        """Closure at the end of each step so far, 0 (open) to 1."""
        return self._eyelid[: self.frames // self.frames_per_step].copy()


def _background(given: npt.ArrayLike | None) -> Microvolts | None:
    if given is None:
        return None
    background = np.array(given, np.float64)
    if background.ndim != 1 or not background.size or not np.isfinite(background).all():
        raise ValueError(f"io_background of shape {background.shape}: needs (samples,), all finite")
    return background


def _complex_spikes_in(background: Microvolts, config: ChipConfig) -> Microvolts:
    """Those that the detector of the IO finds in a recording, faded in and out, shape (found, frames)."""
    fmt, rate_hz = config.formats.sample, config.amplifier.rate_hz
    counts = np.clip(np.rint(background / _COUNT_UV), fmt.raw_min, fmt.raw_max).astype(np.int64)
    found = DetectorFloat(config, config.detection.io, rate_hz).process(counts).samples[0]
    before, after, fade = (round(seconds * rate_hz) for seconds in (_BEFORE_S, _AFTER_S, _FADE_S))
    whole = found[(found >= before) & (found + after <= background.size)]
    ramp = (1 - np.cos(np.pi * (np.arange(fade) + 0.5) / fade)) / 2
    window = np.concatenate([ramp, np.ones(before + after - 2 * fade), ramp[::-1]])
    return np.asarray(window * background[whole[:, None] + np.arange(-before, after)])


@compiled()
def _are_shares(on):  # type: ignore[no-untyped-def]
    wrong = 0
    for i in range(on.shape[0]):
        if not (0 <= on[i, 0] <= 1 and 0 <= on[i, 1] <= 1):  # NaN is none either
            wrong += 1
    return wrong == 0


@compiled()
def _record(  # type: ignore[no-untyped-def]
    on, recorded, start, stop, buffer, at, frame, states, follow, artefact_uv, late, eyelid, per_step
):  # fmt: skip
    """Frames `start` to `stop` of a call, in place: the block's voltages, artefact, eyelid.

    ``states[0]`` is a :data:`_RESPONSE`; `late` are the cathodic shares of the latency's frames.
    """
    state = states[0]
    decay, tail, first, second, closure = state.decay, state.tail, state.first, state.second, state.closure
    for i in range(start, stop):
        drive = on[i, 1] - on[i, 0]
        decay += (drive - decay) * follow.decay
        tail += (drive - tail) * follow.tail
        artefact = drive + follow.decay_share * decay + follow.tail_share * tail
        for electrode in range(recorded.shape[1]):
            recorded[i, electrode] = buffer[at, electrode] + artefact_uv[electrode] * artefact
        pulse = on[i, 0]
        if late.size > 0:
            slot = frame % late.size
            pulse, late[slot] = late[slot], on[i, 0]
        first += (pulse - first) * follow.eyelid
        second += (first - second) * follow.eyelid
        closure = min(follow.eyelid_gain * second, 1.0)
        at += 1
        frame += 1
        if frame % per_step == 0:
            eyelid[frame // per_step - 1] = closure
    state.decay = decay
    state.tail = tail
    state.first = first
    state.second = second
    state.closure = closure
