"""The front end with models of its amplifier chips, at its pins and at its stream of samples.

What is expected comes from ``golden_model.amplifier``: registers, commands, the clock cycle of each event.
Environment: ``MICROZONE_CONFIG`` (TOML) and what ``BenchBase`` takes; a fifth as many frames as steps.
The top module is ``amplifier_bench``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, First, ReadOnly, RisingEdge, Timer, with_timeout
from microzone.gateware.amplifier.amplifier import Amplifier, AmplifierFault
from microzone.golden_model.amplifier import (
    CALIBRATION_DUMMIES,
    REGISTERS,
    ChipId,
    Rom,
    amplifier_registers,
    calibrate_command,
    convert_command,
    decode_registers,
    read_command,
    write_command,
)
from microzone.golden_model.config import ChipConfig
from microzone.sim.benches.drivers import BenchBase
from microzone.sim.failure import check

_INPUTS = 32
bench_test = cocotb.test(timeout_time=60, timeout_unit="ms")


@dataclass(frozen=True)
class Sample:
    """A result as it was taken: in which cycle of the simulation, whose, and what."""

    cycle: int
    electrode: int
    value: int


class Bench(BenchBase):
    """The front end, its chips and cables, and what happened: samples, frames, commands."""

    def __init__(self, dut: Any) -> None:
        self.config = ChipConfig.from_toml(os.environ["MICROZONE_CONFIG"])
        # Clock() wants whole half periods; times are converted to those of the true clock.
        super().__init__(dut, period_ps=2 * round(1e12 / self.config.time.clock_hz / 2))
        self.some_frames = max(self.steps // 5, 2)
        self.front_end = Amplifier(self.config)
        self.timing = self.front_end.timing
        self.chips, self.channels = self.config.amplifier.chips, self.config.amplifier.channels
        self.codes = [0] * (self.chips * _INPUTS)
        self.samples: list[Sample] = []
        self.frames: list[int] = []
        self.commands: list[tuple[int, int]] = []
        self.pins_free = 0
        """Cycle after the last command at the pins."""

    @property
    def cycle(self) -> int:
        """Number of the present clock cycle."""
        return self.clock.cycle

    async def start(self, delays: list[int] | None = None) -> None:
        """Clock and reset, sound chips on cables of no delay, or of `delays` cycles."""
        dut = self.dut
        dut.ready.value = 1
        dut.present.value = (1 << self.chips) - 1
        self.set_chips([(ChipId.RHD2132, 32)] * self.chips)
        self.set_delays(delays or [0] * self.chips)
        self.set_codes([0] * len(self.codes))
        await self.start_clock("enable", "brown_out", "line_unplugged")
        self._violations = int(dut.violations.value)  # a reset may have cut a command short
        for watch in (self._watch_samples, self._watch_frames, self._watch_commands):
            cocotb.start_soon(watch())

    def set_chips(self, kinds: list[tuple[int, int]]) -> None:
        """Chip identifier and number of amplifiers of each."""
        self.dut.chip_id.value = sum(kind << 8 * i for i, (kind, _) in enumerate(kinds))
        self.dut.amplifiers.value = sum(count << 8 * i for i, (_, count) in enumerate(kinds))

    def set_delays(self, cycles: list[int]) -> None:
        """Clock cycles from each chip's MISO to the front end's."""
        self.dut.delay.value = sum(delay << 5 * i for i, delay in enumerate(cycles))

    def set_codes(self, codes: list[int]) -> None:
        """What converting gives, input after input, chip after chip."""
        self.codes = codes
        self.dut.codes.value = sum((code & 0xFFFF) << 16 * i for i, code in enumerate(codes))

    def any_codes(self) -> list[int]:
        """Codes of the full range, the ends often."""
        return [
            self.rng.choice((-0x8000, 0x7FFF, 0, -1, self.rng.randrange(-0x8000, 0x8000))) for _ in self.codes
        ]

    def code(self, electrode: int, codes: list[int]) -> int:
        """The code of an electrode."""
        return codes[electrode // self.channels * _INPUTS + electrode % self.channels]

    async def set_up(self) -> AmplifierFault:
        """Enable, and wait for the first frame or a fault; BenchFailure if not in the stated cycles.

        Those are ``setup_cycles``, and before them the rest of a command that is still at the pins.
        """
        await FallingEdge(self.dut.clk)
        self.dut.enable.value = 1
        began = self.cycle
        rest = max(self.pins_free - began, 0)
        check(
            rest < self.timing.command_cycles, f"the pins are free {rest} cycles after enabling; {self.seed}"
        )
        stated = self.front_end.setup_cycles + rest
        await First(
            RisingEdge(self.dut.running),
            self.dut.fault.value_change,
            Timer((stated + 9) * self.period_ps, "ps"),
        )
        await FallingEdge(self.dut.clk)
        fault = AmplifierFault(int(self.dut.fault.value))
        if fault is AmplifierFault.NONE:
            check(int(self.dut.running.value), f"neither frames nor a fault; {self.seed}")
            check(
                self.cycle - began == stated,
                f"set-up took {self.cycle - began} cycles, stated are {stated}, {rest} of them of a command "
                f"before it; {self.seed}",
            )
        return fault

    async def disable(self) -> None:
        """Low for long enough to end a command."""
        await FallingEdge(self.dut.clk)
        self.dut.enable.value = 0
        await self.wait(2 * self.timing.command_cycles)
        check(int(self.dut.cs_n.value) == 1, f"selected, although disabled; {self.seed}")
        fault = AmplifierFault(int(self.dut.fault.value))
        check(fault is AmplifierFault.NONE, f"{fault}, although disabled; {self.seed}")

    async def brown_out(self, chip: int) -> None:
        """A chip loses registers and calibration between two edges of the clock, and goes on."""
        self.dut.brown_out.value = 1 << chip
        await Timer(self.period_ps // 4, "ps")
        kept = int(self.dut.registers.value) >> chip * REGISTERS * 8 & ((1 << REGISTERS * 8) - 1)
        calibrated = int(self.dut.calibrated.value) >> chip & 1
        check(
            not kept and not calibrated,
            f"the model of chip {chip} keeps {kept:#x} without power; {self.seed}",
        )
        self.dut.brown_out.value = 0

    async def wait(self, cycles: int) -> None:
        """A number of clock cycles, from a falling edge to a falling edge."""
        if cycles:
            await Timer((cycles - 1) * self.period_ps + 3 * self.period_ps // 4, "ps")
            await FallingEdge(self.dut.clk)

    async def next_frame(self) -> int:
        """To the first cycle of the next frame, after its falling edge; the cycle's number."""
        await with_timeout(RisingEdge(self.dut.frame), 2 * self.timing.frame_cycles * self.period_ps, "ps")
        await FallingEdge(self.dut.clk)
        return self.cycle

    async def run_frames(self, count: int) -> None:
        """Frames with codes of their own; samples and their times are compared. Ends in the last one."""
        for _ in range(count):
            first = await self.next_frame()
            codes = self.any_codes()
            self.set_codes(codes)
            before = len(self.samples)
            await self.wait(self.timing.result_cycle(self.config.amplifier.electrodes - 1) + 1)
            expected = [
                Sample(first + self.timing.result_cycle(electrode), electrode, self.code(electrode, codes))
                for channel in range(self.channels)
                for electrode in range(channel, self.config.amplifier.electrodes, self.channels)
            ]
            for got, want in zip(self.samples[before:], expected, strict=True):
                check(got == want, f"{got}, expected {want} in the frame from {first}; {self.seed}")

    def finish(self) -> None:
        """No time of the data sheet was broken, and frames came to the cycle."""
        check(
            int(self.dut.violations.value) == self._violations,
            f"SPI timing: kind {int(self.dut.first_violation.value)} of spi_checker; {self.seed}",
        )
        length = self.timing.frame_cycles
        gaps = {after - before for before, after in pairwise(self.frames)}
        stray = {gap for gap in gaps if gap < self.front_end.setup_cycles} - {length}
        check(not stray, f"frames of {stray} cycles, stated are {length}; {self.seed}")

    async def _watch_samples(self) -> None:
        while True:
            await RisingEdge(self.dut.valid)
            while True:
                await FallingEdge(self.dut.clk)
                await ReadOnly()
                if not int(self.dut.valid.value):
                    break
                if int(self.dut.ready.value):
                    payload = int(self.dut.payload.value)
                    bits = len(self.dut.payload) - 16
                    value = payload >> bits
                    self.samples.append(
                        Sample(self.cycle, payload & ((1 << bits) - 1), value - (value >> 15 << 16))
                    )

    async def _watch_frames(self) -> None:
        while True:
            await RisingEdge(self.dut.frame)
            self.frames.append(self.cycle)

    async def _watch_commands(self) -> None:
        while True:
            await FallingEdge(self.dut.cs_n)
            began, word = self.cycle, 0
            self.pins_free = began - 1 + self.timing.command_cycles
            for _ in range(16):
                await RisingEdge(self.dut.sclk)
                word = word << 1 | int(self.dut.mosi.value)
            self.commands.append((began, word))


