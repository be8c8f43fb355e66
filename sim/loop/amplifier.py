"""The analogue side of the Intan RHD2000 amplifier chips: from electrodes to counts.

Source: the data sheet (see ``golden_model.amplifier``): a one-pole high-pass and a three-pole Butterworth
low-pass a channel, 192-fold gain into a 16-bit converter whose step is 0.195 µV at the electrode, 2.4
µVrms of input-referred noise, inputs linear to ±5 mV, and an optional digital high-pass ``s += (x - s) /
2**n`` on the counts. The data sheet does not say, and this model assumes: offsets are normal, fixed a
channel and added after the filters; noise is white before the filters and 2.4 µVrms after them whatever
the band; the signal clips between high-pass and low-pass; an amplifier without power or references gives
0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.signal

from ...golden_model.amplifier import RESULT_FORMAT, STEP_UV, decode_registers

__all__ = ["AnaloguePath"]

_NOISE_UV = 2.4
_OFFSET_UV = 50.0
_LINEAR_UV = 5000.0
_LOW_PASS_ORDER = 3
_RESPONSE_SAMPLES = 1 << 16


class AnaloguePath:
    """Electrodes, amplified, filtered and converted as the chips' registers say. Streaming: chunks join.

    Parameters
    ----------
    registers : sequence of sequence of int
        Registers 0 to 17 of each chip, as they are in the chip.
    rate_hz : float
        Samples a second of each electrode.
    electrodes : int
        On all chips, the same number each.
    seed : int
        Of noise and offsets.

    Attributes
    ----------
    settings : list of Settings
        What each chip makes of its registers.

    Raises
    ------
    ValueError
        If the electrodes do not divide among the chips, or registers are malformed.
    """

    def __init__(
        self, registers: Sequence[Sequence[int]], rate_hz: float, electrodes: int, seed: int
    ) -> None:
        chips = len(registers)
        if chips < 1 or electrodes < 1 or electrodes % chips or electrodes // chips > 32:
            raise ValueError(
                f"{electrodes} electrodes on {chips} chips: needs 1 to 32 on each, as many on all"
            )
        self.settings = [decode_registers(words, rate_hz) for words in registers]
        self._channels, self._electrodes = electrodes // chips, electrodes
        offsets, noise = np.random.SeedSequence(seed).spawn(2)
        self._offset_uv = _OFFSET_UV * np.random.default_rng(offsets).standard_normal(electrodes)
        self._noise = np.random.default_rng(noise)
        self._filters = [self._filter(s.low_hz, s.high_hz, rate_hz) for s in self.settings]
        self._noise_uv = np.repeat([_noise_at_input(*pair) for pair in self._filters], self._channels)
        self._states = [
            [np.zeros((len(sections), 2, self._channels)) for sections in pair] for pair in self._filters
        ]
        self._removed = [np.zeros((1, self._channels)) for _ in self.settings]

    @staticmethod
    def _filter(
        low_hz: float, high_hz: float, rate_hz: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """High-pass and low-pass; cutoffs beyond what the rate can show are held just below half of it."""
        most = 0.49 * rate_hz
        return (
            scipy.signal.butter(1, min(low_hz, most), "highpass", fs=rate_hz, output="sos"),
            scipy.signal.butter(_LOW_PASS_ORDER, min(high_hz, most), "lowpass", fs=rate_hz, output="sos"),
        )

    def convert(self, microvolts: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Counts of the next frames.

        Parameters
        ----------
        microvolts : array_like of float, shape (frames, electrodes)
            At the electrodes.

        Returns
        -------
        ndarray of int16, shape (frames, electrodes)
            Words as the chips send them.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        given = np.asarray(microvolts, np.float64)
        if given.ndim != 2 or given.shape[1] != self._electrodes:
            raise ValueError(f"electrodes of shape {given.shape}: needs (frames, {self._electrodes})")
        if not len(given):
            return np.zeros(given.shape, np.int16)
        noisy = given + self._noise_uv * self._noise.standard_normal(given.shape)
        codes = np.empty(given.shape, np.int16)
        for chip in range(len(self.settings)):
            columns = slice(chip * self._channels, (chip + 1) * self._channels)
            codes[:, columns] = self._convert(chip, noisy[:, columns], self._offset_uv[columns])
        return codes

    def _convert(
        self, chip: int, x: npt.NDArray[np.float64], offset_uv: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int16]:
        settings, states = self.settings[chip], self._states[chip]
        high_pass, low_pass = self._filters[chip]
        x, states[0] = scipy.signal.sosfilt(high_pass, x, axis=0, zi=states[0])
        x = np.clip(x, -_LINEAR_UV, _LINEAR_UV)
        x, states[1] = scipy.signal.sosfilt(low_pass, x, axis=0, zi=states[1])
        powered = np.array(settings.powered[: self._channels]) & settings.amplifying
        counts = _limited(np.rint(np.where(powered, x + offset_uv, 0.0) / STEP_UV))
        if settings.offset_removal_bits is not None:
            share = 2.0**-settings.offset_removal_bits
            # y = x - s with the s of before, then s += share·(x - s).
            counts, self._removed[chip] = scipy.signal.lfilter(
                [1.0, -1.0], [1.0, share - 1.0], counts, axis=0, zi=self._removed[chip]
            )
            counts = _limited(np.rint(counts))
        if settings.absolute:
            counts = _limited(np.abs(counts))
        words = counts.astype(np.int64)
        if not settings.twos_complement:
            words = words - RESULT_FORMAT.raw_min
        return words.astype(np.uint16).view(np.int16)


def _limited(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(counts, RESULT_FORMAT.raw_min, RESULT_FORMAT.raw_max)


def _noise_at_input(high_pass: npt.NDArray[np.float64], low_pass: npt.NDArray[np.float64]) -> float:
    """White noise that the filters leave 2.4 µVrms of."""
    impulse = np.zeros(_RESPONSE_SAMPLES)
    impulse[0] = 1.0
    response = scipy.signal.sosfilt(np.concatenate((high_pass, low_pass)), impulse)
    return float(_NOISE_UV / np.sqrt(np.sum(response**2)))
