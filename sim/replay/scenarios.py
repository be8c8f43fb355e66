"""What the benches of the microcircuit run: random, corner, saturating and recalibrating, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...gateware.microcircuit.parameters import Parameter
from ...golden_model.config import ChipConfig
from ...golden_model.recalibration import LEAST_DETERMINANT
from .replay import Scenario, Write

__all__ = ["CONFIGS", "coefficient_set", "scenarios"]

CONFIGS = {
    "default": ChipConfig.make(),
    # No delays, and a trace of seven steps whose every phase is met often.
    "undelayed": ChipConfig.make(
        trace={"duration_s": 0.014}, noi={"delay_s": 0.0}, eligibility={"delay_s": 0.0}
    ),
    # Unequal odd delays, one longer than the trace; w signed and coarser, δ coarser than w.
    "signed": ChipConfig.make(
        trace={"duration_s": 0.022},
        noi={"delay_s": 0.006},
        eligibility={"delay_s": 0.034},
        plasticity={"potentiation": 2**-10, "depression": 0.25},
        formats={
            "weight": "SQ(2,18)",
            "trace": "UQ(1,14)",
            "threshold": "UQ(1,12)",
            "potentiation": "UQ(0,12)",
            "depression": "UQ(1,10)",
        },
    ),
    # A short period, and rates up to most of a detection a step.
    "adaptive": ChipConfig.make(
        recalibration={
            "enabled": True,
            "period_s": 0.4,
            "rate_min_hz": 5.0,
            "rate_max_hz": 400.0,
            "alpha": (1e-4, 2e-6, 0.0),
            "beta": (1.0, -4e-3, 1e-5),
            "gamma": (0.02, 1e-5),
        },
    ),
    # Narrow words, the two of δ unlike, rates to the end of theirs; visits of two channels fill the period.
    "narrow": ChipConfig.make(
        trace={"duration_s": 0.022},
        noi={"delay_s": 0.006},
        recalibration={
            "enabled": True,
            "period_s": 0.26,
            "rate_min_hz": 0.0,
            "rate_max_hz": 249.98,
            "alpha": (1e-3, 0.0, 1e-7),
            "beta": (2e3, -4.0, 1e-2),
            "gamma": (40.0, -0.05),
        },
        plasticity={"potentiation": 2**-10, "depression": 0.25},
        formats={
            "weight": "UQ(0,24)",
            "potentiation": "UQ(0,20)",
            "depression": "UQ(2,14)",
            "rate": "UQ(0,12)",
            "coefficient": "SQ(1,17)",
        },
    ),
}
"""Configurations that the core is tested with, beside the default one."""

_RATES = (0.002, 0.01, 0.05, 0.3)
"""Detections a step; each channel has a pair of its own."""


def scenarios(config: ChipConfig, channels: int, seed: int, *, steps: int = 1500) -> Sequence[Scenario]:
    """Every kind of scenario, for one build of the core.

    Parameters
    ----------
    config : ChipConfig
    channels : int
    seed : int
        Equal seeds give equal scenarios.
    steps : int
        Length of each.
    """
    rng = np.random.default_rng(seed)
    kinds = [
        _random(config, channels, steps, seed, rng),
        _corner(config, channels, steps, seed),
        _saturating(config, channels, steps, seed, rng),
    ]
    if config.recalibration.enabled:
        kinds.append(_recalibrating(config, channels, steps, seed, rng))
    return kinds


_PLASTIC = (Parameter.WEIGHT, Parameter.POTENTIATION, Parameter.DEPRESSION)


def _random(config: ChipConfig, channels: int, steps: int, seed: int, rng: np.random.Generator) -> Scenario:
    """Other rates and parameters in each channel, and parameters that change in mid-run."""
    pn, io = (rng.random((steps, channels)) < rng.choice(_RATES, channels) for _ in range(2))
    moments = np.concatenate([np.zeros(channels, int), np.sort(rng.integers(1, steps, 2 * channels))])
    writes = []
    for index, step in enumerate(moments):
        channel = index % channels
        for parameter in _PLASTIC:
            writes.append(Write(int(step), channel, parameter, _random_word(config, parameter, rng)))
    return Scenario("random", config, pn, io, writes, seed)


def _random_word(config: ChipConfig, parameter: Parameter, rng: np.random.Generator) -> int:
    """Any w; δ of any magnitude, 0 included."""
    formats = config.formats
    if parameter is Parameter.WEIGHT:
        return int(rng.integers(formats.weight.raw_min, formats.weight.raw_max, endpoint=True))
    fmt = formats.potentiation if parameter is Parameter.POTENTIATION else formats.depression
    return int(rng.integers(0, 1 << int(rng.integers(0, fmt.width, endpoint=True))))


def _corner(config: ChipConfig, channels: int, steps: int, seed: int) -> Scenario:
    """Held, back-to-back and coinciding detections, and gaps of one step around each boundary."""
    k, d, q = config.trace_steps, config.eligibility_delay_steps, config.noi_delay_steps
    gaps = [1, 1, 2, k - 1, k, k + 1, d, d + 1, k + d - 1, k + d, k + d + 1, q, k + q, 2 * (k + q)]
    pn, io = np.zeros((2, steps, channels), np.bool_)
    for channel in range(channels):
        at = np.cumsum([channel % 3, *np.tile(np.roll(gaps, channel), 1 + steps // sum(gaps))])
        pn[at[at < steps], channel] = True
        # The IO fires in the same step, a step beside it, at each boundary after it, or always.
        for offset in ((0,), (0, 1), (d, d + k - 1, d + k), (q - 1, q, q + k - 1, q + k))[channel % 4]:
            late = at + offset
            io[late[late < steps], channel] = True
        if channel % 5 == 4:
            io[:, channel] = True
    pn[steps // 3 : steps // 3 + 3 * k] = True
    io[steps // 3 + k : steps // 3 + 2 * k] = True
    low = [
        Write(step, channel, Parameter.WEIGHT, int(config.quantised.weight_initial // (2 + channel % 3)))
        for step in (0, steps // 2)
        for channel in range(channels)
    ]
    return Scenario("corner", config, pn, io, low, seed)


def _saturating(
    config: ChipConfig, channels: int, steps: int, seed: int, rng: np.random.Generator
) -> Scenario:
    """δ as large as the formats go: w is driven into both limits again and again."""
    formats = config.formats
    pn = rng.random((steps, channels)) < 0.05
    io = rng.random((steps, channels)) < 0.2
    writes = []
    for channel in range(channels):
        writes.append(Write(0, channel, Parameter.DEPRESSION, formats.depression.raw_max >> channel % 3))
        up = formats.potentiation.raw_max >> (0, 2, 4)[channel % 3]
        writes.append(Write(0, channel, Parameter.POTENTIATION, up))
    return Scenario("saturating", config, pn, io, writes, seed)


def _recalibrating(
    config: ChipConfig, channels: int, steps: int, seed: int, rng: np.random.Generator
) -> Scenario:
    """Coefficients of every kind, some written in mid-visit; rates from none to all; blanked for long."""
    period = config.recalibration_steps
    shape = (steps, channels)
    pn = rng.random(shape) < 0.02
    stretch = -(-steps // period) + 1
    # A rate and a share of blanked steps for each period of each channel, the extremes included.
    rates = rng.choice((0.0, 0.02, 0.1, 0.2, 0.3, 1.0), (stretch, channels)).repeat(period, axis=0)[:steps]
    hidden = rng.choice((0.0, 0.0, 0.0, 0.2, 0.9, 1.0), (stretch, channels)).repeat(period, axis=0)[:steps]
    # New coefficients for most visits, a few of them in the midst of one.
    moments = rng.integers(0, steps, -(-stretch // 4))
    starts = np.arange(1, stretch).repeat(channels) * period
    moments = np.sort(np.concatenate([moments, starts[rng.random(starts.size) < 0.8]]))
    writes = []
    for moment in moments[moments < steps]:
        channel = int(rng.integers(channels))
        last = None if rng.random() < 0.9 else int(rng.integers(1, 11))  # now and then not the whole set
        for parameter, word in list(coefficient_set(config, rng).items())[:last]:
            writes.append(Write(int(moment), channel, parameter, word))
    io, blanked = rng.random(shape) < rates, rng.random(shape) < hidden
    # In some periods exactly the rates at the ends of the working range, evenly spread.
    limits = config.recalibration.rate_min_hz, config.recalibration.rate_max_hz
    kinds = rng.choice(5, (stretch, channels)).repeat(period, axis=0)[:steps]
    for kind, limit in enumerate(limits):
        due = np.diff(np.floor(np.arange(steps + 1) * limit * config.time.step_s + 1e-9)) > 0
        io = np.where(kinds == kind, due[:, None], io)
    blanked &= kinds >= len(limits)
    return Scenario("recalibrating", config, pn, io, writes, seed, blanked=blanked)


def coefficient_set(config: ChipConfig, rng: np.random.Generator) -> dict[Parameter, int]:
    """Raw words of all coefficients: mostly such that δp and δd fit, and else as bad as they can be.

    Parameters
    ----------
    config : ChipConfig
    rng : numpy.random.Generator

    Returns
    -------
    dict of Parameter to int
    """
    formats = config.formats
    fmt = formats.coefficient
    words = {
        parameter: int(rng.integers(fmt.raw_min, fmt.raw_max, endpoint=True))
        for parameter in Parameter
        if parameter.row is not None
    }
    exponents = rng.integers(-128, 128, 3)
    kind = rng.choice(("sound", "sound", "sound", "wild", "determinant", "largest", "zero"))
    if kind in ("sound", "determinant"):
        for parameter in (Parameter.ALPHA_0, Parameter.BETA_0, Parameter.GAMMA_0):
            words[parameter] = abs(words[parameter]) | fmt.raw_max + 1 >> 1
            words[parameter] = min(words[parameter], fmt.raw_max)
        for parameter in (Parameter.ALPHA_1, Parameter.ALPHA_2, Parameter.BETA_1, Parameter.BETA_2):
            words[parameter] >>= 2
        beta = int(rng.integers(-20, 20))
        exponents = np.array([beta - int(rng.integers(1, 20)), beta, beta - int(rng.integers(0, 10))])
    if kind == "determinant":  # 0 or next to it, where a wrong comparison shows
        near = (0, 1, LEAST_DETERMINANT - 1, LEAST_DETERMINANT, LEAST_DETERMINANT + 1, -1, fmt.raw_min)
        words[Parameter.BETA_0] = int(rng.choice(near))
        words[Parameter.BETA_1] = words[Parameter.BETA_2] = 0
    if kind in ("largest", "zero"):
        for parameter in words:
            words[parameter] = fmt.raw_max if kind == "largest" else 0
        exponents = rng.choice((-128, -1, 0, 127), 3)
    names = (Parameter.ALPHA_EXPONENT, Parameter.BETA_EXPONENT, Parameter.GAMMA_EXPONENT)
    return words | {name: int(exponent) for name, exponent in zip(names, exponents, strict=True)}
