"""What a configuration's formats cannot represent: refused with field, value and limit, or warned about."""

from __future__ import annotations

import math
import warnings

from .fixed import QFormat, quantize
from .recalibration import (
    SIGNIFICANT_BITS,
    WORK_CYCLES,
    RecalibrationFixed,
    RecalibrationFloat,
    Status,
    accumulator_format,
    check_round,
    coefficient_words,
    evaluation_cycles,
)
from .sections import check_magnitudes
from .settings import ChipSettings

__all__ = ["WARNED_ERROR", "PrecisionWarning", "check_representable"]

_REFUSED_ERROR = 0.01
"""A parameter whose quantised value is off by more than this share is refused ..."""
WARNED_ERROR = 0.001
"""... and by more than this share, warned about."""
_ACCUMULATOR_BITS = 62
"""Bits that the fixed-point model's 64-bit integers leave for a product or a sum."""
_WORD_BITS = 48
"""Bits that the record of a simulation has for w and for T."""
_LONGEST_PERIOD = 2**23
"""Steps of a recalibration period, at most: 4.6 hours at 2 ms."""
_SUM_BITS = 59
"""Bits of δ on the scale of w, so that w + δp - δd fits the accumulator."""


class PrecisionWarning(UserWarning):
    """A configuration that works, with a parameter visibly off its real value."""


def check_representable(config: ChipSettings) -> None:
    """Check durations, formats, and every value in its format.

    Raises
    ------
    ValueError
        One line that names field, value and limit. What only loses precision is a
        :class:`PrecisionWarning`.
    """
    _check_durations(config)
    check_magnitudes(config)
    _check_formats(config)
    _check_microcircuit(config)
    _check_electrodes(config)
    _check_detection(config)
    _check_recalibration(config)


def _check_durations(config: ChipSettings) -> None:
    for field, seconds, least in (
        ("trace.duration_s", config.trace.duration_s, 1),
        ("noi.delay_s", config.noi.delay_s, 0),
        ("eligibility.delay_s", config.eligibility.delay_s, 0),
    ):
        steps = seconds / config.time.step_s
        if not steps <= 65535.5:  # infinity too
            raise ValueError(f"{field} = {seconds:g}: {steps:g} steps, limits are {least} and 65535")
        if abs(steps - round(steps)) > 1e-6 * max(steps, 1.0):
            raise ValueError(
                f"{field} = {seconds:g}: {steps:.6g} steps of time.step_s = {config.time.step_s:g}, "
                "must be a whole number"
            )
        if round(steps) < least:
            raise ValueError(f"{field} = {seconds:g}: {round(steps)} steps, limits are {least} and 65535")
    for name, channel in (("pn", config.detection.pn), ("io", config.detection.io)):
        if channel.refractory_s < config.time.step_s:
            raise ValueError(
                f"detection.{name}.refractory_s = {channel.refractory_s:g}: at least one step, "
                f"time.step_s = {config.time.step_s:g}, so that no step holds two events"
            )


def _check_formats(config: ChipSettings) -> None:
    formats = config.formats
    if formats.trace.signed or formats.threshold.signed:
        raise ValueError("formats.trace, formats.threshold: unsigned only, use UQ(...)")
    if formats.potentiation.signed or formats.depression.signed:
        raise ValueError("formats.potentiation, formats.depression: unsigned only, use UQ(...)")
    for name, fmt in (("weight", formats.weight), ("trace", formats.trace)):
        if fmt.width > _WORD_BITS:
            raise ValueError(f"formats.{name} = {fmt}: {fmt.width} bits, limit is {_WORD_BITS}")
    width = formats.weight.width + formats.trace.width
    if width > _ACCUMULATOR_BITS:
        raise ValueError(
            f"formats.weight, formats.trace: their product has {width} bits, limit is {_ACCUMULATOR_BITS}"
        )
    if formats.threshold.fraction_bits > config.scaled_format.fraction_bits:
        raise ValueError(
            f"formats.threshold = {formats.threshold}: more fraction bits than w*T has, "
            f"limit is {config.scaled_format.fraction_bits}"
        )
    if formats.threshold.integer_bits + config.scaled_format.fraction_bits > _ACCUMULATOR_BITS:
        raise ValueError(
            f"formats.threshold = {formats.threshold}: too wide on the scale of w*T, limit is "
            f"{_ACCUMULATOR_BITS - config.scaled_format.fraction_bits} integer bits"
        )
    for name, fmt in (("potentiation", formats.potentiation), ("depression", formats.depression)):
        if fmt.fraction_bits > formats.weight.fraction_bits:
            raise ValueError(
                f"formats.{name} = {fmt}: finer than w, limit is the "
                f"{formats.weight.fraction_bits} fraction bits of formats.weight"
            )
        if fmt.integer_bits + formats.weight.fraction_bits > _SUM_BITS:
            raise ValueError(
                f"formats.{name} = {fmt}: too wide on the scale of w, limit is "
                f"{_SUM_BITS - formats.weight.fraction_bits} integer bits"
            )


