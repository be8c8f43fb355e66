"""What the benches of the microcircuit run: random, corner and saturating detections, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gateware.microcircuit import Parameter
from ..golden_model.config import ChipConfig
from .replay import Scenario, Write

__all__ = ["CONFIGS", "scenarios"]

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
    return [
        _random(config, channels, steps, seed, rng),
        _corner(config, channels, steps, seed),
        _saturating(config, channels, steps, seed, rng),
    ]


def _random(config: ChipConfig, channels: int, steps: int, seed: int, rng: np.random.Generator) -> Scenario:
    """Other rates and parameters in each channel, and parameters that change in mid-run."""
    pn, io = (rng.random((steps, channels)) < rng.choice(_RATES, channels) for _ in range(2))
    moments = np.concatenate([np.zeros(channels, int), np.sort(rng.integers(1, steps, 2 * channels))])
    writes = []
    for index, step in enumerate(moments):
        channel = index % channels
        for parameter in Parameter:
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
