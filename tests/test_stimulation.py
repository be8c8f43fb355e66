"""The stimulation: its integers and refusals, the model in closed form against one by counting, and every fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator
from microzone.gateware.stimulation.interlock import Interlock, InterlockFault
from microzone.gateware.stimulation.stimulation import Stimulation
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.config import BlankingMode, PulseShape
from microzone.golden_model.stimulation import LATENCY, StimulationTiming, Stimulator
from microzone.sim.benches.stimulation import STIMULATION_CONFIGS
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS

SMALL = STIMULATION_CONFIGS["biphasic"]


def test_the_default_is_the_papers() -> None:
    timing = StimulationTiming(ChipConfig.make())
    settings = timing.settings
    assert (settings.period, settings.width, settings.pulses) == (300_000, 2400, 12)
    assert (settings.gap, settings.guard_before, settings.guard_after) == (1200, 960, 43_200)
    assert (settings.pulse, settings.duration) == (6000, 11 * 300_000 + 6000)
    assert timing.duty_limit == pytest.approx(0.084, abs=5e-4)
    assert Stimulation(ChipConfig.make()).latency == LATENCY == 2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"width_s": 6e-4}, r"stimulation\.width_s: 14400 cycles .*limit is 12000"),
        ({"width_s": 1e-9}, r"stimulation\.width_s = 1e-09: 0\.024 cycles .*limit is 1"),
        ({"rate_hz": 201.0}, r"stimulation\.rate_hz: 119403 cycles .*limit is 120000"),
        ({"duration_s": 0.6}, r"stimulation\.duration_s: .* limit is 12000000"),
        ({"duration_s": 0.001}, r"stimulation\.duration_s = 0\.001: 0 pulses"),
        ({"interphase_s": 0.005}, r"stimulation\.interphase_s: .* limit is 119999"),
        ({"limits": {"rest_s": 0.004}}, r"stimulation\.limits\.rest_s = 0\.004: limit is 0\.005"),
        ({"limits": {"width_s": 1e-9}}, r"stimulation\.limits\.width_s = 1e-09: .*limit is 1"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StimulationTiming(ChipConfig.make(stimulation=section))


def test_too_long_a_blanking_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"blanking\.fixed_s: .*limit is 240000000"):
        StimulationTiming(ChipConfig.make(blanking={"fixed_s": 11.0}))


def _counted(settings: Any, start: int, cycles: int) -> dict[str, np.ndarray]:
    """One train by the letter of its description, cycle by cycle."""
    levels = {name: np.zeros(cycles, bool) for name in ("cathodic", "anodic", "enable", "blank")}
    levels["enable"][start : start + settings.duration] = True
    for pulse in range(settings.pulses):
        at = start + pulse * settings.period
        levels["cathodic"][at : at + settings.width] = True
        if settings.shape is PulseShape.BIPHASIC:
            levels["anodic"][at + settings.width + settings.gap :][: settings.width] = True
        if settings.blank_mode is BlankingMode.PULSE:
            first = max(at - settings.guard_before, start)
            levels["blank"][first : at + settings.pulse + settings.guard_after] = True
    if settings.blank_mode is BlankingMode.FIXED:
        levels["blank"][start : start + settings.blank_fixed] = True
    return levels


@pytest.mark.parametrize("mode", BlankingMode)
@pytest.mark.parametrize("shape", PulseShape)
def test_the_closed_form_is_the_counted_one(mode: BlankingMode, shape: PulseShape) -> None:
    rng, cycles = np.random.default_rng(5), 3000
    for case in range(20):
        model = Stimulator(SMALL)
        expected = {name: np.zeros(cycles, bool) for name in ("cathodic", "anodic", "enable", "blank")}
        ready = 0
        for cycle in np.unique(rng.integers(0, cycles - 300, 12)).tolist():
            guards = rng.integers(0, 60, 2).tolist()
            model.settings = replace(
                model.timing.settings,
                shape=shape,
                blank_mode=mode,
                blank_fixed=int(rng.integers(1, 500)),
                guard_before=guards[0],
                guard_after=guards[1],
            )
            accepted = model.trigger(cycle)
            assert accepted == (cycle >= ready), (case, cycle)
            if accepted:
                start = cycle + LATENCY
                for name, levels in _counted(model.settings, start, cycles).items():
                    expected[name] |= levels
                ready = start + model.settings.duration - 1 + model.timing.rest
        got = {name: np.zeros(cycles, bool) for name in ("cathodic", "anodic", "enable")}
        for cycle, name, level in model.edges:
            got[name][cycle:] = bool(level)
        got["blank"] = model.blanked_at(np.arange(cycles))
        for name, levels in got.items():
            assert np.array_equal(levels, expected[name]), (case, name)
        width = int(rng.integers(1, 90))
        first, windows = int(rng.integers(-50, 50)), cycles // width
        padded = np.zeros((first + windows * width + 200, 2), np.int64)
        padded[50 : 50 + cycles] = np.stack([expected["cathodic"], expected["anodic"]], 1)[: len(padded) - 50]
        summed = padded[50 + first :][: windows * width].reshape(windows, width, 2).sum(axis=1)
        assert np.array_equal(model.on_cycles(first, windows, width), summed), case
        at = int(rng.integers(cycles))
        assert model.blanked_at(at) is bool(expected["blank"][at])
        assert model.train_at(at) is bool(expected["enable"][at])


def test_a_refused_setting_disarms_the_model() -> None:
    model = Stimulator(SMALL)
    model.settings = replace(model.settings, width_anodic=1)
    assert not model.trigger(0) and not model.armed and not model.edges
    model.settings, model.armed = model.timing.settings, True
    assert model.trigger(1)


def run_interlock(requests: dict[int, dict[str, int]], cycles: int) -> tuple[list[dict[str, int]], Any]:
    """Levels of the outputs in each cycle; inputs keep their level until they are given another."""
    core = Interlock(SMALL)
    rows = []

    async def bench(ctx: Any) -> None:
        await ctx.tick()  # arming counts by its rise
        for cycle in range(cycles):
            alive = {"heartbeat": int(cycle % 50 == 0), "tick": int(cycle % 20 == 0), "arm": int(cycle == 0)}
            for name, level in (alive | requests.get(cycle, {})).items():
                ctx.set(getattr(core, name), level)
            names = ("cathodic", "anodic", "enable", "armed", "resting")
            rows.append({name: ctx.get(getattr(core, name)) for name in names})
            rows[-1]["fault"] = int(ctx.get(core.fault))
            await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return rows, core.timing


def pulse(at: int, width: int = 3, anodic: int = 3, gap: int = 1) -> dict[int, dict[str, int]]:
    levels: dict[int, dict[str, int]] = {at: {"cathodic_request": 1}, at + width: {"cathodic_request": 0}}
    if anodic:
        levels.setdefault(at + width + gap, {})["anodic_request"] = 1
        levels[at + width + gap + anodic] = {"anodic_request": 0}
    return levels


# Limits of this configuration: width 6, period 20, duration 200, rest 50 cycles.
FAULTS: dict[str, tuple[dict[int, dict[str, int]], InterlockFault, int]] = {
    "both at once": ({**pulse(5, 4, 0), 7: {"anodic_request": 1}}, InterlockFault.OVERLAP, 7),
    "anodic where monophasic": ({1: {"monophasic": 1}, **pulse(5)}, InterlockFault.SHAPE, 9),
    "cathodic too long": (pulse(5, 7, 7), InterlockFault.WIDTH, 11),
    "too early": ({**pulse(5), **pulse(24)}, InterlockFault.RATE, 24),
    "too long a train": (
        {k: v for i in range(11) for k, v in pulse(5 + 20 * i).items()},
        InterlockFault.DURATION,
        205,
    ),
    "too much anodic": (pulse(5, 3, 4), InterlockFault.UNBALANCED, 12),
    "anodic only": ({5: {"anodic_request": 1}}, InterlockFault.UNBALANCED, 5),
    "too little anodic": (pulse(5, 3, 2), InterlockFault.UNBALANCED, 25),
    "too little anodic, then a pulse": ({**pulse(5, 3, 2), **pulse(25)}, InterlockFault.UNBALANCED, 25),
    "refused": ({5: {"refused": 1}, 6: {"refused": 0}}, InterlockFault.REFUSED, 5),
    "stop and amplifier": (
        {**pulse(5), 6: {"emergency_stop": 1, "amplifier_fault": 1}},
        InterlockFault.EMERGENCY_STOP,
        6,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_to_the_cycle(name: str) -> None:
    requests, fault, at = FAULTS[name]
    rows, _ = run_interlock(requests, at + 60)
    assert [row["fault"] for row in rows[1 : at + 1]] == [0] * at, f"not before cycle {at}"
    assert all(row["armed"] for row in rows[1 : at + 1])
    for cycle, row in enumerate(rows[at + 1 :], at + 1):
        assert row["fault"] == fault.value, f"cycle {cycle}: {InterlockFault(row['fault']).name}"
        assert not (row["armed"] or row["cathodic"] or row["anodic"] or row["enable"]), f"cycle {cycle}"


def test_what_is_within_the_limits_passes_one_cycle_later() -> None:
    """The longest phases at the highest rate for the longest train; then, after the rest, one more."""
    starts = [5 + 20 * i for i in range(10)] + [300]
    requests = {k: v for start in starts for k, v in pulse(start, 6, 6, 0).items()}
    rows, timing = run_interlock(requests, 340)
    assert (timing.width_limit, timing.period_limit, timing.rest) == (6, 20, 50)
    on = {name: [cycle for cycle, row in enumerate(rows) if row[name]] for name in ("cathodic", "anodic")}
    assert on["cathodic"] == [start + 1 + i for start in starts for i in range(6)]
    assert on["anodic"] == [start + 7 + i for start in starts for i in range(6)]
    assert not any(row["fault"] for row in rows)


@pytest.mark.parametrize("config_name", STIMULATION_CONFIGS)
@pytest.mark.parametrize("name", [pytest.param("verilator", marks=pytest.mark.slow), "icarus"])
def test_benches_pass(name: str, config_name: str) -> None:
    if SIMULATORS[name].version() is None:
        pytest.skip(f"{name} is not installed")
    BENCHES["stimulation"].run(SIMULATORS[name], config_name=config_name, seed=3, steps=400)