async def started(dut: Any, delays: list[int] | None = None) -> Bench:
    """A bench whose front end is in its first frame."""
    bench = Bench(dut)
    await bench.start(delays)
    fault = await bench.set_up()
    check(fault is AmplifierFault.NONE, f"{fault} in set-up; {bench.seed}")
    return bench


@bench_test
async def set_up_as_the_chip_sees_it(dut: Any) -> None:
    """Registers, calibration with nine dummies, pauses of 100 µs; then frames of the stated commands."""
    bench = Bench(dut)
    await bench.start()
    enabled = bench.cycle
    check(await bench.set_up() is AmplifierFault.NONE, bench.seed)
    timing, config = bench.timing, bench.config
    words = [word for _, word in bench.commands]
    wanted = amplifier_registers(config)
    writes = [word for word in words if word >> 14 == 0b10]
    stated = [write_command(index, word) for index, word in enumerate(wanted)]
    check(writes == stated, f"set-up writes {writes}, not {stated}; {bench.seed}")
    for chip in range(bench.chips):
        kept = int(dut.registers.value) >> chip * REGISTERS * 8
        registers = [kept >> 8 * index & 0xFF for index in range(REGISTERS)]
        check(registers == list(wanted), f"chip {chip} has {registers}; {bench.seed}")
        settings = decode_registers(registers, config.amplifier.rate_hz)
        band = settings.low_hz, settings.high_hz
        check(band == config.amplifier.bandwidth_hz, f"chip {chip} passes {band} Hz; {bench.seed}")
        sound = settings.twos_complement and settings.amplifying and not settings.absolute
        check(sound, f"chip {chip} is set up as {settings}; {bench.seed}")
        powered = [index for index, on in enumerate(settings.powered) if on]
        check(powered == list(range(bench.channels)), f"chip {chip} powers {powered}; {bench.seed}")
    at = words.index(calibrate_command())
    check(len(words) == at + 1 + CALIBRATION_DUMMIES, f"{len(words) - at - 1} dummies after CALIBRATE")
    calibrated = int(dut.calibrated.value)
    check(calibrated == (1 << bench.chips) - 1, f"calibrated chips: {calibrated:#b}; {bench.seed}")
    began = [cycle for cycle, _ in bench.commands]
    pause_ns = 1e9 / config.time.clock_hz
    check((began[0] - enabled) * pause_ns >= 100e3, "the first command comes within 100 µs")
    last_write = max(index for index, word in enumerate(words) if word >> 14 == 0b10)
    check((began[at] - began[last_write]) * pause_ns >= 100e3, "CALIBRATE comes within 100 µs of a register")

    bench.commands.clear()
    # The RHD2216 has no registers 16 and 17 to read.
    told = [index for index, word in enumerate(wanted) if word and (index < 16 or bench.channels > 16)]
    for frame in range(max(bench.some_frames, len(told) + 2)):
        first = await bench.next_frame() if bench.commands else bench.cycle
        bench.commands.clear()
        await bench.wait(timing.active_cycles)
        for index, (cycle, _) in enumerate(bench.commands):
            check(cycle == first + 1 + index * timing.command_cycles, f"command {index} in cycle {cycle}")
        due = [
            *map(convert_command, range(bench.channels)),
            read_command(Rom.INTAN + frame % 5),
            read_command(told[frame % len(told)]),
        ]
        sent = [word for _, word in bench.commands]
        check(sent == due, f"frame {frame}: commands {sent}, not {due}; {bench.seed}")
    bench.finish()


