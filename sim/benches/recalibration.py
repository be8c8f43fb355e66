"""The evaluator of the recalibration by itself: what it computes, and how long it takes.

Compared with ``RecalibrationFixed.evaluate``. Environment: ``MICROZONE_CONFIG`` (TOML) and what ``BenchBase``
takes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge
from microzone.gateware.events import channel_shape
from microzone.gateware.microcircuit.rational import ROW_BITS
from microzone.golden_model.config import ChipConfig
from microzone.golden_model.recalibration import (
    EXPONENT,
    RecalibrationFixed,
    Row,
    Status,
    count_bits,
    evaluation_cycles,
    row_format,
)
from microzone.sim.benches.drivers import BenchBase, bench_test
from microzone.sim.failure import check
from microzone.sim.replay.scenarios import coefficient_set

_EVALUATIONS = 300


class Bench(BenchBase):
    """The evaluator, and the fixed-point model beside it."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.draws = np.random.default_rng(cocotb.RANDOM_SEED)
        self.config = ChipConfig.from_toml(self.config_text)
        self.model = RecalibrationFixed(self.config, self.channels)

    async def start(self) -> None:
        """Clock, reset, and the configured coefficients."""
        await self.start_clock(
            "start", "channel", "counted", "lend", "write", "clear", "address", "write_data"
        )
        self.dut.clear.value = 1
        rows = 1 << ROW_BITS + channel_shape(self.channels).width
        for cycle in range(rows + int(self.draws.integers(rows))):  # longer than need be
            self.dut.address.value = cycle % rows
            await FallingEdge(self.dut.clk)
        self.dut.clear.value = 0

    async def write(self, channel: int, row: Row, word: int) -> None:
        """Write a coefficient, in the model too."""
        self.model.write(channel, row, word)
        self.dut.address.value = row | channel << ROW_BITS
        self.dut.write_data.value = word % (1 << self.config.formats.coefficient.width)
        self.dut.write.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.write.value = 0

    async def read(self, channel: int, row: Row) -> int:
        """Borrow the memory for one cycle; the word that it answers."""
        self.dut.address.value = row | channel << ROW_BITS
        self.dut.lend.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.lend.value = 0
        await ReadOnly()
        word = int(self.dut.read_data.value)
        await FallingEdge(self.dut.clk)
        width = self.config.formats.coefficient.width
        return word - (word >> width - 1 << width)

    async def evaluate(self, channel: int, count: int, observed: int, *, reads: bool) -> Status:
        """One evaluation, compared; `reads` borrows the memory in every second cycle, or writes to it."""
        for name, value in (("channel", channel), ("counted", count), ("start", 1)):
            getattr(self.dut, name).value = value
        began = self.clock.cycle
        await FallingEdge(self.dut.clk)
        for name, value in (("start", 0), ("channel", 0), ("counted", observed)):
            getattr(self.dut, name).value = value
        await FallingEdge(self.dut.clk)
        self.dut.counted.value = 0
        await ReadOnly()
        if not int(self.dut.done.value):
            if reads:
                while not int(self.dut.done.value):
                    await FallingEdge(self.dut.clk)
                    row = Row(int(self.draws.choice(list(Row))))
                    if self.channels > 1 and self.draws.random() < 0.5:
                        fmt = row_format(self.config, row)
                        number = int(self.draws.integers(fmt.raw_min, fmt.raw_max, endpoint=True))
                        await self.write((channel + 1) % self.channels, row, number)
                        await ReadOnly()
                        continue
                    word = await self.read(channel, row)
                    check(word == self.model.words[channel, row], f"{row.name} read back wrong; {self.seed}")
                    await ReadOnly()
            else:
                while not int(self.dut.done.value):
                    await RisingEdge(self.dut.done)
                    await ReadOnly()  # a netlist may glitch
        taken = self.clock.cycle - began
        limit = evaluation_cycles(self.config)
        check(taken <= limit, f"an evaluation took {taken} cycles, stated are {limit}; {self.seed}")
        status, rate, plasticity = self.model.evaluate(channel, count, observed)
        got = (int(self.dut.status.value), int(self.dut.rate.value))
        about = (
            f"{count} detections in {observed} steps, words {self.model.words[channel].tolist()}; {self.seed}"
        )
        check(got == (status, rate), f"(status, rate) {got}, expected {(int(status), rate)}: {about}")
        if plasticity is not None:
            words = (int(self.dut.potentiation.value), int(self.dut.depression.value))
            check(words == plasticity, f"(δp, δd) {words}, expected {plasticity}: {about}")
        await FallingEdge(self.dut.clk)
        return Status(status)


@bench_test
async def equal_to_the_model(dut: Any) -> None:
    """Any coefficients, any counts: status, rate, δp and δd are the model's, within the stated cycles."""
    bench = Bench(dut)
    await bench.start()
    config, rng = bench.config, bench.draws
    longest = (1 << count_bits(config)) - 1
    per_step = config.recalibration.rate_max_hz * config.time.step_s
    seen: Counter[Status] = Counter()
    for index in range(_EVALUATIONS):
        channel = int(rng.integers(bench.channels))
        if index >= 8:
            for parameter, word in coefficient_set(config, rng).items():
                assert parameter.row is not None
                await bench.write(channel, parameter.row, word)
        observed = int(
            rng.choice(
                (0, 1, longest, int(rng.integers(1, longest, endpoint=True))), p=(0.05, 0.05, 0.1, 0.8)
            )
        )
        sensible = int(observed * per_step * rng.random())
        count = int(rng.choice((0, observed, sensible), p=(0.05, 0.05, 0.9)))
        seen[await bench.evaluate(channel, count, observed, reads=index % 5 == 0)] += 1
    every = set(Status) - {Status.NEVER, Status.INTERRUPTED}
    if not config.recalibration.rate_min_hz and per_step > 0.5:
        every.discard(Status.RATE)
    check(set(seen) >= every, f"the stimulus met only {dict(seen)}; {bench.seed}")
    dut._log.info(f"statuses: {dict(seen)}")


@bench_test
async def nothing_to_divide(dut: Any) -> None:
    """Numerators of 0 over the smallest scale: δp and δd are 0, and as soon as any others."""
    bench = Bench(dut)
    await bench.start()
    config = bench.config
    words = dict.fromkeys(Row, 0) | {Row.BETA_0: config.formats.coefficient.raw_max}
    words |= {Row.BETA_EXPONENT: EXPONENT.raw_min}
    words |= dict.fromkeys((Row.ALPHA_EXPONENT, Row.GAMMA_EXPONENT), EXPONENT.raw_max)
    for row, word in words.items():
        await bench.write(0, row, word)
    observed = (1 << count_bits(config)) - 1
    count = int(observed * config.recalibration.rate_max_hz * config.time.step_s / 2)
    check(await bench.evaluate(0, count, observed, reads=False) is Status.GOOD, bench.seed)
