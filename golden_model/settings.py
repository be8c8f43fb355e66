"""The sections of a chip's configuration, in physical units, and the integers that follow from them.

Each section is checked by itself. What one field demands of another is checked where the sections come
together: in ``config``, by ``representable``.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from .coefficients import Coefficients
from .fixed import SQ, UQ, QFormat, quantize
from .sections import Config, Format, Real, Section

__all__ = [
    "BlankingMode",
    "CalibrationRecord",
    "ChannelDetection",
    "ChipSettings",
    "PulseShape",
    "QuantisedParameters",
]


def _ascending(band: tuple[float, float]) -> tuple[float, float]:
    if not 0 < band[0] < band[1]:
        raise ValueError(f"needs 0 < low < high, got {band[0]:g} and {band[1]:g}")
    return band


class Time(Section):
    """``[time]``: the model's step, and the clock of the gateware."""

    step_s: Real = Field(default=0.002, gt=0)
    clock_hz: Real = Field(default=24e6, gt=0)


class Trace(Section):
    """``[trace]``: process 1, the decaying trace that a CS detection starts."""

    start: Real = Field(default=1.0, gt=0)
    end: Real = Field(default=0.47, ge=0)
    duration_s: Real = Field(default=0.3, gt=0)


class Threshold(Section):
    """``[threshold]``: process 3, the decision threshold of the Purkinje cell."""

    level: Real = Field(default=0.188, gt=0)


class Delay(Section):
    """``[noi]`` and ``[eligibility]``: processes 5 and 7, the latency of the nucleo-olivary inhibition."""

    delay_s: Real = Field(default=0.1, ge=0)


class Weight(Section):
    """``[weight]``: the memory parameter w."""

    initial: Real = 0.5


class Plasticity(Section):
    """``[plasticity]``: process 8; potentiation a step, depression an event."""

    potentiation: Real = Field(default=3.36e-5, ge=0)
    depression: Real = Field(default=0.0161, ge=0)


class Recalibration(Section):
    """``[recalibration]``: δp and δd follow the IO rate (see ``recalibration``); off by default.

    Coefficients in powers of the rate in Hz, lowest first; rates outside the working range change nothing.
    """

    enabled: Annotated[bool, Field(strict=True)] = False
    period_s: Real = Field(default=150.0, gt=0)
    rate_min_hz: Real = Field(default=0.25, ge=0)
    rate_max_hz: Real = Field(default=4.0, ge=1e-6)
    alpha: tuple[Real, Real, Real] | None = None
    beta: tuple[Real, Real, Real] | None = None
    gamma: tuple[Real, Real] | None = None

    @property
    def coefficients(self) -> Coefficients | None:
        """All eight, or None where some are absent."""
        if self.alpha is None or self.beta is None or self.gamma is None:
            return None
        return Coefficients(self.alpha, self.beta, self.gamma)


Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[float, Field(strict=True, ge=0)]


class CalibrationRecord(Section):
    """``[calibration]``: what δp, δd and the coefficients were computed from (see ``calibration``).

    A record for the reader: no model computes with it.
    """

    p_bar: tuple[Count, Count, Count]
    d_bar: tuple[Count, Count]
    k: Count
    io_rate_hz: Count
    costs: tuple[Count, Count, Count]
    delta_a: Real
    trials_a: Count
    delta_e: Real
    trials_e: Count
    noi_pass: Share
    residual: Count
    pn_tdr: Share
    pn_far_hz: Count
    io_tdr: Share
    io_far_hz: Count
    training_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ChannelDetection(Section):
    """``[detection.pn]`` and ``[detection.io]``: from raw samples to events (see ``detection``).

    `threshold` is a multiple of the channel's long-run mean variability, or, with
    ``relative = false``, a variability in counts of the analogue-digital converter. Subtracting the running
    mean is a high-pass of one pole at 1/(2π·`mean_tau_s`): by default 16 Hz, below the slow part of complex
    spikes.
    """

    threshold: Real = Field(default=3.75, gt=0)
    relative: Annotated[bool, Field(strict=True)] = True
    mean_tau_s: Real = Field(default=0.01, gt=0)
    smooth_tau_s: Real = Field(default=0.0025, gt=0)
    variability_tau_s: Real = Field(default=10.0, gt=0)
    refractory_s: Real = Field(default=0.05, ge=0)
    settle_s: Real = Field(default=0.1, ge=0)
    bandpass_hz: Annotated[tuple[Real, Real], AfterValidator(_ascending)] | None = None


