"""The program that judges settings of the stimulation: against the model, with each of its steps broken."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from microzone.gateware.stimulation import program as stimulation_program
from microzone.gateware.stimulation.program import PROGRAM, START_OF_COPY, Flag, Row, Verdict, execute
from microzone.gateware.stimulation.registers import (
    BLANK_MODES,
    SHAPES,
    StimulationRegister,
    setting_widths,
    settings_words,
    stimulation_layout,
)
from microzone.golden_model import ChipConfig
from microzone.golden_model.config import BlankingMode, PulseShape
from microzone.golden_model.stimulation import StimulationTiming, TrainSettings
from microzone.sim.benches.stimulation import STIMULATION_CONFIGS

SMALL = STIMULATION_CONFIGS["biphasic"]
# Phases and least period so long that their sum is more than the adder holds.
_WIDE = {"rate_hz": 0.13, "duration_s": 8.0, "width_s": 0.1, "interphase_s": 0.0, "watchdog_s": 0.05}
WIDE = ChipConfig.make(
    time={"clock_hz": 10e3},
    stimulation={
        **_WIDE,
        "limits": {"rate_hz": 1 / 7, "width_s": 6.0, "duration_s": 8.0, "rest_s": 7.5},
    },
)
CONFIGS = {"full size": ChipConfig.make(), "small": SMALL, "wide": WIDE}


def slow_but_first(cases: Iterable[Any]) -> list[Any]:
    """All but the first are slow."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[pytest.mark.slow] if i else [])
        for i, case in enumerate(cases)
    ]


def around(timing: StimulationTiming, rng: random.Random) -> Iterator[TrainSettings]:
    """Settings at each limit and one to either side of it, with others that are good or, sometimes, not."""
    widths = setting_widths(timing)

    def word(register: StimulationRegister, *near: int) -> int:
        chosen = [*near, rng.randrange(1 << widths[register]), rng.randrange(4)]
        value = rng.choice(chosen) + rng.choice((-1, 0, 0, 0, 1))
        return min(max(value, 0), (1 << widths[register]) - 1)

    r = StimulationRegister
    while True:
        width = word(r.WIDTH, timing.settings.width, timing.width_limit)
        anodic = rng.choice((width, width, width, word(r.WIDTH_ANODIC, width)))
        shape = rng.choice(SHAPES)
        room = timing.period_limit - 1 - width - anodic
        modulus = 1 << stimulation_layout(timing.config)["word"].width
        gap = word(r.GAP, room, room, 0, modulus - width, modulus - width - anodic)
        pulse = width if shape is PulseShape.MONOPHASIC else width + gap + anodic
        period = word(r.PERIOD, timing.period_limit, timing.period_limit, timing.duration_limit)
        pulses = word(r.PULSES, timing.settings.pulses, 1, 2)
        if rng.random() < 0.5:  # the longest train
            longest = (timing.duration_limit - pulse) // max(pulses - 1, 1)
            period = min(max(longest + rng.choice((-1, 0, 1)), 0), (1 << widths[r.PERIOD]) - 1)
        pause = max(period - pulse, 0)
        yield TrainSettings(
            period=period,
            width=width,
            width_anodic=anodic,
            gap=gap,
            pulses=pulses,
            shape=shape,
            blank_mode=rng.choice(BLANK_MODES),
            blank_fixed=word(r.BLANK_FIXED, timing.blank_limit, 1),
            guard_before=word(r.GUARD_BEFORE, pause, min(pause, timing.guard_limit), timing.guard_limit, 1),
            guard_after=word(r.GUARD_AFTER, timing.guard_limit, 1),
        )


def verdict(timing: StimulationTiming, settings: TrainSettings) -> Verdict:
    words = {Row[register.name]: word for register, word in settings_words(settings).items()}
    bits = stimulation_layout(timing.config)["word"].width
    return execute(timing, words, bits, setting_widths(timing)[StimulationRegister.PULSES])


def follows(settings: TrainSettings) -> tuple[dict[Flag, bool], dict[Row, int]]:
    """What follows from good settings, by their description; no row of a piece that there is not."""
    by_pulse, fixed = (settings.blank_mode is mode for mode in (BlankingMode.PULSE, BlankingMode.FIXED))
    pause, near = settings.period - settings.pulse, settings.guard_before
    flags = {
        Flag.BIPHASIC: settings.shape is PulseShape.BIPHASIC,
        Flag.BLANKS: by_pulse or fixed,
        Flag.GAPPED: settings.gap > 0,
        Flag.NEARS: near > 0,
        Flag.APART: 0 < near < pause,
    }
    if by_pulse or fixed:
        flags[Flag.BY_PULSE] = by_pulse
    if fixed:
        flags[Flag.LASTS] = settings.blank_fixed > 0
    rows = {Row.PHASE: settings.width - 1}
    rows[Row.PAUSE] = (pause - near if flags[Flag.APART] else pause) - 1
    if settings.gap:
        rows[Row.BETWEEN] = settings.gap - 1
    if flags[Flag.APART]:
        rows[Row.NEAR] = near - 1
    if by_pulse:
        rows[Row.LENGTH] = settings.guard_after
    if fixed and settings.blank_fixed:
        rows[Row.LENGTH] = settings.blank_fixed - 1
    return flags, rows


def difference(config: ChipConfig, cases: int) -> str | None:
    """First settings of which the program does not say what the model does."""
    timing = StimulationTiming(config)
    seen = {True: 0, False: 0}
    for _, settings in zip(range(cases), around(timing, random.Random(4)), strict=False):
        got = verdict(timing, settings)
        refusal = timing.refusal(settings)
        seen[got.good] += 1
        if got.good != (refusal is None):
            return f"{settings}: good = {got.good}, the model says {refusal}"
        if not got.good:
            continue
        flags, rows = follows(settings)
        for flag, level in flags.items():
            if got.flags >> flag.value & 1 != level:
                return f"{settings}: {flag.name} is not {level}"
        for row, word in rows.items():
            if got.rows[row] != word:
                return f"{settings}: {row.name} is {got.rows[row]}, expected {word}"
        if got.pulses != settings.pulses:
            return f"{settings}: {got.pulses} pulses"
    assert min(seen.values()) > cases // 20, f"good and not: {seen}"
    return None


@pytest.mark.parametrize("name", CONFIGS)
def test_the_program_judges_as_the_model_does(name: str) -> None:
    assert difference(CONFIGS[name], 1500) is None


BROKEN = [
    (number, switch)
    for number, step in enumerate(PROGRAM[:START_OF_COPY])
    for switch in ("refuse", "keep", "needs")
    if getattr(step, switch)
]


@pytest.mark.parametrize(("number", "switch"), slow_but_first(BROKEN))
def test_each_step_of_the_program_counts(number: int, switch: str) -> None:
    """Without what it refuses, keeps, or needs, some settings are judged wrongly."""
    weaker = replace(PROGRAM[number], **{switch: False})
    program = (*PROGRAM[:number], weaker, *PROGRAM[number + 1 :])
    with mock.patch.object(stimulation_program, "PROGRAM", program):
        assert any(difference(config, 400) is not None for config in CONFIGS.values())
