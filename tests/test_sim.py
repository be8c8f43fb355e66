"""The cocotb benches on the emitted Verilog, in every simulator that is installed; waves; broken designs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from microzone.gateware import blocks as gateware_blocks
from microzone.gateware.microcircuit import rational, recalibration
from microzone.gateware.toolchain import ToolError, to_verilog
from microzone.golden_model import ChipConfig
from microzone.sim import blocks as bench_module
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import (
    SIMULATORS,
    CocotbSimulator,
    Design,
    Simulator,
    find_simulator,
)
from microzone.sim.failure import BenchFailure
from microzone.sim.replay import replay as replay_module
from microzone.sim.replay.comparison import first_difference
from microzone.sim.replay.replay import Scenario, core_verilog, expected_signals, replay, replay_design
from microzone.sim.replay.scenarios import CONFIGS, scenarios
from support import EVALUATOR, LOAN_MUTATIONS, MUTATIONS, RECALIBRATION_MUTATIONS, mutant


def _installed(name: str) -> Simulator:
    chosen = SIMULATORS[name]
    if chosen.version() is None:
        pytest.skip(f"{chosen.name} is not installed; get it with: {chosen.how_to_get}")
    return chosen


def _slow_to_compile(names: Iterable[str]) -> list[Any]:
    """As parameters; Verilator compiles for long. It also runs in tests/test_cli.py, always."""
    return [pytest.param(name, marks=pytest.mark.slow if name == "verilator" else ()) for name in names]


@pytest.fixture(params=_slow_to_compile(SIMULATORS))
def simulator(request: pytest.FixtureRequest) -> Simulator:
    return _installed(request.param)


@pytest.fixture(
    params=_slow_to_compile(name for name, one in SIMULATORS.items() if isinstance(one, CocotbSimulator))
)
def cocotb_simulator(request: pytest.FixtureRequest) -> CocotbSimulator:
    simulator = _installed(request.param)
    assert isinstance(simulator, CocotbSimulator)
    return simulator


@pytest.mark.parametrize(
    ("config_name", "channels", "steps"),
    [("default", 1, 2500), ("signed", 3, 1000),
     pytest.param("undelayed", 2, 1000, marks=pytest.mark.slow),
     pytest.param("default", 2, 1500, marks=pytest.mark.slow),
     pytest.param("default", 7, 1000, marks=pytest.mark.slow),
     pytest.param("default", 64, 500, marks=pytest.mark.slow)],
)  # fmt: skip
def test_benches_pass(simulator: Simulator, config_name: str, channels: int, steps: int) -> None:
    # Verilator compiles for long: the ports of the other sizes are left to the slow test below.
    ports = simulator.name != "verilator" or (config_name, channels) in (("default", 7), ("signed", 3))
    bench = BENCHES["microcircuit"] if ports else dataclasses.replace(BENCHES["microcircuit"], module=None)
    bench.run(simulator, config_name=config_name, channels=channels, seed=channels, steps=steps)


@pytest.mark.parametrize(
    ("config_name", "channels", "steps"),
    [("adaptive", 1, 6000),
     pytest.param("narrow", 2, 3000, marks=pytest.mark.slow),
     pytest.param("adaptive", 64, 800, marks=pytest.mark.slow)],
)  # fmt: skip
def test_recalibration_benches_pass(
    simulator: Simulator, config_name: str, channels: int, steps: int
) -> None:
    BENCHES["recalibration"].run(
        simulator, config_name=config_name, channels=channels, seed=channels, steps=steps
    )


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 64])
def test_the_whole_core_with_recalibration(simulator: Simulator, channels: int) -> None:
    """Ports and every other scenario, while δp and δd change beside the steps."""
    BENCHES["microcircuit"].run(
        simulator, config_name="adaptive", channels=channels, seed=4, steps=60_000 // channels
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RECALIBRATION_MUTATIONS | LOAN_MUTATIONS)
def test_every_broken_recalibration_fails_the_cocotb_benches(
    quickest: Simulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken_verilog(config: ChipConfig, channels: int) -> str:
        with mutant(name) as core:
            return to_verilog(core(config, channels), "microcircuit")

    monkeypatch.setattr(bench_module, "core_verilog", broken_verilog)
    changed = rational.RationalEvaluator
    if name in EVALUATOR or name in LOAN_MUTATIONS:
        with mutant(name):
            changed = recalibration.RationalEvaluator
    monkeypatch.setattr(gateware_blocks, "RationalEvaluator", changed)
    with pytest.raises(BenchFailure) as failure:
        for config_name, channels in (("adaptive", 5), ("narrow", 1)):
            for seed in (1, 2):
                BENCHES["recalibration"].run(
                    quickest, config_name=config_name, channels=channels, seed=seed, steps=4000
                )
    print(f"{name}: {failure.value}")


@pytest.mark.slow
@pytest.mark.parametrize(("config_name", "channels"), [("default", 1), ("default", 64), ("undelayed", 2)])
def test_ports_of_more_sizes_on_verilator(config_name: str, channels: int) -> None:
    simulator = _installed("verilator")
    BENCHES["microcircuit"].run(
        simulator, config_name=config_name, channels=channels, seed=channels + 1, steps=200
    )


def test_a_wrong_gateware_fails_the_bench_and_says_where(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core is built for a threshold two LSBs off; the bench knows the right one."""
    right = CONFIGS["undelayed"].replace(plasticity={"potentiation": 0.0, "depression": 0.0})
    wrong = right.replace(threshold={"level": right.threshold.level + 2 * right.formats.threshold.lsb})
    corner = scenarios(right, 2, seed=3, steps=400)[1]
    scenario = _at_the_threshold(dataclasses.replace(corner, again="microzone sim again", seed=3))
    monkeypatch.setattr(replay_module, "replay_design", lambda config, *a, **k: replay_design(wrong, *a, **k))
    with pytest.raises(BenchFailure) as failure:
        replay(scenario, simulator, full=True, check=True)
    message = str(failure.value)
    assert "(process 3) expected 0x0, got 0x1" in message
    assert "seed 3, again with: microzone sim again" in message