@bench_test
async def samples_equal_codes(dut: Any) -> None:
    """Every electrode's code of many frames, in the stated cycle; cables of unlike delay."""
    delays = [(3 * chip + 1) % 5 * Bench(dut).timing.half_period for chip in range(Bench(dut).chips)]
    bench = await started(dut, delays)
    await bench.run_frames(bench.some_frames)
    frames = len(bench.frames)
    check(frames >= bench.some_frames, f"{frames} frames instead of {bench.some_frames}; {bench.seed}")
    bench.finish()


@bench_test
async def sampled_in_the_stated_cycle(dut: Any) -> None:
    """A code that comes in `conversion_cycle` is too late, one in the cycle before is in time."""
    bench = await started(dut)
    for channel in {0, bench.channels // 2, bench.channels - 1}:
        first = await bench.next_frame()
        early, right, late = (bench.any_codes() for _ in range(3))
        stated = first + bench.timing.conversion_cycle(channel)
        bench.set_codes(early)
        await bench.wait(stated - 1 - bench.cycle)
        check(bench.cycle == stated - 1, f"in cycle {bench.cycle} instead of {stated - 1}; {bench.seed}")
        bench.set_codes(right)  # from the middle of the cycle before
        await bench.wait(1)
        bench.set_codes(late)
        before = len(bench.samples)
        await bench.wait(bench.timing.result_cycle(bench.config.amplifier.electrodes - 1))
        values = {sample.electrode: sample.value for sample in bench.samples[before:]}
        for electrode in range(channel, bench.config.amplifier.electrodes, bench.channels):
            want = bench.code(electrode, right)
            check(
                values[electrode] == want,
                f"electrode {electrode}: {values[electrode]}, not {want}; {bench.seed}",
            )
    bench.finish()


@bench_test
async def cables_of_every_length(dut: Any) -> None:
    """Every delay of whole cycles up to two bits is found, for each chip its own."""
    bench = Bench(dut)
    await bench.start()
    longest = bench.timing.delay_cycles
    bits = len(dut.delays) // bench.chips
    for delay in range(longest + 1):
        delays = [delay if chip == 0 else bench.rng.randint(0, longest) for chip in range(bench.chips)]
        bench.set_delays(delays)
        check(await bench.set_up() is AmplifierFault.NONE, f"cables of {delays} cycles; {bench.seed}")
        packed = int(dut.delays.value)
        found = [packed >> bits * chip & ((1 << bits) - 1) for chip in range(bench.chips)]
        check(found == delays, f"found delays of {found} cycles, cables have {delays}; {bench.seed}")
        await bench.run_frames(2)
        await bench.disable()
    bench.finish()


@bench_test
async def pins_keep_their_times(dut: Any) -> None:
    """Edges of a frame, measured in nanoseconds of the true clock."""
    bench = await started(dut)
    edges: list[tuple[int, int, int]] = []

    async def watch() -> None:
        while True:
            await First(dut.cs_n.value_change, dut.sclk.value_change)
            await ReadOnly()
            edges.append((bench.cycle, int(dut.cs_n.value), int(dut.sclk.value)))

    await bench.next_frame()
    cocotb.start_soon(watch())
    await bench.wait(bench.timing.active_cycles)
    ns = 1e9 / bench.config.time.clock_hz
    lengths: dict[str, list[float]] = {name: [] for name in ("off", "high", "low", "lead", "trail")}
    for (begin, was_off, was_high), (end, is_off, _) in pairwise(edges):
        name = "off" if was_off else "high" if was_high else "trail" if is_off else "low"
        lengths[name].append((end - begin) * ns)
    for (_, was_off, _), (end, _, _), (rise, _, _) in zip(edges, edges[1:], edges[2:], strict=False):
        if was_off:
            lengths["lead"].append((rise - end) * ns)
    high, low, off = lengths["high"], lengths["low"], lengths.pop("off")
    check(len(high) == 16 * (bench.channels + 2), f"{len(high)} clocks in a frame")
    check(min(off) >= 154, f"CS high for {min(off):.1f} ns")
    # 24 MHz: half a period of 20.83 ns, of which the data sheet's 20.8 is the rounding.
    for name, durations in lengths.items():
        check(min(durations) >= 20.8, f"{name}: {min(durations):.2f} ns")
    shortest = min(high) + min(low)
    check(shortest >= 1e9 / 24e6 - 1e-6, f"a period of {shortest:.2f} ns; {bench.seed}")
    bench.finish()


@bench_test
async def chips_that_are_not_there(dut: Any) -> None:
    """A chip that is missing is named, whatever its line does; with it, all is well."""
    bench = Bench(dut)
    await bench.start()
    for line in range(3):
        missing = bench.rng.randrange(bench.chips)
        dut.line_unplugged.value = line << 2 * missing
        dut.present.value = ((1 << bench.chips) - 1) & ~(1 << missing)
        fault = await bench.set_up()
        check(fault is AmplifierFault.ABSENT, f"{fault} with line {line}; {bench.seed}")
        check(int(dut.faulty_chip.value) == missing, f"chip {missing} is missing; {bench.seed}")
        await bench.wait(bench.timing.command_cycles)
        commands = len(bench.commands)
        await bench.wait(2 * bench.timing.frame_cycles)
        check(len(bench.commands) == commands and int(dut.cs_n.value), "SPI goes on after a fault")
        await bench.disable()
    dut.present.value = (1 << bench.chips) - 1
    check(await bench.set_up() is AmplifierFault.NONE, f"does not come up again; {bench.seed}")
    await bench.run_frames(1)
    bench.finish()


@bench_test
async def chips_that_do_not_fit(dut: Any) -> None:
    """RHD2164, and chips with too few amplifiers, are refused; an RHD2216 where it suffices is not."""
    bench = Bench(dut)
    await bench.start()
    kinds = {
        (ChipId.RHD2164, 64): False,
        (ChipId.RHD2216, 16): bench.channels <= 16,
        (ChipId.RHD2132, bench.channels - 1): False,
        (3, 32): False,
        (ChipId.RHD2132, bench.channels): True,
    }
    for kind, fits in kinds.items():
        odd = bench.rng.randrange(bench.chips)
        bench.set_chips([kind if chip == odd else (ChipId.RHD2132, 32) for chip in range(bench.chips)])
        fault = await bench.set_up()
        want = AmplifierFault.NONE if fits else AmplifierFault.WRONG_CHIP
        check(fault is want, f"{kind}: {fault}, not {want}; {bench.seed}")
        check(fits or int(dut.faulty_chip.value) == odd, f"chip {odd} is of the wrong kind; {bench.seed}")
        await bench.disable()
    check(not bench.samples, f"{len(bench.samples)} samples from chips of the wrong kind; {bench.seed}")
    bench.finish()


async def expect_loss(bench: Bench, chip: int, began: int) -> None:
    """After harm to a chip in the frame from `began`: LOST before the next frame's first result."""
    timing = bench.timing
    await with_timeout(bench.dut.fault.value_change, 2 * timing.frame_cycles * bench.period_ps, "ps")
    lost = bench.cycle
    await bench.wait(2 * timing.frame_cycles)
    fault = AmplifierFault(int(bench.dut.fault.value))
    check(fault is AmplifierFault.LOST, f"{fault} after chip {chip} was lost; {bench.seed}")
    check(not int(bench.dut.running.value), f"runs on after chip {chip} was lost; {bench.seed}")
    check(int(bench.dut.faulty_chip.value) == chip, f"chip {chip} was lost; {bench.seed}")
    latest = began + timing.frame_cycles + timing.first_result_cycle
    check(lost <= latest, f"lost {lost - latest} cycles too late; {bench.seed}")
    check(bench.samples[-1].cycle < lost and bench.frames[-1] < lost, "samples or frames after a fault")


@bench_test
async def unplugged_in_mid_frame(dut: Any) -> None:
    """A chip that goes in any cycle of a frame is lost; plugged in again and enabled anew, it runs."""
    bench = await started(dut)
    for line in range(3):
        await bench.run_frames(1)
        began, chip = await bench.next_frame(), bench.rng.randrange(bench.chips)
        await bench.wait(bench.rng.randrange(bench.timing.active_cycles))
        dut.line_unplugged.value = line << 2 * chip
        dut.present.value = ((1 << bench.chips) - 1) & ~(1 << chip)
        await expect_loss(bench, chip, began)
        dut.present.value = (1 << bench.chips) - 1
        await bench.wait(bench.timing.frame_cycles)
        check(not int(dut.running.value), "it runs again by itself")
        await bench.disable()
        check(await bench.set_up() is AmplifierFault.NONE, bench.seed)
    await bench.run_frames(2)
    bench.finish()


@bench_test
async def brown_out(dut: Any) -> None:
    """A chip that forgets its registers, and else goes on, is lost within a frame, in set-up too."""
    bench = await started(dut)
    for time in range(3):
        for _ in range(bench.rng.randrange(1, 9)):
            began = await bench.next_frame()
        chip = bench.rng.randrange(bench.chips)
        await bench.wait(bench.rng.randrange(bench.channels * bench.timing.command_cycles))
        await bench.brown_out(chip)
        await expect_loss(bench, chip, began)
        await bench.disable()
        if time < 2:
            check(await bench.set_up() is AmplifierFault.NONE, bench.seed)
    await FallingEdge(dut.clk)
    dut.enable.value = 1
    while bench.commands[-1][1] != write_command(17, amplifier_registers(bench.config)[17]):
        await FallingEdge(dut.cs_n)
    await bench.brown_out(0)
    await with_timeout(dut.fault.value_change, bench.front_end.setup_cycles * bench.period_ps, "ps")
    await FallingEdge(dut.clk)
    fault = AmplifierFault(int(dut.fault.value))
    check(fault is AmplifierFault.LOST, f"{fault} after a loss of power; {bench.seed}")
    bench.finish()


@bench_test
async def samples_that_are_not_taken(dut: Any) -> None:
    """A result may wait until the next ones come, not longer: OVERRUN names the first chip that waits."""
    bench = await started(dut)
    timing = bench.timing
    for late in range(bench.chips + 1):
        first = await bench.next_frame()
        codes = bench.any_codes()
        bench.set_codes(codes)
        before = len(bench.samples)
        dut.ready.value = 0
        # The next results replace these in the cycle before they are at `samples`.
        until_next = timing.command_cycles if bench.channels > 1 else timing.frame_cycles
        last = first + timing.first_result_cycle + until_next - 1
        await bench.wait(last + late - bench.chips + 1 - bench.cycle)
        if late < bench.chips:
            check(int(dut.fault.value) == 0 and int(dut.valid.value), bench.seed)
        dut.ready.value = 1
        await bench.wait(bench.chips + 2)
        fault = AmplifierFault(int(dut.fault.value))
        want = AmplifierFault.OVERRUN if late else AmplifierFault.NONE
        check(fault is want, f"{late} results too late: {fault}, not {want}; {bench.seed}")
        if late:
            check(int(dut.faulty_chip.value) == bench.chips - late, bench.seed)
            check(not int(dut.valid.value), f"samples after {late} late results; {bench.seed}")
            check(not int(dut.running.value), f"runs on after {late} late results; {bench.seed}")
        in_time = [(sample.electrode, sample.value) for sample in bench.samples[before:]][
            : bench.chips - late
        ]
        electrodes = range(0, bench.config.amplifier.electrodes, bench.channels)[: bench.chips - late]
        check(in_time == [(e, bench.code(e, codes)) for e in electrodes], bench.seed)
        await bench.disable()
        check(await bench.set_up() is AmplifierFault.NONE, f"does not come up again; {bench.seed}")
    bench.finish()


@bench_test
async def enable_at_any_time(dut: Any) -> None:
    """Disabled in any cycle of set-up or a frame, the last command ends; enabled again, it starts anew."""
    bench = Bench(dut)
    await bench.start()
    setup, command = bench.front_end.setup_cycles, bench.timing.command_cycles
    calibrating = [setup - commands * command + bench.rng.randrange(command) for commands in range(1, 12)]
    passes = [
        bench.rng.randrange(setup),
        setup + bench.rng.randrange(2000),
        *bench.rng.sample(calibrating, 6),
    ]
    cut = 0
    for run_for in bench.rng.sample(passes, len(passes)):
        await FallingEdge(dut.clk)
        dut.enable.value = 1
        await bench.wait(run_for)
        dut.enable.value = 0
        low = bench.rng.choice((1, 3, bench.rng.randrange(1, 2 * command)))
        await bench.wait(low - 1)
        cut += bench.pins_free > bench.cycle + 1
        fault = await bench.set_up()
        check(fault is AmplifierFault.NONE, f"{run_for} cycles, {low} without: {fault}; {bench.seed}")
        await bench.run_frames(1)
        await bench.disable()
    check(cut, f"never enabled while a command was at the pins; {bench.seed}")
    bench.finish()
