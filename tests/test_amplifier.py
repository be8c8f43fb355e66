"""The amplifier chips: registers, timing, analogue path; the front end in both simulators, and broken on purpose."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from microzone.gateware.amplifier import amplifier as front_end
from microzone.gateware.amplifier import spi
from microzone.gateware.toolchain import to_verilog
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model import amplifier as model
from microzone.golden_model.amplifier import FrameTiming, amplifier_registers, decode_registers
from microzone.sim.blocks import BENCHES, amplifier_config
from microzone.sim.build.simulators import SIMULATORS
from microzone.sim.failure import BenchFailure
from microzone.sim.loop.amplifier import AnaloguePath
from support import applying, changed

FULL = {"chips": 2, "channels": 32, "rate_hz": 30e3}


def test_tables_agree_with_the_fit_that_intan_publishes() -> None:
    for hz, dacs in model._LOWER.items():
        x = math.log10(hz)
        fit = (4.9391, -1.2088, 0.5698, 0.1442) if hz < 4 else (4.7351, -0.5916, 0.08482, 0.0)
        ohm = 1.0061 * 10 ** sum(c * x**n for n, c in enumerate(fit))
        assert abs(3500 + 175 * dacs[0] + 12700 * dacs[1] + 3e6 * dacs[2] - ohm) <= 0.5 * 175, hz
    for hz, dacs in model._UPPER.items():
        x = math.log10(hz)
        first = 0.9730 * 10 ** (8.0968 - 1.1892 * x + 0.04767 * x * x)
        second = 1.0191 * 10 ** (8.1009 - 1.0821 * x + 0.03383 * x * x)
        assert abs(2200 + 600 * dacs[0] + 29400 * dacs[1] - first) <= 600, hz
        assert abs(8700 + 763 * dacs[2] + 38400 * dacs[3] - second) <= 763, hz


def test_registers_come_back_as_the_configured_band() -> None:
    for low in model._LOWER:
        for high in model._UPPER:
            if low < high:
                config = ChipConfig.make(amplifier={"bandwidth_hz": (low, high), "channels": 5})
                settings = decode_registers(amplifier_registers(config), 25e3)
                assert (settings.low_hz, settings.high_hz) == (low, high)
                assert [i for i, on in enumerate(settings.powered) if on] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"amplifier": {"bandwidth_hz": (300.0, 21e3)}}, r"upper = 21000: limits are 100 and 20000"),
        ({"amplifier": {"bandwidth_hz": (0.05, 3e3)}}, r"lower = 0.05: limits are 0.1 and 500"),
        ({"amplifier": {"offset_removal_hz": 5e3}}, r"offset_removal_hz = 5000: limits are"),
        ({"time": {"clock_hz": 24.01e6}}, r"time.clock_hz = .* whole number"),
        ({"amplifier": {"rate_hz": 24e6 / 959}}, r"amplifier.rate_hz = .* whole number"),
        ({"amplifier": FULL}, r"time.clock_hz = 2.4e\+07: a frame has 800 cycles"),
        ({"amplifier": {**FULL, "rate_hz": 32e3}}, r"1.088e\+06 commands a second, limit is 1.05e\+06"),
    ],
)
def test_what_does_not_fit_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        amplifier_registers(ChipConfig.make(**sections))


def test_64_electrodes_at_30_khz_fit_the_fast_clock() -> None:
    timing = FrameTiming(ChipConfig.make(time={"clock_hz": 48e6}, amplifier=FULL))
    assert (timing.frame_cycles, timing.frames_per_step, timing.half_period) == (1600, 60, 1)
    assert timing.command_cycles <= 47 and timing.cs_high >= 8
    assert timing.result_cycle(63) < timing.frame_cycles
    assert timing.first_result_cycle == 2 * timing.command_cycles + timing.answer_cycle + 1


def test_the_analogue_path_has_the_registers_band_and_joins_chunks() -> None:
    registers = [amplifier_registers(ChipConfig.make(amplifier={"bandwidth_hz": (300.0, 3000.0)}))]
    seconds = np.arange(50_000) / 25e3
    for hz, gain in ((30, 0.0995), (300, 0.7071), (3000, 0.7071), (6000, 0.075)):
        sine = np.stack([1000 * np.sin(2 * np.pi * hz * seconds)] * 2, axis=1)
        counts = AnaloguePath(registers, 25e3, 2, 1).convert(sine)[5000:]
        assert abs(counts.std(0) * 0.195 * 2**0.5 / 1000 - gain).max() < 0.006, hz
    path = AnaloguePath(registers, 25e3, 2, 1)
    whole = AnaloguePath(registers, 25e3, 2, 1).convert(sine)
    cuts = (0, 1, 8, 8, 5000, 50_000)
    parts = [path.convert(sine[a:b]) for a, b in pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    quiet = AnaloguePath(registers, 25e3, 2, 1).convert(np.zeros((200_000, 2)))
    assert abs(quiet.std(0) * 0.195 - 2.4).max() < 0.05


@pytest.mark.parametrize("name", ["verilator", pytest.param("icarus", marks=pytest.mark.slow)])
def test_bench_passes(name: str) -> None:
    if SIMULATORS[name].version() is None:
        pytest.skip(f"{name} is not installed")
    BENCHES["amplifier"].run(SIMULATORS[name], channels=2, seed=3, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "clock_hz"), [(32, 48e6), (32, 96e6), (1, 24e6)])
def test_bench_passes_at_other_sizes(channels: int, clock_hz: float) -> None:
    bench = replace(BENCHES["amplifier"], adapted=partial(amplifier_config, clock_hz=clock_hz))
    bench.run(SIMULATORS["verilator"], channels=channels, seed=4, steps=50)


MUTANTS = applying({
    "eight dummies": (front_end, "[calibrate_command(), *[dummy] * CALIBRATION_DUMMIES]", "[dummy, calibrate_command(), *[dummy] * (CALIBRATION_DUMMIES - 1)]"),
    "no letter is checked": (front_end, "_Answer.READ: (high != 0) | (low != answered.byte)", "_Answer.READ: high[0] & ~high[0]"),
    "any chip fits": (front_end, "(high != 0) | ~known", "high != 0"),
    "few amplifiers fit": (front_end, "(low < amplifier.channels)", "(low < 1)"),
    "results are overwritten": (front_end, "overrun = arrives & (waiting > taken)", "overrun = arrives & 0"),
    "a tap outside the eye": (front_end, "(earliest + trial + 1) >> 1", "earliest - 0 * trial + 1"),
    "the register is not compared": (front_end, "kind.eq(Mux(converts, _Answer.SAMPLE, of_command))", "kind.eq(Mux(converts, _Answer.SAMPLE, Mux(slot == channels + LIVENESS_READS - 1, _Answer.ANY, of_command)))"),
    "always the same letter": (front_end, "[letter.eq(letter + 1), step.eq(step + 1)]", "[letter.eq(0), step.eq(step + 1)]"),
    "always the same register": (front_end, "[letter.eq(letter + 1), step.eq(step + 1)]", "[letter.eq(letter + 1), step.eq(where[Stretch.CHECK].start)]"),
    "set-up begins within a command": (front_end, "with m.If(~master.busy):", "with m.If(~master.busy | 1):"),
    "a frame is a cycle short": (front_end, "elapsed == timing.frame_cycles - 1", "elapsed == timing.frame_cycles - 2"),
    "the answer of one command before": (front_end, "answered.eq(before)", "answered.eq(sent)"),
    "CS rises early": (spi, "halves == last_edge + 1", "halves == last_edge"),
    "a bit is lost": (spi, "last = first + last_edge - 2", "last = first + last_edge - 4"),
})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_every_broken_front_end_fails_the_bench(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, old, new = MUTANTS[name]
    other = changed(module, old, new)
    broken = other.Amplifier if module is front_end else front_end.Amplifier
    if module is spi:
        monkeypatch.setattr(front_end, "SpiMaster", other.SpiMaster)
    config = ChipConfig.make(amplifier={"chips": 2, "channels": 2, "rate_hz": 30e3})
    text = to_verilog(broken(config), "front_end")
    monkeypatch.undo()
    with pytest.raises(BenchFailure) as failure:
        bench = replace(BENCHES["amplifier"], emit=lambda *_: text)
        bench.run(SIMULATORS["icarus"], channels=2, seed=2, steps=20)
    print(f"{name}: {failure.value}")