def _at_the_threshold(scenario: Scenario) -> Scenario:
    """One trace, with the smallest w whose S is not below θ in the trace's fourth step."""
    words = scenario.config.quantised
    trace = words.trace_start - 3 * words.trace_slope
    weight = -(-(words.threshold << words.threshold_shift) // trace)
    writes = [dataclasses.replace(write, word=weight, step=0) for write in scenario.writes[:2]]
    pn, io = np.zeros((2, *scenario.pn.shape), bool)
    pn[0] = True
    return dataclasses.replace(scenario, pn=pn, io=io, writes=writes)


@pytest.fixture
def quickest() -> Simulator:
    """Icarus builds in no time; Verilator where there is no Icarus."""
    return SIMULATORS["icarus" if SIMULATORS["icarus"].version() else "verilator"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_every_broken_core_fails_the_cocotb_benches(
    quickest: Simulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken_verilog(config: ChipConfig, channels: int) -> str:
        with mutant(name) as core:
            return to_verilog(core(config, channels), "microcircuit")

    monkeypatch.setattr(bench_module, "core_verilog", broken_verilog)
    with pytest.raises(BenchFailure) as failure:
        for config_name, channels in (("signed", 3), ("default", 1)):
            BENCHES["microcircuit"].run(
                quickest, config_name=config_name, channels=channels, seed=2, steps=600
            )
    print(f"{name}: {failure.value}")


def test_a_core_that_hangs_is_a_failure(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    text = core_verilog(CONFIGS["undelayed"], 2)
    stuck = text.replace("commit__valid = 1'h1;", "commit__valid = 1'h0;")
    assert stuck != text
    monkeypatch.setattr(replay_module, "core_verilog", lambda config, channels: stuck)
    scenario = scenarios(CONFIGS["undelayed"], 2, seed=3, steps=50)[0]
    with pytest.raises(BenchFailure, match="random: the core hangs"):
        replay(scenario, simulator)


def test_a_bench_that_raises_is_a_failure_not_a_pass(
    cocotb_simulator: CocotbSimulator, tmp_path: Path
) -> None:
    design = Design({"microcircuit.sv": core_verilog(CONFIGS["undelayed"], 2)}, "microcircuit")
    with pytest.raises(BenchFailure, match="MICROZONE_CONFIG"):
        cocotb_simulator.run(design, "microzone.sim.benches.microcircuit", tmp_path)


def test_a_design_that_does_not_compile_names_its_log(simulator: Simulator) -> None:
    with pytest.raises(ToolError, match=r"compilation failed .* see .*build\.log"):
        simulator.build(Design({"microcircuit.sv": "module top(; endmodule"}, "microcircuit"))


def test_waves_show_expected_beside_actual(cocotb_simulator: CocotbSimulator, tmp_path: Path) -> None:
    BENCHES["microcircuit"].run(cocotb_simulator, config_name="signed", channels=3, steps=60, waves=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ports.vcd"} | {
        f"{kind}.{end}" for kind in ("random", "corner", "saturating") for end in ("vcd", "gtkw")
    }
    vcd = (tmp_path / "random.vcd").read_text()
    save = (tmp_path / "random.gtkw").read_text()
    for group in ("1 trace", "8 coincidence detection: w"):
        assert f"-{group}" in save
    for signal in ("weight", "cr", "inhibition"):
        assert f"actual_{signal}" in save and f"expected_{signal}" in save and f"expected_{signal}" in vcd
    code = next(line.split()[3] for line in vcd.splitlines() if line.endswith(" mismatch $end"))
    assert not any(line == f"1{code}" for line in vcd.splitlines()), "a mismatch is on show"


def test_runs_differ_only_by_simulator() -> None:
    installed = [simulator for simulator in SIMULATORS.values() if simulator.version()]
    if len(installed) < 2:
        pytest.skip("one simulator only is installed")
    scenario = scenarios(CONFIGS["undelayed"], 2, seed=9, steps=300)[0]
    records = [replay(scenario, simulator, full=True) for simulator in installed]
    for record in records[1:]:
        assert first_difference(records[0], record, scenario.config) is None


def test_cxxrtl_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="replays only, without waves; take verilator or icarus"):
        BENCHES["microcircuit"].run(
            _installed("cxxrtl"), config_name="undelayed", channels=2, steps=60, waves=tmp_path
        )


def test_differences_are_told_in_the_order_of_evaluation() -> None:
    scenario = scenarios(CONFIGS["undelayed"], 2, seed=9, steps=50)[0]
    expected = expected_signals(scenario)
    assert first_difference(expected, expected, scenario.config) is None
    changed = {name: values.copy() for name, values in expected.items()}
    changed["cr"][7, 1] ^= 1
    changed["weight"][7, 1] += 1
    changed["weight"][9, 0] += 1
    message = first_difference(expected, changed, scenario.config)
    assert message is not None and message.startswith("step 7, channel 1: weight (process 8) expected 0x")
    with pytest.raises(ValueError, match="nothing to compare"):
        first_difference(expected, {}, scenario.config)


def test_an_unknown_or_missing_simulator_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="choose from verilator, icarus, cxxrtl"):
        find_simulator("modelsim")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="apt-get install iverilog"):
        find_simulator("icarus")


def test_verilog_is_emitted_with_the_documented_ports() -> None:
    text = core_verilog(ChipConfig.make(), 1)
    for port in (
        "events__payload",
        "responses__valid",
        "access__payload",
        "readback__payload",
        "tick",
        "busy",
    ):
        assert port in text
    # What runs each process of combinational logic once at the start, in Icarus too.
    started = set(re.findall(r"\breg (yosys_initial_\d+) *;", text))
    assert started and started == set(re.findall(r"initial (yosys_initial_\d+) <= 0;", text))
    assert text.count("if (yosys_initial_") >= text.count("always @*") > 0
