"""The event detection at its ports: order, gaps, back-pressure, accesses in mid-stream, faults, reset.

Every signal of every sample is compared with ``DetectorFixed``. Environment: ``MICROZONE_CONFIG`` (a key of
``detection_scenarios.DETECTION_CONFIGS``) and what ``BenchBase`` takes; the channels are electrodes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cocotb
import numpy as np
from amaranth.hdl import Shape
from cocotb.triggers import FallingEdge, ReadOnly
from microzone.gateware.detection.detection import DetectionTiming
from microzone.gateware.detection.parameters import detection_word_width
from microzone.gateware.detection.ports import detection_commit_shapes
from microzone.gateware.events import channel_shape
from microzone.golden_model.detection import SIGNALS, DetectorFixed
from microzone.golden_model.detection_parameters import DetectionRow
from microzone.sim.benches.drivers import BenchBase, StreamMonitor, StreamSource, bench_test, sometimes
from microzone.sim.failure import check
from microzone.sim.replay.detection_scenarios import DETECTION_CONFIGS

_ROW_BITS = int(Shape.cast(DetectionRow).width)


class Sample(NamedTuple):
    """A sample that was accepted, and when."""

    cycle: int
    electrode: int
    word: int
    blanked: bool


class Access(NamedTuple):
    """An access that was served, and when; a read has no word."""

    cycle: int
    electrode: int
    row: int
    word: int | None


class Bench(BenchBase):
    """The block with its drivers and monitors, what was sent to it, and what it committed."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        setup = DETECTION_CONFIGS[self.config_text]
        self.electrodes = self.channels
        self.setup = setup.config, setup.settings(self.electrodes), setup.rate_hz
        self.timing = DetectionTiming(*self.setup)
        self.parameters = self.timing.parameters
        self.bits = channel_shape(self.electrodes).width
        self.samples = StreamSource(self.clock, dut, "samples")
        self.access = StreamSource(self.clock, dut, "access")
        self.events = StreamMonitor(self.clock, dut, "events", int)
        self.readback = StreamMonitor(self.clock, dut, "readback", int)
        self.frames: list[list[Sample]] = []
        self.accesses: list[Access] = []
        self.commits: list[dict[str, int]] = []
        self.refused = 0
        """Cycles in which an event was offered and not taken."""

    async def start(self) -> None:
        """Clock and reset; returns once the block is idle."""
        self.events.start()
        self.readback.start()
        cocotb.start_soon(self._watch())
        await self.start_clock("frame")
        await self.initialised()

    async def reset(self) -> None:
        """Reset for two cycles; returns once the block is idle, all that was seen forgotten."""
        await self.pulse_reset()
        for seen in (self.frames, self.accesses, self.commits, self.events.taken, self.readback.taken):
            seen.clear()
        await self.initialised()

    async def initialised(self) -> None:
        """Until the block is idle after a reset, in the stated cycles."""
        await self.wait(self.timing.initialise_cycles)
        await ReadOnly()
        check(not int(self.dut.busy.value), f"busy longer than the stated initialisation; {self.seed}")
        await FallingEdge(self.dut.clk)

    async def _watch(self) -> None:
        names = ("electrode", "blanked", *detection_commit_shapes(self.parameters))
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.refused += int(self.dut.events__valid.value) and not int(self.dut.events__ready.value)
            if int(self.dut.commit__valid.value) and not int(self.dut.rst.value):
                self.commits.append({name: int(getattr(self.dut, f"commit__{name}").value) for name in names})

    async def pulse_frame(self) -> None:
        await FallingEdge(self.dut.clk)
        self.dut.frame.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.frame.value = 0

    def _draw(self) -> int:
        fmt = self.setup[0].formats.sample
        return round(
            min(max(self.rng.gauss(0, fmt.raw_max / self.rng.choice((3, 100))), fmt.raw_min), fmt.raw_max)
        )

    async def send(self, electrode: int, word: int, blanked: bool) -> int:
        width = self.setup[0].formats.sample.width
        high = word % (1 << width) | int(blanked) << width
        return await self.samples.send(electrode | high << self.bits)

    async def run_frame(self) -> None:
        """One sample of every electrode, in any order; the frame's strobe with the first one or before it."""
        order = self.rng.sample(range(self.electrodes), self.electrodes)
        strobe = cocotb.start_soon(self.pulse_frame())
        if self.rng.random() < 0.5:
            await strobe
        self.frames.append([])
        for electrode in order:
            word, blanked = self._draw(), self.rng.random() < 0.1
            cycle = await self.send(electrode, word, blanked)
            self.frames[-1].append(Sample(cycle, electrode, word, blanked))
        while len(self.commits) < self.electrodes * len(self.frames):
            await FallingEdge(self.dut.clk)

    async def make_access(self, electrode: int, row: int, word: int | None = None) -> None:
        width = detection_word_width(self.parameters)
        payload = row | int(word is not None) << _ROW_BITS | ((word or 0) % (1 << width)) << _ROW_BITS + 1
        cycle = await self.access.send(electrode | payload << self.bits)
        self.accesses.append(Access(cycle, electrode, row, word))

    def any_word(self, row: DetectionRow) -> int:
        """A word of any size; one in four has bits beyond the format of its row."""
        if self.rng.random() < 0.25:
            return self.rng.getrandbits(detection_word_width(self.parameters))
        fmt = self.parameters.row_format(row)
        return self.rng.randint(fmt.raw_min, fmt.raw_max) >> self.rng.randrange(fmt.width)

    def exists(self, access: Access) -> bool:
        return access.electrode < self.electrodes and access.row in self.parameters.rows

    def check(self) -> None:
        """Compare all commits and events since reset with the model."""
        model = DetectorFixed(*self.setup)
        waiting = [a for a in self.accesses if a.word is not None and self.exists(a)]
        expected: list[dict[str, int]] = []
        for frame in self.frames:
            # The model takes a frame at once: it gets what was written before each electrode's own sample.
            accepted = {sample.electrode: sample.cycle for sample in frame}
            for access in [a for a in waiting if a.cycle < accepted[a.electrode]]:
                model.write(access.electrode, DetectionRow(access.row), access.word or 0)
                waiting.remove(access)
            by_electrode = sorted(frame, key=lambda sample: sample.electrode)
            row = np.array([[one.word for one in by_electrode]])
            mask = np.array([[one.blanked for one in by_electrode]])
            found = model.process(row, blanked=mask, trace=True)
            for sample in frame:
                e = sample.electrode
                one = {name: int(found.words[name][0, e]) for name in SIGNALS}
                one |= {"electrode": e, "blanked": int(sample.blanked), "event": found.samples[e].size}
                expected.append(one)
        shapes = detection_commit_shapes(self.parameters)
        for index, (want, got) in enumerate(zip(expected, self.commits, strict=True)):
            wanted = {name: word & ((1 << shapes[name].width) - 1) if name in shapes else word
                      for name, word in want.items()}  # fmt: skip
            number = index // self.electrodes
            check(got == wanted, f"frame {number}: {got}, expected {wanted}; {self.seed}")
        sent = [electrode for _, electrode in self.events.taken]
        wanted_events = [one["electrode"] for one in expected if one["event"]]
        check(sent == wanted_events, f"events of {sent}, expected {wanted_events}; {self.seed}")

    def check_answers(self) -> None:
        """Each read is answered by what the model has after the writes before it, in order."""
        model, width = DetectorFixed(*self.setup), detection_word_width(self.parameters)
        answers = iter(self.readback.taken)
        for access in filter(self.exists, self.accesses):
            row = DetectionRow(access.row)
            if access.word is not None:
                model.write(access.electrode, row, access.word)
                continue
            want = model.read(access.electrode, row) % (1 << width)
            _, got = next(answers)
            check(got == want, f"{access}: answer {got:#x}, expected {want:#x}; {self.seed}")
        check(next(answers, None) is None, f"more answers than reads; {self.seed}")