class MultiUnitDetection(ChannelDetection):
    """``[detection.pn]``: the mean's high-pass by default at 320 Hz, above local field potentials."""

    mean_tau_s: Real = Field(default=5e-4, gt=0)


class Detection(Section):
    """``[detection]``: one section a channel."""

    pn: MultiUnitDetection = MultiUnitDetection()
    io: ChannelDetection = ChannelDetection()


class Amplifier(Section):
    """``[amplifier]``: the Intan RHD2000 chips between electrodes and gateware (see ``amplifier``).

    Each of `chips` converts its first `channels` inputs; electrode e is input ``e % channels`` of chip
    ``e // channels``. The band is one for all of them, and what it takes away is gone: its lower end is that
    of the channel that needs most, each channel's own high-pass comes in the detection.
    """

    chips: Annotated[int, Field(strict=True, ge=1, le=4)] = 1
    channels: Annotated[int, Field(strict=True, ge=1, le=32)] = 2
    rate_hz: Real = Field(default=25000.0, gt=0)
    bandwidth_hz: Annotated[tuple[Real, Real], AfterValidator(_ascending)] = (20.0, 3000.0)
    offset_removal_hz: Annotated[float, Field(strict=True, gt=0)] | None = None

    @property
    def electrodes(self) -> int:
        """Electrodes on all chips."""
        return self.chips * self.channels


Electrode = Annotated[int, Field(strict=True, ge=0)]


class Electrodes(Section):
    """``[electrodes]``: which electrode is whose; entry c of each list belongs to microcircuit c."""

    pn: tuple[Electrode, ...] = Field(default=(0,), min_length=1)
    io: tuple[Electrode, ...] = Field(default=(1,), min_length=1)


class PulseShape(StrEnum):
    """Of a stimulation pulse: one phase that triggers a stimulator, or two of opposite sign."""

    MONOPHASIC = "monophasic"
    BIPHASIC = "biphasic"


class Limits(Section):
    """``[stimulation.limits]``: built into the gateware; no register lifts them."""

    rate_hz: Real = Field(default=200.0, gt=0)
    width_s: Real = Field(default=5e-4, gt=0)
    duration_s: Real = Field(default=0.5, gt=0)
    rest_s: Real = Field(default=0.1, gt=0)


class Stimulation(Section):
    """``[stimulation]``: the pulse train that a CR sends to the facial nucleus (see ``stimulation``)."""

    rate_hz: Real = Field(default=80.0, gt=0)
    width_s: Real = Field(default=1e-4, gt=0)
    duration_s: Real = Field(default=0.15, gt=0)
    shape: PulseShape = PulseShape.BIPHASIC
    interphase_s: Real = Field(default=5e-5, ge=0)
    watchdog_s: Real = Field(default=1.0, gt=0)
    limits: Limits = Limits()


class BlankingMode(StrEnum):
    """When the IO electrodes are not listened to: after a CR, around each pulse, or never."""

    FIXED = "fixed"
    PULSE = "pulse"
    NONE = "none"


class Blanking(Section):
    """``[blanking]``: the IO electrodes while the stimulation's artefact is on them (see ``stimulation``)."""

    mode: BlankingMode = BlankingMode.PULSE
    fixed_s: Real = Field(default=2.0, gt=0)
    guard_before_s: Real = Field(default=4e-5, ge=0)
    guard_after_s: Real = Field(default=1.8e-3, ge=0)


