"""The timing diagrams of docs/: WaveDrom sources, simulated or computed from what the blocks state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.sim import Simulator
from microzone.gateware.detection.detection import Detection
from microzone.gateware.microcircuit.microcircuit import Microcircuit
from microzone.golden_model.chip import ChipTiming
from microzone.golden_model.config import ChipConfig
from microzone.golden_model.detection_parameters import DetectionRow
from microzone.golden_model.microcircuit import CYCLES_PER_CHANNEL
from microzone.golden_model.stimulation import LATENCY, Stimulator

__all__ = ["DIAGRAMS"]

Diagram = dict[str, Any]
_COLUMN = 8
"""Clock cycles of a column in the diagram of a step's last frame."""


def microcircuit_diagram() -> Diagram:
    """WaveDrom source of one step of a core with two channels, the second of which responds; simulated."""
    config = ChipConfig.make(weight={"initial": 0.1})
    core = Microcircuit(config, 2)
    rows: dict[str, list[int]] = {
        name: []
        for name in ("events.valid", "events.ready", "tick", "busy", "responses.valid", "commit.valid")
    }

    def sample(ctx: Any) -> None:
        for name, levels in rows.items():
            value: Any = core
            for part in name.split("."):
                value = getattr(value, part)
            levels.append(int(ctx.get(value)))

    async def bench(ctx: Any) -> None:
        ctx.set(core.responses.ready, 1)
        while ctx.get(core.busy):
            await ctx.tick()
        stimulus = {1: {"valid": 1}, 2: {"valid": 0}, 3: {"tick": 1}, 4: {"tick": 0}}
        ctx.set(core.events.payload, {"channel": 1, "kind": 0})
        for cycle in range(14):
            for name, level in stimulus.get(cycle, {}).items():
                ctx.set(core.tick if name == "tick" else core.events.valid, level)
            sample(ctx)
            await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    cycles = len(rows["tick"])
    signals: list[dict[str, Any]] = [{"name": "clk", "wave": "p" + "." * (cycles - 1)}]
    for name, levels in rows.items():
        wave = "".join(
            "." if index and level == levels[index - 1] else str(level) for index, level in enumerate(levels)
        )
        signals.append({"name": name, "wave": wave})
    ticked = rows["tick"].index(1)
    phases = ["FETCH", "LEARN", "SCALE", "THRESHOLD"] * 2
    state = "2" + "." * ticked + "345634562" + "." * (cycles - ticked - 10)
    signals.append({"name": "state", "wave": state, "data": ["IDLE", *phases, "IDLE"]})
    channel = "x" + "." * ticked + "3...4...x" + "." * (cycles - ticked - 10)
    signals.append({"name": "channel", "wave": channel, "data": ["0", "1"]})
    title = "A step of two channels; the PN detection of channel 1 makes it respond"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 3}}


def chip_diagram() -> Diagram:
    """The last frame of a step, from CONVERT to pulse, with the default configuration."""
    config = ChipConfig.make()
    timing = ChipTiming(config)
    trigger = timing.tick_cycle + CYCLES_PER_CHANNEL
    columns = (trigger + LATENCY) // _COLUMN + 4

    def strobes(*cycles: int) -> str:
        at = {cycle // _COLUMN for cycle in cycles}
        return "".join(
            "1" if column in at else "." if column and column - 1 not in at else "0"
            for column in range(columns)
        )

    command = timing.command_cycles // _COLUMN
    names = ["CONVERT 0", "CONVERT 1", "READ", "READ"]
    bus = "".join("3" + "." * (command - 1) for _ in names)
    heard = [timing.result_cycle(electrode) for electrode in range(config.amplifier.electrodes)]
    pulse = (trigger + LATENCY) // _COLUMN
    signals: list[Diagram] = [
        {"name": "frame", "wave": strobes(0)},
        {"name": "SPI", "wave": (bus + "x" + "." * columns)[:columns], "data": names},
        {"name": "samples", "wave": strobes(*heard)},
        {"name": "microcircuits told of blanking", "wave": strobes(timing.blanked_cycle)},
        {"name": "tick", "wave": strobes(timing.tick_cycle)},
        {"name": "CR", "wave": strobes(trigger)},
        {"name": "cathodic", "wave": "0" + "." * (pulse - 1) + "1" + "." * (columns - pulse - 1)},
    ]
    title = f"The last frame of a step at 24 MHz; a column is {_COLUMN} clock cycles"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 1}}


def stimulation_diagram() -> Diagram:
    """The first two pulses of a default train; a column is 50 µs, the long waits are cut."""
    config = ChipConfig.make()
    column = round(50e-6 * config.time.clock_hz)
    stimulator = Stimulator(config)
    stimulator.trigger(-LATENCY)
    period = round(config.time.clock_hz / config.stimulation.rate_hz)
    after = round(config.blanking.guard_after_s * config.time.clock_hz)
    length = stimulator.settings.pulse
    pieces = [(0, 8), (length + after, 3), (period - 4 * column, 12)]
    signals: list[Diagram] = []
    for name in ("enable", "cathodic", "anodic", "blank"):
        wave, last = "", ""
        for start, columns in pieces:
            for index in range(columns):
                middle = start + index * column + column // 2
                level = _level(stimulator, name, middle)
                wave += "." if level == last else level
                last = level
            wave += "|"
        signals.append({"name": name, "wave": wave[:-1]})
    title = "Two pulses of a train; a column is 50 µs"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 1}}


