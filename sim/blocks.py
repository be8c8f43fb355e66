"""How each block of ``gateware/blocks.py`` is tried: what ``microzone sim`` and the tests run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..gateware.amplifier.amplifier import Amplifier
from ..gateware.blocks import BLOCKS
from ..golden_model.config import ChipConfig
from .benches.cfpc import CFPC_CONFIGS
from .benches.run import BlockBench, Run
from .benches.stimulation import STIMULATION_CONFIGS
from .build.kept_verilog import sim_sources
from .build.netlist import NETLISTS, Netlist
from .build.simulators import SIMULATORS, Design
from .build.waves import write_save_file
from .replay.detection_replay import detection_verilog, replay_detection
from .replay.detection_scenarios import DETECTION_CONFIGS, DetectionSetup, detection_scenarios
from .replay.replay import Scenario, core_netlist, core_verilog, replay
from .replay.scenarios import CONFIGS, scenarios

__all__ = ["BENCHES", "amplifier_config"]

_BENCHES = f"{__package__}.benches"
_CHIPS = 2
_SLOW_CLOCK_HZ = 24e6
_FAST_CLOCK_HZ = 48e6
_SLOW_CLOCK_COMMANDS = 20
"""Inputs of a chip that the slower clock converts at 30 kS/s, with what a frame has beside them."""


# --- microcircuit, and the recalibration in it ------------------------------------------------


def _core(config: ChipConfig, channels: int, netlist: Netlist | None) -> str:
    return core_netlist(config, channels, netlist) if netlist else core_verilog(config, channels)


def _all_replays(run: Run) -> Iterator[str]:
    yield from _replays(run, scenarios(run.config, run.channels, run.seed, steps=run.steps))


def _recalibrating_replays(run: Run) -> Iterator[str]:
    every = scenarios(run.config, run.channels, run.seed, steps=run.steps)
    yield from _replays(run, [scenario for scenario in every if scenario.name == "recalibrating"])


def _replays(run: Run, wanted: Sequence[Scenario]) -> Iterator[str]:
    """Replay scenarios on the core, compared in every signal that there is."""
    full = run.netlist != "bitstream"
    compared = "every signal" if full else "w and every binary signal"
    core = _core(run.config, run.channels, run.netlist)
    for scenario in wanted:
        vcd = run.waves / f"{scenario.name}.vcd" if run.waves else None
        try:
            replay(
                replace(scenario, again=run.again), run.simulator,
                full=full, check=True, waves=vcd, verilog=core,
            )  # fmt: skip
        finally:
            if vcd and vcd.is_file() and vcd.stat().st_size:
                write_save_file(vcd)
        yield f"{scenario.name}: {scenario.steps} steps equal in {compared}"


# --- amplifier --------------------------------------------------------------------------------


def amplifier_config(config: ChipConfig, channels: int, *, clock_hz: float | None = None) -> ChipConfig:
    """A configuration with two chips, of which so many inputs are used at 30 kS/s.

    Parameters
    ----------
    config : ChipConfig
    channels : int
        Of each chip.
    clock_hz : float, optional
        By default 24 MHz, for more than 18 inputs 48 MHz.
    """
    slow = channels + 2 <= _SLOW_CLOCK_COMMANDS
    return config.replace(
        time={"clock_hz": clock_hz or (_SLOW_CLOCK_HZ if slow else _FAST_CLOCK_HZ)},
        amplifier={"chips": _CHIPS, "channels": channels, "rate_hz": 30e3},
    )


def _with_chips(run: Run) -> Design:
    """The front end with a model of each of its chips, module ``amplifier_bench``."""
    config, front_end = run.config, Amplifier(run.config)
    return Design(
        {"front_end.sv": run.verilog, **sim_sources("loop/amplifier.sv", "benches/amplifier_bench.sv")},
        "amplifier_bench",
        parameters={
            "CHIPS": config.amplifier.chips,
            "PAYLOAD": front_end.samples.payload.shape().size,
            "DELAYS": front_end.delays.shape().size,
            "CHIP_BITS": len(front_end.faulty_chip),
            "CLOCK_PS": int(1e12 / config.time.clock_hz),
        },
    )


# --- detection --------------------------------------------------------------------------------


def _detection(setup: DetectionSetup, electrodes: int, netlist: Netlist | None) -> str:
    assert netlist != "bitstream"
    return detection_verilog(setup.config, setup.settings(electrodes), setup.rate_hz, netlist=netlist)


def _detection_replays(run: Run) -> Iterator[str]:
    assert run.netlist != "bitstream"
    for scenario in detection_scenarios(run.config_name, run.channels, run.seed, frames=run.steps):
        vcd = run.waves / f"{scenario.name}.vcd" if run.waves else None
        replay_detection(
            replace(scenario, again=run.again), run.simulator,
            full=True, check=True, waves=vcd, netlist=run.netlist,
        )  # fmt: skip
        yield f"{scenario.name}: {run.steps} frames equal in every signal"


# --- the registry -----------------------------------------------------------------------------


BENCHES: dict[str, BlockBench] = {
    bench.block.name: bench
    for bench in (
        BlockBench(
            BLOCKS["microcircuit"],
            f"{_BENCHES}.microcircuit",
            lambda run: "ports: handshakes, back-pressure, latency, access, faults, reset",
            CONFIGS,
            takes_channels=True,
            emit=_core,
            replays=_all_replays,
            simulators=tuple(SIMULATORS),
            netlists=NETLISTS,
        ),
        BlockBench(
            BLOCKS["recalibration"],
            f"{_BENCHES}.recalibration",
            lambda run: "evaluator: sound, adversarial and random coefficients, latency, reads in between",
            {name: config for name, config in CONFIGS.items() if config.recalibration.enabled},
            default="adaptive",
            suits=lambda config: config.recalibration.enabled,
            others=" does not recalibrate",
            takes_channels=True,
            replays=_recalibrating_replays,
            simulators=tuple(SIMULATORS),
        ),
        BlockBench(
            BLOCKS["amplifier"],
            f"{_BENCHES}.amplifier",
            lambda run: (
                f"amplifier: {_CHIPS} chips of {run.channels} electrodes, set-up, cables, samples, times, "
                f"faults at {run.config.time.clock_hz / 1e6:g} MHz"
            ),
            CONFIGS,
            takes_channels=True,
            adapted=amplifier_config,
            design=_with_chips,
            waits_for_edges=True,
        ),
        BlockBench(
            BLOCKS["detection"],
            f"{_BENCHES}.detection",
            lambda run: "ports: order, gaps, back-pressure, access, faults, reset",
            DETECTION_CONFIGS,
            default="bandpass",
            takes_channels=True,
            emit=_detection,
            config_text=lambda run: run.config_name,
            replays=_detection_replays,
        ),
        BlockBench(
            BLOCKS["stimulation"],
            f"{_BENCHES}.stimulation",
            lambda run: "pulses, blanking, refusals, stops, watchdogs, registers: equal in every cycle",
            STIMULATION_CONFIGS,
            default="biphasic",
        ),
        BlockBench(
            BLOCKS["link"],
            f"{_BENCHES}.link",
            lambda run: "requests good and bad, replies, telemetry in between, stalls: equal byte for byte",
            {"default": None},
        ),
        BlockBench(
            BLOCKS["cfpc"],
            f"{_BENCHES}.cfpc",
            lambda run: (
                f"{run.config_name}: {run.steps} steps, gaps, back-pressure, latency, accesses, freezing, "
                "reset: all equal"
            ),
            CFPC_CONFIGS,
        ),
    )
}
"""By name. The chip is tried in closed loop instead: ``microzone session --model rtl``."""