class Formats(Section):
    """``[formats]``: the word of each quantity in the fixed-point model and the gateware."""

    weight: Format = UQ(0, 32)
    trace: Format = UQ(1, 20)
    threshold: Format = UQ(0, 24)
    potentiation: Format = UQ(0, 32)
    depression: Format = UQ(0, 32)
    sample: Format = SQ(16, 0)
    detection_state: Format = SQ(18, 20)
    detection_gain: Format = UQ(4, 8)
    filter_state: Format = SQ(18, 8)
    filter_coefficient: Format = SQ(2, 16)
    rate: Format = UQ(0, 22)
    coefficient: Format = SQ(1, 27)


class QuantisedParameters(Section):
    """The raw words of the microcircuit, in the formats of ``[formats]``.

    `threshold` is in its own format; ``threshold_shift`` moves it to the scale of S = w·T.
    """

    weight_initial: int
    trace_start: int
    trace_slope: int
    threshold: int
    threshold_shift: int
    potentiation: int
    depression: int
    potentiation_shift: int
    depression_shift: int


class ChipSettings(Config):
    """All sections, and the integers that follow from them; a ``config.ChipConfig`` is checked besides."""

    of = "the chip"
    time: Time = Time()
    trace: Trace = Trace()
    threshold: Threshold = Threshold()
    noi: Delay = Delay()
    eligibility: Delay = Delay()
    weight: Weight = Weight()
    plasticity: Plasticity = Plasticity()
    recalibration: Recalibration = Recalibration()
    calibration: CalibrationRecord | None = None
    amplifier: Amplifier = Amplifier()
    electrodes: Electrodes = Electrodes()
    detection: Detection = Detection()
    stimulation: Stimulation = Stimulation()
    blanking: Blanking = Blanking()
    formats: Formats = Formats()

    # --- derived integers ---------------------------------------------------------------------

    def steps(self, seconds: float) -> int:
        """A duration in steps, rounded."""
        return round(seconds / self.time.step_s)

    @property
    def trace_steps(self) -> int:
        """K: steps for which one detection keeps the trace active, and a CR the inhibitory pulse."""
        return self.steps(self.trace.duration_s)

    @property
    def eligibility_delay_steps(self) -> int:
        """D of process 7."""
        return self.steps(self.eligibility.delay_s)

    @property
    def noi_delay_steps(self) -> int:
        """max(D, 1) of process 5: one step at least, which keeps the loop causal."""
        return max(self.steps(self.noi.delay_s), 1)

    @property
    def trace_slope(self) -> float:
        """Fall of the trace a step: (start - end) / K."""
        return (self.trace.start - self.trace.end) / self.trace_steps

    @property
    def recalibration_steps(self) -> int:
        """P: steps of a period."""
        return self.steps(self.recalibration.period_s)

    @property
    def rate_scale_bits(self) -> int:
        """E: the rate word is x·dt·2^E, below 1 up to the end of the working range."""
        share = self.recalibration.rate_max_hz * self.time.step_s
        return -math.frexp(share)[1]

    @property
    def rate_full_scale_hz(self) -> float:
        """The IO rate of a rate word of 1."""
        return 2.0**-self.rate_scale_bits / self.time.step_s

    @property
    def scaled_format(self) -> QFormat:
        """Format of S = w·T at full width."""
        weight, trace = self.formats.weight, self.formats.trace
        return QFormat(
            weight.signed or trace.signed,
            weight.integer_bits + trace.integer_bits,
            weight.fraction_bits + trace.fraction_bits,
        )

    @property
    def quantised(self) -> QuantisedParameters:
        """The raw words of the microcircuit's parameters."""
        formats = self.formats
        return QuantisedParameters(
            weight_initial=quantize(self.weight.initial, formats.weight),
            trace_start=quantize(self.trace.start, formats.trace),
            trace_slope=quantize(self.trace_slope, formats.trace),
            threshold=quantize(self.threshold.level, formats.threshold),
            threshold_shift=self.scaled_format.fraction_bits - formats.threshold.fraction_bits,
            potentiation=quantize(self.plasticity.potentiation, formats.potentiation),
            depression=quantize(self.plasticity.depression, formats.depression),
            potentiation_shift=formats.weight.fraction_bits - formats.potentiation.fraction_bits,
            depression_shift=formats.weight.fraction_bits - formats.depression.fraction_bits,
        )