@bench_test
async def order_gaps_and_accesses(dut: Any) -> None:
    """Any order and pace of samples, a slow reader, and accesses all the time: equal in every signal."""
    bench = Bench(dut)
    rng = bench.rng
    bench.events.ready = sometimes(rng, 0.1)
    bench.readback.ready = sometimes(rng, 0.2)
    bench.samples.gap = lambda: rng.choice((0, 0, rng.randrange(3), rng.randrange(60)))
    bench.access.gap = lambda: rng.randrange(200)
    await bench.start()
    running = True

    async def make_accesses() -> None:
        while running:
            row, electrode = rng.choice(bench.parameters.rows), rng.randrange(bench.electrodes)
            await bench.make_access(electrode, row, bench.any_word(row) if rng.random() < 0.3 else None)

    accesses = cocotb.start_soon(make_accesses())
    frames = max(40, 300 // bench.electrodes)
    for frame in range(10 * frames):
        if frame >= frames and bench.refused:
            break  # what is written may keep events away for a long time
        await bench.run_frame()
    running = False
    await accesses
    await bench.wait(200)
    check(not int(dut.rejected.value), f"rejected something; {bench.seed}")
    bench.check()
    bench.check_answers()
    check(bench.refused, f"events wait for their reader to be offered; {bench.seed}")
    check(any(commit["event"] for commit in bench.commits), f"no event at all; {bench.seed}")


@bench_test
async def an_access_holds_nothing_up(dut: Any) -> None:
    """Accesses offered without a pause cost a sample that comes one cycle at most."""
    bench = Bench(dut)
    await bench.start()

    async def read_for_ever() -> None:
        while True:
            await bench.make_access(0, DetectionRow.GAIN)

    reads = cocotb.start_soon(read_for_ever())
    for pause in range(12):
        await bench.pulse_frame()
        await bench.wait(pause)
        offered = bench.clock.cycle
        for electrode in range(bench.electrodes):
            await bench.send(electrode, 0, False)
            if electrode == 0:
                late = bench.clock.cycle - 2 - offered
                check(late <= 1, f"accesses held a sample up for {late} cycles; {bench.seed}")
        await bench.wait(3 * bench.timing.latency + bench.electrodes)
    reads.cancel()


@bench_test
async def unknown_addresses(dut: Any) -> None:
    """Samples and accesses that name nothing are refused, reported, and change nothing."""
    bench = Bench(dut)
    await bench.start()
    check(not int(dut.rejected.value), f"rejected before anything was sent; {bench.seed}")
    rows = [row for row in range(1 << _ROW_BITS) if row not in bench.parameters.rows]
    wrong = [(0, row) for row in rows]
    if bench.electrodes < 1 << bench.bits:
        wrong += [(bench.electrodes, int(row)) for row in bench.parameters.rows]
        await bench.send(bench.electrodes, 1, False)
        await ReadOnly()
        check(int(dut.rejected.value), "a sample of an electrode that does not exist was not refused")
        await bench.wait(2 * bench.timing.latency)
        check(not bench.commits, "a refused sample was committed")
    for electrode, row in wrong:
        await bench.reset()
        await bench.run_frame()
        await bench.make_access(electrode, row, -1)
        await ReadOnly()
        check(int(dut.rejected.value), f"write of row {row}, electrode {electrode} was not refused")
        await FallingEdge(dut.clk)
        await bench.make_access(electrode, row)
        await bench.run_frame()
        await bench.run_frame()
        await bench.wait(2)
        bench.check()
        check([word for _, word in bench.readback.taken] == [0], "a refused read answers 0")


@bench_test
async def reset_in_mid_run(dut: Any) -> None:
    """Reset, at any moment, brings back the configured parameters and a state at rest."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(4):
        for _ in range(6):
            await bench.run_frame()
        for row in bench.parameters.rows:
            await bench.make_access(bench.rng.randrange(bench.electrodes), row, bench.any_word(row))
        running = cocotb.start_soon(bench.run_frame())
        await bench.wait(bench.rng.randrange(2 * bench.timing.latency))
        running.cancel()
        bench.dut.samples__valid.value, bench.dut.frame.value = 0, 0
        await bench.reset()
        for row in bench.parameters.rows:
            await bench.make_access(bench.rng.randrange(bench.electrodes), row)
        for _ in range(30):
            await bench.run_frame()
        await bench.wait(2)
        bench.check()
        bench.check_answers()
