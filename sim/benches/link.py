"""The link at its ports: every byte that it sends is that of ``LinkModel``, with telemetry in between.

Environment: what ``BenchBase`` takes; one piece of traffic, a frame or what is left of one, for each 5 steps.
"""

from __future__ import annotations

from typing import Any

import cocotb
from amaranth.hdl import Const
from cocotb.triggers import FallingEdge, ReadOnly
from microzone.gateware.link.frames import (
    Decoder,
    Operation,
    Record,
    RecordKind,
    Reply,
    Request,
    encode,
    parse_answer,
    record_layout,
)
from microzone.sim.benches.drivers import BenchBase, StreamMonitor, StreamSource, bench_test, sometimes
from microzone.sim.failure import check
from microzone.sim.fuzz.link import LINE_ERROR, garbage
from microzone.sim.fuzz.link_model import Access, LinkModel, Registers

_HANGS = 20_000
"""Clock cycles within which a request is answered."""


class Bench(BenchBase):
    """The link, registers behind it, and the model beside it."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.decoder, self.model = Decoder(), LinkModel(Registers())
        self.records = StreamSource(self.clock, dut, "records")
        self.records.gap = lambda: self.rng.choice((0, 3, 300))
        self.offered: list[Record] = []
        self.wire: StreamMonitor[int] = StreamMonitor(
            self.clock, dut, "tx", int, ready=sometimes(self.rng, 0.7)
        )
        self.registers, self.accesses = Registers(), list[Access]()
        self.expected: list[Reply] = []
        self.compared = 0
        self.from_chip, self.sent, self.framed = Decoder(), bytearray(), bytearray()
        self.replies, self.told = list[Reply | Record](), list[Reply | Record]()
        self.frames = [0, 0]

    async def start(self) -> None:
        """Clock and reset; then wire, bus and records in the background."""
        await self.start_clock(
            "rx__valid", "rx__payload", "rx_error", "bus__ready", "bus__read_data", "bus__status"
        )
        self.wire.start()
        cocotb.start_soon(self._answer())
        cocotb.start_soon(self._count())

    async def _answer(self) -> None:
        """The registers, after a few cycles each."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            dut.bus__ready.value = 0
            await ReadOnly()
            if not int(dut.bus__valid.value):
                continue
            for _ in range(self.rng.choice((1, 1, 2, 40))):
                await FallingEdge(dut.clk)
            write, address = bool(int(dut.bus__write.value)), int(dut.bus__address.value)
            word = int(dut.bus__write_data.value)
            got, status = self.registers.access(write, address, word)
            self.accesses.append(Access(write, address, word if write else got, status))
            dut.bus__read_data.value, dut.bus__status.value = got, int(status)
            dut.bus__ready.value = 1

    async def _count(self) -> None:
        """Frames accepted and dropped."""
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.frames[0] += int(self.dut.good.value)
            self.frames[1] += int(self.dut.bad.value)

    async def tell(self, count: int) -> None:
        """Offer random records."""
        layout = record_layout()
        for number in range(count):
            kind = self.rng.choice(list(RecordKind))
            widths = (layout[name].width for name in ("index", "flags", "step", "data"))
            record = Record(number % 256, kind, *(self.rng.getrandbits(width) for width in widths))
            self.offered.append(record)
            fields: dict[int | str, Any] = {name: getattr(record, str(name)) for name, _ in layout}
            await self.records.send(Const.cast(layout.const(fields)).value)

    async def send(self, entry: int) -> None:
        """A byte or an error of the line, and what the model answers."""
        await FallingEdge(self.dut.clk)
        wrong = bool(entry & LINE_ERROR)
        self.dut.rx__payload.value, self.dut.rx__valid.value = entry & 0xFF, not wrong
        self.dut.rx_error.value = wrong
        await FallingEdge(self.dut.clk)
        self.dut.rx__valid.value = self.dut.rx_error.value = 0
        if wrong:
            self.decoder.break_frame()
            return
        for payload in self.decoder.feed(bytes([entry & 0xFF])):
            reply = self.model.answer(payload)
            if reply is None:
                self.decoder.bad += 1
            else:
                self.expected.append(reply)
                await self.answered()

    def look(self) -> None:
        """Take apart what has come since the last look."""
        wire = bytes(octet for _, octet in self.wire.taken)
        self.wire.taken.clear()
        self.sent += wire
        for payload in self.from_chip.feed(wire):
            answer = parse_answer(payload)
            (self.replies if isinstance(answer, Reply) else self.told).append(answer)
            self.framed += encode(payload)
        check(self.sent.startswith(self.framed), f"no frames; {self.seed}")

    async def answered(self) -> None:
        """Wait for the last reply that is expected, and compare all of them."""
        for _ in range(_HANGS // 50):
            self.look()
            if len(self.replies) >= len(self.expected):
                break
            await self.wait(50)
        for number, expected in enumerate(self.expected[self.compared :], self.compared):
            got = self.replies[number] if number < len(self.replies) else None
            check(got == expected, f"reply {number}: expected {expected}, got {got}; {self.seed}")
        self.compared = len(self.expected)
        check(len(self.replies) == self.compared, f"{self.replies[self.compared :]} unasked; {self.seed}")
        check(self.accesses == self.model.accesses, f"accesses differ; {self.seed}")


@bench_test
async def traffic(dut: Any) -> None:
    """Frames good and bad, in any order, while telemetry goes out."""
    bench = Bench(dut)
    await bench.start()
    pieces = max(bench.steps // 5, 1)
    told = cocotb.start_soon(bench.tell(pieces))
    for entry in garbage(bench.rng, 12 * pieces):
        await bench.send(entry)
    await bench.send(0x7E)
    for octet in encode(Request(0x7E, Operation.READ, 0, 32).payload()):
        await bench.send(octet)
    await told
    await bench.wait(200)
    bench.look()
    check(
        bench.told == bench.offered,
        f"{len(bench.told)} records of {len(bench.offered)} arrive, or differ; {bench.seed}",
    )
    counted = [len(bench.expected), bench.decoder.bad]
    check(bench.frames == counted, f"good, bad: expected {counted}, got {bench.frames}; {bench.seed}")