def _level(stimulator: Stimulator, name: str, cycle: int) -> str:
    if name == "blank":
        return str(int(stimulator.blanked_at(cycle)))
    before = [level for at, edge, level in stimulator.edges if edge == name and at <= cycle]
    return str(int(before[-1])) if before else "0"


def detection_diagram() -> Diagram:
    """A frame of two electrodes without band-pass, simulated; an event waits, then a read; waits are cut.

    A silent frame comes before it: in the first one a sample is the mean, whatever it is.
    """
    config = ChipConfig.make(detection={"io": {"threshold": 1.0, "relative": False, "settle_s": 0.0}})
    block = Detection(config, [config.detection.io] * 2, config.amplifier.rate_hz)
    names = ["frame", "samples.valid", "samples.ready", "events.valid", "events.ready", "commit.valid"]
    names += ["access.valid", "access.ready", "readback.valid", "busy"]
    rows: dict[str, list[int]] = {name: [] for name in names}
    walk, waits = block.latency, 2
    decided = 1 + walk + waits  # the cycle of the first commit; the first sample is there in cycle 1
    second = decided + 1

    async def bench(ctx: Any) -> None:
        while ctx.get(block.busy):
            await ctx.tick()
        ctx.set(block.samples.valid, 1)
        for electrode in range(2):
            ctx.set(block.frame, electrode == 0)
            ctx.set(block.samples.payload, {"electrode": electrode, "sample": 0, "blanked": 0})
            await ctx.tick()
            ctx.set(block.frame, 0)
            while electrode == 0 and not ctx.get(block.samples.ready):
                await ctx.tick()
        ctx.set(block.samples.valid, 0)
        while ctx.get(block.busy):
            await ctx.tick()
        ctx.set(block.readback.ready, 1)
        ctx.set(block.access.payload, {"electrode": 0, "row": DetectionRow.GAIN})
        for cycle in range(second + walk + 5):
            ctx.set(block.frame, cycle == 1)
            ctx.set(block.samples.valid, 1 <= cycle <= second)
            loud = 1000 if cycle <= 1 else 0
            ctx.set(block.samples.payload, {"electrode": cycle > 1, "sample": loud, "blanked": 0})
            ctx.set(block.events.ready, cycle >= decided)
            ctx.set(block.access.valid, second - 3 <= cycle <= second + walk + 2)
            for name, levels in rows.items():
                value: Any = block
                for part in name.split("."):
                    value = getattr(value, part)
                levels.append(int(ctx.get(value)))
            await ctx.tick()

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    total = len(rows["frame"])
    pieces = [(0, 4), (decided - waits - 1, second + 3), (second + walk - 1, total)]

    def cut(wave: Sequence[str], last: str = "") -> str:
        parts = []
        for start, stop in pieces:
            part = ""
            for cycle in range(start, stop):
                part += "." if wave[cycle] == last else wave[cycle]
                last = wave[cycle]
            parts.append(part)
        return "|".join(parts)

    clock = "p" + "." * (sum(stop - start for start, stop in pieces) + len(pieces) - 2)
    signals: list[Diagram] = [{"name": "clk", "wave": clock}]
    signals += [
        {"name": name, "wave": cut([str(level) for level in levels])} for name, levels in rows.items()
    ]
    electrode = ["x" if not 2 <= at <= decided and not second < at <= second + walk else
                 "3" if at <= decided else "4" for at in range(total)]  # fmt: skip
    signals.append({"name": "electrode", "wave": cut(electrode), "data": ["0", "1"]})
    title = f"Two samples; the event of electrode 0 waits {waits} cycles, a read until there is no sample"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 1}}


def amplifier_diagram() -> Diagram:
    """One command to an RHD2000; the answer is that to the command before the last."""
    bits = [str(bit) for bit in range(15, -1, -1)]
    data = "".join("3" if bit % 2 else "4" for bit in range(16))
    signals = [
        {"name": "cs_n", "wave": "10" + "." * 16 + "1."},
        {"name": "sclk", "wave": "0.p" + "." * 15 + "0."},
        {"name": "mosi", "wave": "x." + data + "x.", "data": bits},
        {"name": "miso", "wave": "x." + data + "x.", "data": bits},
    ]
    title = "A command: MOSI is taken and MISO is stable at each rising edge of SCLK"
    return {"signal": signals, "head": {"text": title}, "config": {"hscale": 1}}


DIAGRAMS: Mapping[str, Callable[[], Diagram]] = {
    "amplifier": amplifier_diagram,
    "chip": chip_diagram,
    "detection": detection_diagram,
    "microcircuit": microcircuit_diagram,
    "stimulation": stimulation_diagram,
}
"""By the name of the page."""
