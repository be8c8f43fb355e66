"""The microcircuit core at its ports: handshakes, back-pressure, latency, access, faults, reset.

What it computes is compared with ``MicrocircuitFixed`` step by step. Environment: ``MICROZONE_CONFIG`` (TOML)
and what ``BenchBase`` takes.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly
from microzone.gateware.events import EventKind, channel_shape
from microzone.gateware.microcircuit.microcircuit import Timing
from microzone.gateware.microcircuit.parameters import Parameter, parameter_formats, word_width
from microzone.golden_model.config import ChipConfig
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.golden_model.recalibration import RecalibrationFixed, Row, visit_steps
from microzone.sim.benches.drivers import (
    AccessCodec,
    BenchBase,
    EventCodec,
    StreamMonitor,
    StreamSource,
    bench_test,
    sometimes,
)
from microzone.sim.failure import BenchFailure, check


class Bench(BenchBase):
    """The core with its drivers and monitors, and the fixed-point model beside it."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.config = ChipConfig.from_toml(self.config_text)
        self.timing = Timing(self.config, self.channels)
        self.model = MicrocircuitFixed(self.config, self.channels)
        bits = channel_shape(self.channels).width
        self.event_code, self.access_code = EventCodec(bits), AccessCodec(bits)
        self.events = StreamSource(self.clock, dut, "events")
        self.access = StreamSource(self.clock, dut, "access")
        self.responses = StreamMonitor(self.clock, dut, "responses", self.event_code.decode)
        self.readback = StreamMonitor(self.clock, dut, "readback", int)

    async def start(self) -> None:
        """Clock and reset; returns once the core is idle."""
        self.responses.start()
        self.readback.start()
        await self.start_clock("tick")
        await self.idle(self.timing.initialise_cycles + 2)

    async def reset(self) -> None:
        """Reset for two cycles; returns once the core is idle."""
        await self.pulse_reset()
        await self.idle(self.timing.initialise_cycles + 2)

    async def idle(self, limit: int) -> int:
        """Wait until `busy` is low; returns the cycles that it took, at most `limit`."""
        for waited in range(limit + 1):
            await ReadOnly()
            if not int(self.dut.busy.value):
                return waited
            await FallingEdge(self.dut.clk)
        raise BenchFailure(f"still busy after {limit} cycles; {self.seed}")

    async def tick(self) -> int:
        """Pulse the tick for one cycle; returns that cycle."""
        await FallingEdge(self.dut.clk)
        self.dut.tick.value = 1
        cycle = self.clock.cycle
        await FallingEdge(self.dut.clk)
        self.dut.tick.value = 0
        return cycle

    async def send(self, channel: int, kind: EventKind) -> None:
        await self.events.send(self.event_code.encode(channel, kind.value))

    async def read(self, channel: int, parameter: Parameter) -> int:
        """Raw word of a parameter, as its format reads it."""
        answered = len(self.readback.taken)
        await self.access.send(self.access_code.encode(channel, parameter.value))
        for _ in range(1000):
            if len(self.readback.taken) > answered:
                break
            await FallingEdge(self.dut.clk)
        word = self.readback.taken[answered][1]
        fmt = parameter_formats(self.config)[parameter]
        word &= (1 << fmt.width) - 1
        return word - (1 << fmt.width) if word > fmt.raw_max else word

    async def write(self, channel: int, parameter: Parameter, word: int) -> None:
        payload = self.access_code.encode(channel, parameter.value, word % (1 << word_width(self.config)))
        await self.access.send(payload)

    async def run_step(self, pn: list[bool], io: list[bool]) -> list[int]:
        """Send detections, tick, wait; returns the channels with a CR in the model, and checks the core's."""
        before = len(self.responses.taken)
        detected = [(c, EventKind.PN) for c in range(self.channels) if pn[c]]
        detected += [(c, EventKind.IO) for c in range(self.channels) if io[c]]
        self.rng.shuffle(detected)
        for channel, kind in detected:
            await self.send(channel, kind)
        await self.tick()
        await self.idle(self.timing.cycles_per_step * 50)
        expected = [c for c, fires in enumerate(self.model.step(pn, io)) if fires]
        got = [event.channel for _, event in self.responses.taken[before:]]
        kinds = {event.kind for _, event in self.responses.taken[before:]}
        check(got == expected, f"CRs of channels {got}, expected {expected}; {self.seed}")
        check(kinds <= {EventKind.CR}, f"kinds {kinds}; {self.seed}")
        return expected


def _draws(bench: Bench, probability: float) -> list[bool]:
    return [bench.rng.random() < probability for _ in range(bench.channels)]