def _check_microcircuit(config: ChipSettings) -> None:
    formats = config.formats
    if not config.trace.start > config.trace.end:
        raise ValueError(
            f"trace.end = {config.trace.end:g}: must be below trace.start = {config.trace.start:g}"
        )
    _check_value("trace.start", config.trace.start, formats.trace)
    slope = "(trace.start - trace.end)/steps"
    _check_value(slope, config.trace_slope, formats.trace, warned=math.inf)  # see the drift, below
    _check_value("weight.initial", config.weight.initial, formats.weight)
    _check_value("threshold.level", config.threshold.level, formats.threshold)
    _check_value("plasticity.potentiation", config.plasticity.potentiation, formats.potentiation)
    _check_value("plasticity.depression", config.plasticity.depression, formats.depression)
    highest = formats.weight.max * config.trace.start
    if not config.threshold.level < highest:
        raise ValueError(
            f"threshold.level = {config.threshold.level:g}: outside the range of S = w*T, "
            f"limit is {highest:.6g}"
        )
    last = config.quantised.trace_start - (config.trace_steps - 1) * config.quantised.trace_slope
    if last < 0:
        raise ValueError(
            f"formats.trace = {formats.trace}: too narrow, the rounded slope takes the trace below 0 "
            f"within {config.trace_steps} steps"
        )
    rounded = config.quantised.trace_slope * formats.trace.lsb
    drift = abs(rounded / config.trace_slope - 1) * config.trace_steps
    if drift > 0.5:
        warnings.warn(
            f"formats.trace = {formats.trace}: the rounded slope is {drift:.2f} steps off at the end of "
            "the trace, CRs may shift",
            PrecisionWarning,
            stacklevel=2,
        )


def _check_electrodes(config: ChipSettings) -> None:
    pn, io = config.electrodes.pn, config.electrodes.io
    if len(pn) != len(io):
        raise ValueError(f"electrodes.pn has {len(pn)}, electrodes.io {len(io)}: one a microcircuit each")
    last = config.amplifier.electrodes - 1
    taken: set[int] = set()
    for name, electrodes in (("pn", pn), ("io", io)):
        for electrode in electrodes:
            if electrode > last:
                raise ValueError(
                    f"electrodes.{name}: {electrode}, limit is {last} (amplifier.chips times channels, "
                    "less 1)"
                )
            if electrode in taken:
                raise ValueError(f"electrodes.{name}: {electrode} is there twice")
            taken.add(electrode)


def _check_detection(config: ChipSettings) -> None:
    formats = config.formats
    sample = formats.sample
    if sample.fraction_bits or not sample.signed:
        raise ValueError(f"formats.sample = {sample}: whole ADC counts, use SQ(bits,0)")
    # The band-pass answers the worst input of full scale with 2.1 times it (its impulse response's sum of
    # magnitudes), and x - m of unfiltered input reaches twice full scale.
    bits = sample.integer_bits + 2
    for name, fmt in (
        ("filter_state", formats.filter_state),
        ("detection_state", formats.detection_state),
    ):
        if not fmt.signed or fmt.integer_bits < bits:
            raise ValueError(
                f"formats.{name} = {fmt}: too narrow for formats.sample = {sample}, "
                f"limit is SQ({bits},{fmt.fraction_bits})"
            )
    if formats.detection_gain.signed:
        raise ValueError(f"formats.detection_gain = {formats.detection_gain}: unsigned only, use UQ(...)")
    if formats.detection_gain.width + formats.detection_state.width > _ACCUMULATOR_BITS:
        raise ValueError(
            f"formats.detection_gain = {formats.detection_gain}: too wide, limit beside "
            f"formats.detection_state is {_ACCUMULATOR_BITS - formats.detection_state.width} bits"
        )
    for name, channel in (("pn", config.detection.pn), ("io", config.detection.io)):
        fmt = formats.detection_gain if channel.relative else formats.detection_state
        _check_value(f"detection.{name}.threshold", channel.threshold, fmt)


