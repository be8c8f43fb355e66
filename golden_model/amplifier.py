"""The Intan RHD2000 amplifier chips: registers, command words, and when a frame's samples come.

Source: Intan Technologies, RHD2000 Series Digital Electrophysiology Interface Chips (data sheet of RHD2216
and RHD2132): command words, register fields, ADC and multiplexer bias, the two bandwidth tables, SPI timing.
Between the tables' entries, a bandwidth is decoded by the fit to the resistors that Intan publishes with its
interface software (``rhd2000registers.cpp``).

A chip answers a command two commands later. One that is told to convert samples its input where CS falls for
the next command, converts during that command, and sends the result during the one after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from .config import ChipConfig, ConfigError
from .fixed import SQ

__all__ = [
    "REGISTERS",
    "RESULT_FORMAT",
    "STEP_UV",
    "ChipId",
    "FrameTiming",
    "Rom",
    "Settings",
    "amplifier_registers",
    "calibrate_command",
    "clear_command",
    "convert_command",
    "decode_registers",
    "read_command",
    "write_command",
]

REGISTERS = 18
"""Writable registers, 0 to 17."""
RESULT_FORMAT = SQ(16, 0)
"""Of a conversion's result, in two's complement."""
STEP_UV = 0.195
"""Microvolts at the electrode of one count."""
CALIBRATION_DUMMIES = 9
"""Commands after CALIBRATE that only give it clock cycles."""
LIVENESS_READS = 2
"""Commands of a frame beside its conversions."""

_MAX_CONVERSIONS_HZ = 1.05e6
_MAX_SCLK_HZ = 24e6
_MIN_HALF_PERIOD_S = 20.8e-9
_MIN_CS_HIGH_S = 154e-9
_SETTLE_S = 100e-6
_ROUNDING = 1e-9


class ChipId(IntEnum):
    """Read-only register 63: which chip it is."""

    RHD2132 = 1
    RHD2216 = 2
    RHD2164 = 4


class Rom(IntEnum):
    """Read-only registers."""

    INTAN = 40  # to 44: the letters I, N, T, A, N
    MISO_MARKER = 59  # RHD2164 only: 53 on line A, 58 on line B
    DIE_REVISION = 60
    UNIPOLAR = 61
    AMPLIFIERS = 62
    CHIP_ID = 63


def convert_command(channel: int) -> int:
    """CONVERT: sample and convert an input."""
    return _addressed(0b00, channel)


def calibrate_command() -> int:
    """CALIBRATE: begin the self-calibration of the converter."""
    return 0x5500


def clear_command() -> int:
    """CLEAR: forget the calibration."""
    return 0x6A00


def write_command(register: int, data: int) -> int:
    """WRITE: the answer is 0xFF and the data."""
    if not 0 <= data < 256:
        raise ValueError(f"data = {data}: 0 to 255")
    return _addressed(0b10, register) | data


def read_command(register: int) -> int:
    """READ: the answer is 0x00 and the data."""
    return _addressed(0b11, register)


def _addressed(operation: int, address: int) -> int:
    if not 0 <= address < 64:
        raise ValueError(f"address = {address}: 0 to 63")
    return operation << 14 | address << 8


_UPPER: Mapping[float, tuple[int, int, int, int]] = {
    20000.0: (8, 0, 4, 0), 15000.0: (11, 0, 8, 0), 10000.0: (17, 0, 16, 0), 7500.0: (22, 0, 23, 0),
    5000.0: (33, 0, 37, 0), 3000.0: (3, 1, 13, 1), 2500.0: (13, 1, 25, 1), 2000.0: (27, 1, 44, 1),
    1500.0: (1, 2, 23, 2), 1000.0: (46, 2, 30, 3), 750.0: (41, 3, 36, 4), 500.0: (30, 5, 43, 6),
    300.0: (6, 9, 2, 11), 250.0: (42, 10, 5, 13), 200.0: (24, 13, 7, 16), 150.0: (44, 17, 8, 21),
    100.0: (38, 26, 5, 31),
}  # fmt: skip
"""Upper cutoff in Hz: RH1 DAC1, RH1 DAC2, RH2 DAC1, RH2 DAC2."""
_LOWER: Mapping[float, tuple[int, int, int]] = {
    500.0: (13, 0, 0), 300.0: (15, 0, 0), 250.0: (17, 0, 0), 200.0: (18, 0, 0), 150.0: (21, 0, 0),
    100.0: (25, 0, 0), 75.0: (28, 0, 0), 50.0: (34, 0, 0), 30.0: (44, 0, 0), 25.0: (48, 0, 0),
    20.0: (54, 0, 0), 15.0: (62, 0, 0), 10.0: (5, 1, 0), 7.5: (18, 1, 0), 5.0: (40, 1, 0), 3.0: (20, 2, 0),
    2.5: (42, 2, 0), 2.0: (8, 3, 0), 1.5: (9, 4, 0), 1.0: (44, 6, 0), 0.75: (49, 9, 0), 0.5: (35, 17, 0),
    0.3: (1, 40, 0), 0.25: (56, 54, 0), 0.1: (16, 60, 1),
}  # fmt: skip
"""Lower cutoff in Hz: RL DAC1, DAC2, DAC3."""
_BIAS = (
    (120e3, 32, 40), (140e3, 16, 40), (175e3, 8, 40), (220e3, 8, 32), (280e3, 8, 26), (350e3, 4, 18),
    (440e3, 3, 16), (525e3, 3, 7), (math.inf, 2, 4),
)  # fmt: skip
"""Conversions a second up to which: ADC buffer bias, multiplexer bias."""


def amplifier_registers(config: ChipConfig) -> tuple[int, ...]:
    """The words of registers 0 to 17 of every chip.

    Cutoffs are the nearest tabulated ones. The biases are those of the rate within a frame, where conversions
    follow back to back; that is higher than conversions a second on average.

    Parameters
    ----------
    config : ChipConfig

    Returns
    -------
    tuple of int

    Raises
    ------
    ConfigError
        If a cutoff is outside the data sheet's table, or :class:`FrameTiming` refuses the configuration.
    """
    amplifier = config.amplifier
    low, high = amplifier.bandwidth_hz
    r1_low, r1_high, r2_low, r2_high = _UPPER[_nearest("amplifier.bandwidth_hz, upper", high, _UPPER)]
    rl_low, rl_middle, rl_high = _LOWER[_nearest("amplifier.bandwidth_hz, lower", low, _LOWER)]
    timing = FrameTiming(config)
    conversions_hz = config.time.clock_hz / timing.command_cycles
    buffer_bias, multiplexer_bias = next(row[1:] for row in _BIAS if conversions_hz <= row[0])
    offset_removal = 0
    if amplifier.offset_removal_hz is not None:
        cutoffs = {_offset_removal_hz(bits, amplifier.rate_hz): bits for bits in range(1, 16)}
        cutoff = _nearest("amplifier.offset_removal_hz", amplifier.offset_removal_hz, cutoffs)
        offset_removal = 1 << 4 | cutoffs[cutoff]
    power = (1 << amplifier.channels) - 1
    return (
        0b11_0_1_11_10,  # no fast settle, references on; the rest as the data sheet says
        buffer_bias,  # supply sensor off
        multiplexer_bias,
        0b000_00_0_1_0,  # multiplexer load, temperature sensor off, auxiliary output high-impedance
        1 << 6 | offset_removal,  # two's complement; MISO released while CS is high; no absolute value
        0,  # impedance check off
        0,
        0,
        r1_low,  # resistors on the chip; its auxiliary inputs off
        r1_high,
        r2_low,
        r2_high,
        rl_low,
        rl_high << 6 | rl_middle,
        *(power >> shift & 0xFF for shift in (0, 8, 16, 24)),
    )


def _nearest(field: str, wanted: float, known: Mapping[float, object]) -> float:
    """The nearest of the known frequencies, on a logarithmic scale."""
    least, most = min(known), max(known)
    if not least <= wanted <= most:
        raise ConfigError(f"{field} = {wanted:g}: limits are {least:g} and {most:g}")
    return min(known, key=lambda frequency: abs(math.log(frequency / wanted)))


def _offset_removal_hz(bits: int, rate_hz: float) -> float:
    """Cutoff of the high-pass ``s += (x - s) / 2**bits``."""
    return -rate_hz * math.log1p(-(2.0**-bits)) / (2 * math.pi)


@dataclass(frozen=True)
class Settings:
    """What a chip makes of its registers.

    Attributes
    ----------
    low_hz, high_hz : float
        Cutoffs of the amplifiers.
    offset_removal_bits : int or None
        n of the on-chip high-pass ``s += (x - s) / 2**n``; None where it is off.
    offset_removal_hz : float or None
        Its cutoff.
    twos_complement, absolute : bool
        Format of the results.
    amplifying : bool
        References on and no fast settle.
    powered : tuple of bool
        Of each of 32 amplifiers.
    """

    low_hz: float
    high_hz: float
    offset_removal_bits: int | None
    offset_removal_hz: float | None
    twos_complement: bool
    absolute: bool
    amplifying: bool
    powered: tuple[bool, ...]


def decode_registers(registers: Sequence[int], rate_hz: float) -> Settings:
    """What registers 0 to 17 do; the reverse of :func:`amplifier_registers`, for any contents.

    Parameters
    ----------
    registers : sequence of int
        18 words of 8 bits.
    rate_hz : float
        Samples a second of each input.

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        If there are not 18 words of 8 bits.
    """
    if len(registers) != REGISTERS or not all(0 <= word < 256 for word in registers):
        raise ValueError(f"registers {list(registers)}: needs {REGISTERS} words of 8 bits")
    upper = (registers[8] & 0x3F, registers[9] & 0x1F, registers[10] & 0x3F, registers[11] & 0x1F)
    lower = (registers[12] & 0x7F, registers[13] & 0x3F, registers[13] >> 6 & 1)
    format_word = registers[4]
    bits = format_word & 0xF if format_word & 0x10 else None
    power = sum(word << 8 * index for index, word in enumerate(registers[14:18]))
    return Settings(
        low_hz=_lower_hz(lower),
        high_hz=_upper_hz(upper),
        offset_removal_bits=bits,
        # 2**0 passes differences only: no cutoff below the Nyquist frequency.
        offset_removal_hz=None
        if bits is None
        else _offset_removal_hz(bits, rate_hz)
        if bits
        else rate_hz / 2,
        twos_complement=bool(format_word & 0x40),
        absolute=bool(format_word & 0x20),
        amplifying=bool(registers[0] & 0x10) and not registers[0] & 0x20,
        powered=tuple(bool(power >> index & 1) for index in range(32)),
    )


def _upper_hz(dacs: tuple[int, int, int, int]) -> float:
    """The data sheet's cutoff, or where it has none that of Intan's fit, from both resistors."""
    for tabulated_hz, tabulated in _UPPER.items():
        if tabulated == dacs:
            return tabulated_hz
    first = 2200 + 600 * dacs[0] + 29400 * dacs[1]
    second = 8700 + 763 * dacs[2] + 38400 * dacs[3]
    return math.sqrt(
        _fitted_hz(first / 0.9730, 0.04767, -1.1892, 8.0968)
        * _fitted_hz(second / 1.0191, 0.03383, -1.0821, 8.1009)
    )


def _lower_hz(dacs: tuple[int, int, int]) -> float:
    """As :func:`_upper_hz`; the fit holds from 5.1 kΩ on."""
    for tabulated_hz, tabulated in _LOWER.items():
        if tabulated == dacs:
            return tabulated_hz
    resistor = max(3500 + 175 * dacs[0] + 12700 * dacs[1] + 3e6 * dacs[2], 5100)
    if resistor < 30000:
        return _fitted_hz(resistor / 1.0061, 0.08482, -0.5916, 4.7351)
    return _fitted_hz(resistor / 1.0061, 0.3303, -1.2100, 4.9873)


def _fitted_hz(ohm: float, a: float, b: float, c: float) -> float:
    """The frequency f for which ``log10(ohm) = a·x² + b·x + c``, with x = log10(f), on the falling branch."""
    root = math.sqrt(max(b * b - 4 * a * (c - math.log10(ohm)), 0.0))
    return float(10.0 ** ((-b - root) / (2 * a)))


class FrameTiming:
    """When, within a frame, the front end does what; in clock cycles, known without making it.

    A frame is a sample of every electrode. In its cycle 0 the first command begins; all follow back to back,
    one each `command_cycles`: CONVERT of inputs 0, 1, ..., then two READs. A command decided in cycle p is at
    the pins from cycle p + 1 on.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    half_period : int
        Half a period of SCLK; also from CS low to the first rising edge, and from the last falling edge to CS
        high.
    cs_high : int
        Between two commands.
    command_cycles : int
        From command to command.
    frame_cycles, frames_per_step : int
        L and F.
    delay_cycles : int
        Longest delay from SCLK to MISO that is allowed for: two bits.
    delay_settings : int
        Number of delays that the set-up tries, 0 upwards.
    answer_cycle : int
        Cycle of a command in which the answer to the one two before is complete, whatever the cable's delay.
    first_result_cycle : int
        Cycle of a frame in which its first result is at `samples`.
    last_conversion_cycle : int
        Cycle of a frame in which its last sample is taken from the electrodes.
    active_cycles : int
        Cycles of a frame until its last command has ended; from then on SPI is silent.
    settle_cycles : int
        The 100 µs from power-up to the first command, and from the last register to CALIBRATE.

    Raises
    ------
    ConfigError
        If a frame is no whole number of cycles or a step no whole number of frames, the commands do not fit
        into a frame, or there are more conversions a second than the chip can do.
    """

    def __init__(self, config: ChipConfig) -> None:
        clock_hz, amplifier = config.time.clock_hz, config.amplifier
        rate_hz = amplifier.rate_hz
        self._channels, self._electrodes = amplifier.channels, amplifier.electrodes
        self._commands = amplifier.channels + LIVENESS_READS
        self.frame_cycles = _whole(
            clock_hz / rate_hz, f"time.clock_hz = {clock_hz:g}", f"cycles a frame at {rate_hz:g} Hz"
        )
        self.frames_per_step = _whole(
            config.time.step_s * rate_hz, f"amplifier.rate_hz = {rate_hz:g}",
            f"frames a step of {config.time.step_s:g} s",
        )  # fmt: skip
        conversions_hz = self._commands * rate_hz
        if conversions_hz > _MAX_CONVERSIONS_HZ:
            raise ConfigError(
                f"amplifier.channels = {amplifier.channels} at {rate_hz:g} Hz: {conversions_hz:g} commands a "
                f"second, limit is {_MAX_CONVERSIONS_HZ:g}"
            )
        self.half_period = half = max(
            _cycles(_MIN_HALF_PERIOD_S, clock_hz), _cycles(1 / (2 * _MAX_SCLK_HZ), clock_hz)
        )
        self.delay_cycles = 4 * half
        self.delay_settings = 6 * half
        # The last bit, a registered input and the longest delay; then the answers of all chips, one a cycle.
        self.answer_cycle = 30 * half + self.delay_settings + 2
        self.command_cycles = max(
            33 * half + _cycles(_MIN_CS_HIGH_S, clock_hz),
            _cycles(1 / _MAX_CONVERSIONS_HZ, clock_hz),
            self.answer_cycle + 1 + amplifier.chips,
        )
        self.cs_high = self.command_cycles - 33 * half
        self.active_cycles = self._commands * self.command_cycles
        if self.active_cycles > self.frame_cycles:
            least = math.ceil(self.active_cycles * rate_hz)
            raise ConfigError(
                f"time.clock_hz = {clock_hz:g}: a frame has {self.frame_cycles} cycles, its {self._commands} "
                f"commands take {self.active_cycles}, limit is about {least:g}"
            )
        self.first_result_cycle = self.result_cycle(0)
        self.last_conversion_cycle = self.conversion_cycle(self._channels - 1)
        self.settle_cycles = _cycles(_SETTLE_S, clock_hz)

    def conversion_cycle(self, electrode: int) -> int:
        """Cycle of a frame in which CS falls at the pins and the electrode is sampled."""
        return (self._channel(electrode) + 1) * self.command_cycles + 1

    def result_cycle(self, electrode: int) -> int:
        """Cycle of a frame in which an electrode's result is at `samples`, if each is taken at once."""
        chip = electrode // self._channels
        return (self._channel(electrode) + 2) * self.command_cycles + self.answer_cycle + 1 + chip

    def _channel(self, electrode: int) -> int:
        if not 0 <= electrode < self._electrodes:
            raise ValueError(f"electrode = {electrode}: 0 to {self._electrodes - 1}")
        return electrode % self._channels


def _cycles(seconds: float, clock_hz: float) -> int:
    """A duration in clock cycles, never shorter, at least 1."""
    return max(math.ceil(seconds * clock_hz - _ROUNDING), 1)


def _whole(number: float, field: str, what: str) -> int:
    whole = round(number)
    if whole < 1 or abs(number - whole) > 1e-6:
        raise ConfigError(f"{field}: {number:g} {what}, must be a whole number")
    return whole