@bench_test
async def back_pressure(dut: Any) -> None:
    """Gaps before every event and a reader that is seldom ready: nothing is lost, w and CRs stay equal."""
    bench = Bench(dut)
    bench.responses.ready = sometimes(bench.rng, 0.2)
    bench.readback.ready = sometimes(bench.rng, 0.3)
    bench.events.gap = lambda: bench.rng.randrange(4)
    await bench.start()
    for channel in range(bench.channels):
        low = bench.config.quantised.weight_initial // 2
        await bench.write(channel, Parameter.WEIGHT, low)
        bench.model.weight[channel] = low
    crs = 0
    for _ in range(120):
        crs += len(await bench.run_step(_draws(bench, 0.05), _draws(bench, 0.1)))
    check(crs, f"the stimulus made no CR; {bench.seed}")
    for channel in range(bench.channels):
        word = await bench.read(channel, Parameter.WEIGHT)
        expected = int(bench.model.weight[channel])
        check(word == expected, f"w of {channel}: {word:#x}, expected {expected:#x}; {bench.seed}")


@dataclass
class Course:
    """What happened in which clock cycle of a free run."""

    ticks: set[int] = field(default_factory=set)
    starts: list[int] = field(default_factory=list)
    events: list[tuple[int, int, EventKind]] = field(default_factory=list)
    commits: list[tuple[int, int, int]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def lost_tick(self) -> bool:
        """Whether a tick came while one waited; BenchFailure if steps and ticks do not belong together."""
        waiting = lost = False
        for cycle in range(max(self.ticks, default=0) + 1):
            tick = cycle in self.ticks
            if cycle in self.starts:
                check(tick or waiting, f"a step without a tick in cycle {cycle}")
                waiting = waiting and tick
            elif tick:
                waiting, lost = True, lost or waiting
        served = sum(start > cycle for start in self.starts)
        check(served == waiting, f"{served} steps after the last tick, {int(waiting)} waiting")
        return lost


@bench_test
async def everything_at_once(dut: Any) -> None:
    """Events, ticks and reads in any cycle, within steps too: an event counts in the next step to start."""
    bench, course, rng = Bench(dut), Course(), random.Random(cocotb.RANDOM_SEED)
    bench.responses.ready = sometimes(bench.rng, 0.5)
    bench.readback.ready = sometimes(bench.rng, 0.1)
    bench.events.gap = lambda: bench.rng.randrange(8)
    await bench.start()
    for channel in range(bench.channels):
        word = rng.randrange(bench.config.formats.depression.raw_max >> 4)
        await bench.write(channel, Parameter.DEPRESSION, word)
        bench.model.depression[channel] = word

    async def send_events() -> None:
        while True:
            channel, kind = rng.randrange(bench.channels), rng.choice((EventKind.PN, EventKind.IO))
            cycle = await bench.events.send(bench.event_code.encode(channel, kind.value))
            course.events.append((cycle, channel, kind))

    async def read() -> None:
        while True:
            channel = rng.randrange(bench.channels)
            await bench.access.send(bench.access_code.encode(channel, Parameter.DEPRESSION.value))
            course.asked.append(channel)

    async def watch() -> None:
        was_busy = False
        while True:
            await FallingEdge(dut.clk)
            await ReadOnly()
            busy = bool(int(dut.busy.value))
            if busy and not was_busy:
                course.starts.append(bench.clock.cycle - 1)
            was_busy = busy
            if int(dut.commit__valid.value):
                channel, weight, cr = dut.commit__channel, dut.commit__weight, dut.commit__cr
                course.commits.append((int(channel.value), int(weight.value), int(cr.value)))

    background = [cocotb.start_soon(task()) for task in (watch, send_events, read)]
    steps = max(40, 200 // bench.channels)
    while len(course.starts) < steps:
        await FallingEdge(dut.clk)
        tick = rng.random() < 1 / (1.5 * bench.timing.cycles_per_step)
        dut.tick.value = int(tick)
        if tick:
            course.ticks.add(bench.clock.cycle)
    await FallingEdge(dut.clk)
    dut.tick.value = 0
    for _ in range(60 * bench.timing.cycles_per_step):
        await FallingEdge(dut.clk)
    for task in background:
        task.cancel()

    check(bool(int(dut.overrun.value)) == course.lost_tick(), f"overrun is wrong; {bench.seed}")
    detections = np.zeros((2, len(course.starts), bench.channels), np.bool_)
    for cycle, channel, kind in course.events:
        step = bisect_left(course.starts, cycle)
        if step < len(course.starts):
            detections[kind.value, step, channel] = True
    response = bench.model.process(*detections, trace=True)
    mask = (1 << bench.config.formats.weight.width) - 1
    expected = [
        (channel, int(response.weight[step, channel]) & mask, int(response.cr[step, channel]))
        for step in range(len(course.starts))
        for channel in range(bench.channels)
    ]
    for index, (want, got) in enumerate(zip(expected, course.commits, strict=True)):
        step = index // bench.channels
        check(want == got, f"step {step}: (channel, w, CR) {got}, not {want}; {bench.seed}")
    answers = [word for _, word in bench.readback.taken]
    wanted = [int(bench.model.depression[channel]) for channel in course.asked[: len(answers)]]
    check(len(course.asked) - len(answers) <= 1 and answers == wanted, f"reads mixed up; {bench.seed}")


@bench_test
async def latency(dut: Any) -> None:
    """A step and each CR take exactly the cycles that the component states."""
    bench = Bench(dut)
    await bench.start()
    for channel in range(bench.channels):
        await bench.write(channel, Parameter.WEIGHT, 0)  # fires at once
        await bench.send(channel, EventKind.PN)
    ticked = await bench.tick()
    await bench.idle(bench.timing.cycles_per_step)
    taken = bench.clock.cycle - ticked
    stated = bench.timing.cycles_per_step
    check(taken == stated, f"a step took {taken} cycles, stated are {stated}")
    count = len(bench.responses.taken)
    check(count == bench.channels, f"{count} CRs of {bench.channels} channels; {bench.seed}")
    for cycle, event in bench.responses.taken:
        got, stated = cycle - ticked, bench.timing.latency(event.channel)
        check(got == stated, f"CR of channel {event.channel} after {got} cycles, stated are {stated}")


@bench_test
async def access_between_steps(dut: Any) -> None:
    """Every parameter of every channel is written and read back; an access in mid-step waits for its end."""
    bench = Bench(dut)
    await bench.start()
    words: dict[tuple[int, Parameter], int] = {}
    for channel in range(bench.channels):
        for parameter, fmt in parameter_formats(bench.config).items():
            if parameter is Parameter.STATUS:
                continue
            words[channel, parameter] = bench.rng.randint(fmt.raw_min, fmt.raw_max)
            await bench.write(channel, parameter, words[channel, parameter])
    for (channel, parameter), word in words.items():
        got = await bench.read(channel, parameter)
        check(got == word, f"{parameter} of {channel}: {got:#x}, written {word:#x}; {bench.seed}")
    ticked = await bench.tick()
    await bench.write(0, Parameter.WEIGHT, 1)
    waited = bench.clock.cycle - ticked
    check(waited >= bench.timing.cycles_per_step, f"written {waited} cycles after the tick, within the step")
    word = await bench.read(0, Parameter.WEIGHT)
    check(word == 1, f"w is {word} where 1 was written; {bench.seed}")

    async def write_for_ever() -> None:
        while True:
            await bench.write(0, Parameter.WEIGHT, 1)

    writing = cocotb.start_soon(write_for_ever())
    for pause in range(8):
        await bench.tick()
        await ReadOnly()
        late = 0
        while not int(dut.busy.value):
            late += 1
            await FallingEdge(dut.clk)
            await ReadOnly()
        check(late <= 1, f"accesses held a step up for {late} cycles")
        await FallingEdge(dut.clk)
        await bench.idle(bench.timing.cycles_per_step)
        for _ in range(pause):
            await FallingEdge(dut.clk)
    writing.cancel()


@bench_test
async def steps_keep_their_time(dut: Any) -> None:
    """Through whole rounds of recalibration, with accesses in between, and after resets in mid-visit."""
    bench = Bench(dut)
    await bench.start()
    if not bench.config.recalibration.enabled:
        return
    period, visit = bench.config.recalibration_steps, visit_steps(bench.channels)
    for resets in range(3):
        for step in range(period + (visit * bench.channels if resets == 2 else bench.rng.randrange(visit))):
            if step % 37 == 0:
                channel = bench.rng.randrange(bench.channels)
                recalibration = bench.model.recalibration
                assert isinstance(recalibration, RecalibrationFixed)
                got = await bench.read(channel, Parameter.STATUS)
                want = recalibration.status[channel]
                check(got == want, f"status of {channel}: {got}, expected {want!r}; {bench.seed}")
                row = bench.rng.choice(list(Row))
                word = int(recalibration.words[channel, row])
                parameter = next(p for p in Parameter if p.row is row)
                got = await bench.read(channel, parameter)
                check(got == word, f"{row.name} of {channel}: {got}, expected {word}; {bench.seed}")
                if bench.rng.random() < 0.1:
                    await bench.write(channel, parameter, word)
                    recalibration.write(channel, row, word)
            pn, io = _draws(bench, 0.02), _draws(bench, 0.1)
            for channel in range(bench.channels):
                for fires, kind in ((pn[channel], EventKind.PN), (io[channel], EventKind.IO)):
                    if fires:
                        await bench.send(channel, kind)
            ticked = await bench.tick()
            await bench.idle(2 * bench.timing.cycles_per_step)
            taken = bench.clock.cycle - ticked
            stated = bench.timing.cycles_per_step
            check(taken == stated, f"step {step} took {taken} cycles, stated are {stated}; {bench.seed}")
            bench.model.step(pn, io)
        for channel in range(bench.channels):
            for parameter, words in (
                (Parameter.POTENTIATION, bench.model.potentiation),
                (Parameter.DEPRESSION, bench.model.depression),
            ):
                got = await bench.read(channel, parameter)
                about = f"{parameter} of {channel}: {got}, not {words[channel]}; {bench.seed}"
                check(got == words[channel], about)
        await bench.reset()
        bench.model.reset()


@bench_test
async def unknown_addresses(dut: Any) -> None:
    """Events and accesses that name nothing are refused, reported, and change nothing."""
    bench = Bench(dut)
    await bench.start()
    check(not int(dut.rejected.value), f"rejected before anything was sent; {bench.seed}")
    wrong = [(0, EventKind.CR.value)]
    if bench.channels < 1 << bench.event_code.channel_bits:
        wrong += [(bench.channels, 0), ((1 << bench.event_code.channel_bits) - 1, 1)]
    for channel, kind in wrong:
        await bench.reset()
        await bench.events.send(bench.event_code.encode(channel, kind))
        await ReadOnly()
        check(int(dut.rejected.value), f"event (channel {channel}, kind {kind}) was not refused")
        await bench.run_step([False] * bench.channels, [False] * bench.channels)
    await bench.reset()
    await bench.access.send(bench.access_code.encode(0, 26, 1))
    await ReadOnly()
    check(int(dut.rejected.value), "write of parameter 26 was not refused")
    await FallingEdge(dut.clk)
    answers = len(bench.readback.taken)
    await bench.access.send(bench.access_code.encode(0, 26))
    for _ in range(3):
        await FallingEdge(dut.clk)
    check([word for _, word in bench.readback.taken[answers:]] == [0], "a refused read answers 0")


@bench_test
async def lost_ticks(dut: Any) -> None:
    """One tick during a step waits for its end, and one more as that step starts; a third one is lost."""
    bench = Bench(dut)
    await bench.start()
    first = await bench.tick()
    await bench.tick()
    while bench.clock.cycle < first + bench.timing.cycles_per_step - 1:
        await FallingEdge(dut.clk)
    third = await bench.tick()
    check(
        third == first + bench.timing.cycles_per_step, "meant for the cycle in which the waiting step starts"
    )
    await ReadOnly()
    check(not int(dut.overrun.value), "a tick that can wait is no overrun")
    steps = 0
    for _ in range(3 * bench.timing.cycles_per_step):
        await FallingEdge(dut.clk)
        await ReadOnly()
        steps += int(dut.commit__valid.value) and int(dut.commit__channel.value) == bench.channels - 1
    check(steps == 2, f"two ticks that waited made {steps} steps")
    await FallingEdge(dut.clk)
    dut.tick.value = 1
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.tick.value = 0
    await ReadOnly()
    check(int(dut.overrun.value), "a lost tick was not reported")


@bench_test
async def reset_in_mid_run(dut: Any) -> None:
    """Reset, at any moment, brings back the configured state: no trace, pulse, detection or w survives."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(20):
        await bench.run_step(_draws(bench, 0.3), _draws(bench, 0.3))
    for channel in range(bench.channels):
        await bench.write(channel, Parameter.WEIGHT, 0)
        await bench.send(channel, EventKind.PN)
        await bench.send(channel, EventKind.IO)
    await bench.tick()
    for _ in range(bench.rng.randrange(bench.timing.cycles_per_step)):
        await FallingEdge(dut.clk)
    await bench.reset()
    bench.model.reset()
    for _ in range(bench.config.noi_delay_steps + bench.config.eligibility_delay_steps + 20):
        await bench.run_step(_draws(bench, 0.05), _draws(bench, 0.2))
    for channel in range(bench.channels):
        word, expected = await bench.read(channel, Parameter.WEIGHT), int(bench.model.weight[channel])
        check(word == expected, f"w of {channel}: {word:#x}, expected {expected:#x}; {bench.seed}")