def _check_recalibration(config: ChipSettings) -> None:
    section, formats = config.recalibration, config.formats
    if formats.rate.signed or formats.rate.integer_bits:
        raise ValueError(f"formats.rate = {formats.rate}: a share of full scale, use UQ(0,bits)")
    if not formats.coefficient.signed or formats.coefficient.integer_bits != 1:
        raise ValueError(f"formats.coefficient = {formats.coefficient}: normalised, use SQ(1,bits)")
    if formats.coefficient.fraction_bits <= SIGNIFICANT_BITS:
        raise ValueError(
            f"formats.coefficient = {formats.coefficient}: too narrow for a determinant, limit is "
            f"SQ(1,{SIGNIFICANT_BITS + 1})"
        )
    if not section.rate_min_hz < section.rate_max_hz:
        raise ValueError(
            f"recalibration.rate_min_hz = {section.rate_min_hz:g}, rate_max_hz = {section.rate_max_hz:g}: "
            "needs rate_min_hz < rate_max_hz"
        )
    if not section.enabled:
        return
    if section.coefficients is None:
        missing = next(name for name in ("alpha", "beta", "gamma") if getattr(section, name) is None)
        raise ValueError(f"recalibration.{missing}: needed where enabled; `microzone calibrate` writes it")
    steps = section.period_s / config.time.step_s
    if not steps <= _LONGEST_PERIOD:
        raise ValueError(f"recalibration.period_s = {section.period_s:g}: limit is {_LONGEST_PERIOD} steps")
    if abs(steps - round(steps)) > 1e-6 * max(steps, 1.0):
        raise ValueError(
            f"recalibration.period_s = {section.period_s:g}: {steps:.6g} steps of time.step_s = "
            f"{config.time.step_s:g}, must be a whole number"
        )
    highest = 1 / config.time.step_s
    if not section.rate_max_hz < highest:
        raise ValueError(
            f"recalibration.rate_max_hz = {section.rate_max_hz:g}: must be below {highest:g}, one "
            "detection a step"
        )
    width = accumulator_format(config).width + formats.rate.width
    if width > _ACCUMULATOR_BITS:
        raise ValueError(
            f"formats.rate, formats.coefficient: a product of Horner's scheme has {width} bits, limit is "
            f"{_ACCUMULATOR_BITS}"
        )
    cycles = evaluation_cycles(config)
    if cycles > WORK_CYCLES:
        raise ValueError(
            f"formats.rate = {formats.rate}, formats.coefficient = {formats.coefficient}: an evaluation "
            f"takes {cycles} cycles, limit is {WORK_CYCLES}"
        )
    check_round(config, 1)
    coefficient_words(section.coefficients, config)
    least = config.rate_full_scale_hz * formats.rate.lsb / _REFUSED_ERROR / 2
    if 0 < section.rate_min_hz < least:
        raise ValueError(
            f"recalibration.rate_min_hz = {section.rate_min_hz:g}: {formats.rate} rounds such rates by more "
            f"than {_REFUSED_ERROR:.0%}, limit is {least:.3g}"
        )
    _warn_of_evaluation(config)


def _warn_of_evaluation(config: ChipSettings) -> None:
    """Warn where the words refuse, or visibly change, what float makes of the working range."""
    section, formats = config.recalibration, config.formats
    seconds = config.recalibration_steps * config.time.step_s
    real, fixed = RecalibrationFloat(config, 1), RecalibrationFixed(config, 1)
    counts = math.ceil(section.rate_min_hz * seconds), math.floor(section.rate_max_hz * seconds)
    for count in (max(counts[0], 1), sum(counts) // 2, counts[1]):
        _, rate_hz, wanted = real.evaluate(0, count, config.recalibration_steps)
        status, _, got = fixed.evaluate(0, count, config.recalibration_steps)
        if status is Status.RATE:
            continue  # a period too short to tell such rates
        what = f"refused ({status.name})"
        if got is not None and wanted is not None:
            pairs = zip(got, wanted, (formats.potentiation, formats.depression), strict=True)
            missed = [(abs(word * fmt.lsb - value), value, fmt.lsb) for word, value, fmt in pairs]
            errors = [error / max(value, lsb) for error, value, lsb in missed if error > lsb]
            if max(errors, default=0) <= WARNED_ERROR:
                continue
            what = f"off by {max(errors):.2%}"
        warnings.warn(
            f"formats.coefficient = {formats.coefficient}, formats.rate = {formats.rate}: recalibration at "
            f"{rate_hz:.3g} Hz is {what}",
            PrecisionWarning,
            stacklevel=2,
        )
        return


def _check_value(field: str, value: float, fmt: QFormat, *, warned: float = WARNED_ERROR) -> None:
    """Refuse or warn of a value that `fmt` misses; ValueError names field, value and limit."""
    if not fmt.min <= value <= fmt.max:
        raise ValueError(f"{field} = {value:g}: outside {fmt}, limits are {fmt.min:g} and {fmt.max:.9g}")
    if value == 0:
        return
    quantised = quantize(value, fmt) * fmt.lsb
    if quantised == 0:
        raise ValueError(f"{field} = {value:g}: rounds to 0 in {fmt}, limit is {fmt.lsb / 2:.3g}")
    error = abs(quantised / value - 1)
    if error > _REFUSED_ERROR:
        raise ValueError(
            f"{field} = {value:g}: becomes {quantised:g} in {fmt}, off by {error:.1%}, "
            f"limit is {_REFUSED_ERROR:.0%}"
        )
    if error > warned:
        warnings.warn(
            f"{field} = {value:g}: becomes {quantised:g} in {fmt}, off by {error:.2%}",
            PrecisionWarning,
            stacklevel=2,
        )
