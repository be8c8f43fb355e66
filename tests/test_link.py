"""The link: what it answers to whom, whatever else comes; its queue; its serial line."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from microzone.gateware.link import link
from microzone.gateware.link.frames import (
    Decoder,
    Record,
    RecordKind,
    Reply,
    Request,
    Status,
    encode,
    parse_answer,
)
from microzone.gateware.link.link import Link
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS
from microzone.sim.failure import BenchFailure
from microzone.sim.fuzz import link as link_fuzz
from microzone.sim.fuzz.link import fuzz_link, garbage
from microzone.sim.fuzz.link_model import LinkModel, Registers
from support import applying, changed

RECORD = {"kind": RecordKind.STEP, "index": 63, "flags": 9, "step": 0x7D7E, "data": 0x7E000001}


class LinkBench:
    """The link in Amaranth's simulator, with registers behind and a host in front."""

    def __init__(self, ctx: Any, dut: Any) -> None:
        self.ctx, self.dut = ctx, dut
        self.registers, self.decoder = Registers(), Decoder()
        self.accesses: list[tuple[bool, int, int]] = []
        self.good = self.bad = 0
        self.wire = bytearray()
        ctx.set(dut.tx.ready, 1)

    async def cycle(self) -> None:
        ctx, dut = self.ctx, self.dut
        if ctx.get(dut.bus.valid):
            write, address, word = (
                ctx.get(getattr(dut.bus, name)) for name in ("write", "address", "write_data")
            )
            got, status = self.registers.access(bool(write), address, word)
            self.accesses.append((bool(write), address, word if write else got))
            ctx.set(dut.bus.read_data, got)
            ctx.set(dut.bus.status, status)
        ctx.set(dut.bus.ready, ctx.get(dut.bus.valid))
        self.good += ctx.get(dut.good)
        self.bad += ctx.get(dut.bad)
        if ctx.get(dut.tx.valid) and ctx.get(dut.tx.ready):
            self.wire.append(ctx.get(dut.tx.payload))
        await ctx.tick()

    async def send(self, wire: bytes) -> None:
        for octet in wire:
            self.ctx.set(self.dut.rx.payload, octet)
            self.ctx.set(self.dut.rx.valid, 1)
            await self.cycle()
        self.ctx.set(self.dut.rx.valid, 0)

    async def answers(self, cycles: int = 100) -> list[Reply | Record]:
        """All that comes within so many cycles."""
        for _ in range(cycles):
            await self.cycle()
        wire, self.wire = bytes(self.wire), bytearray()
        found = [parse_answer(payload) for payload in self.decoder.feed(wire)]
        assert self.decoder.bad == 0
        return found

    async def ask(self, request: Request, cycles: int = 100) -> Reply:
        await self.send(encode(request.payload()))
        (reply,) = await self.answers(cycles)
        assert isinstance(reply, Reply)
        return reply


def run(bench: Callable[[LinkBench], Awaitable[None]]) -> None:
    dut = Link()
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def testbench(ctx: Any) -> None:
        await bench(LinkBench(ctx, dut))

    simulator.add_testbench(testbench)
    simulator.run()


def test_words_are_written_and_read() -> None:
    async def bench(host: LinkBench) -> None:
        written = (0x7D7E7D7E, 1, 0xFFFFFFFF)
        assert await host.ask(Request(1, 2, 0x10, 3, written)) == Reply(1, 2, (), Status.OK)
        assert host.accesses == [(True, 0x10, written[0]), (True, 0x14, written[1]), (True, 0x18, written[2])]
        assert await host.ask(Request(2, 1, 0x0C, 5)) == Reply(2, 1, (0, *written, 0), Status.OK)
        everything = await host.ask(Request(3, 1, 0x00, 32), 600)
        assert everything.words[4:7] == written and len(everything.words) == 32
        assert (host.good, host.bad) == (3, 0)

    run(bench)


def test_an_access_comes_so_many_cycles_after_the_flag() -> None:
    async def bench(host: LinkBench) -> None:
        ctx, dut = host.ctx, host.dut
        await host.send(encode(Request(1, 2, 0x10, 3, (1, 2, 3)).payload()))
        cycles, found = 1, []
        while len(found) < 3:  # the flag was in cycle 0
            if ctx.get(dut.bus.valid):
                found.append(cycles)
            await host.cycle()
            cycles += 1
        assert found == [11, 16, 21]

    run(bench)


def test_a_repeated_write_is_not_executed_again() -> None:
    async def bench(host: LinkBench) -> None:
        for repeated in range(3):
            assert await host.ask(Request(7, 2, 0x10, 1, (5 + repeated,))) == Reply(7, 2, (), Status.OK)
        assert host.registers.words[0x10] == 5
        # Its status is repeated, too, and after a request that was refused.
        for _ in range(2):
            assert (await host.ask(Request(8, 2, 0x100, 1, (1,)))).status == Status.BAD_ADDRESS
            assert (await host.ask(Request(8, 9, 0x100, 1))).status == Status.BAD_OPERATION
            assert (await host.ask(Request(8, 2, 0x10, 2, (1,)))).status == Status.BAD_LENGTH
        assert len(host.accesses) == 2
        # A READ is executed always, and what was written before it is forgotten.
        assert (await host.ask(Request(8, 1, 0x10, 1))).words == (5,)
        assert (await host.ask(Request(8, 2, 0x10, 1, (9,)))).status == Status.OK
        assert (await host.ask(Request(9, 1, 0x10, 1))).words == (9,)

    run(bench)


@pytest.mark.parametrize(
    ("request_", "reply", "accesses"),
    [
        (Request(1, 3, 0, 1), Reply(1, 3, (), Status.BAD_OPERATION), 0),
        (Request(1, 0, 0, 1), Reply(1, 0, (), Status.BAD_OPERATION), 0),
        (Request(1, 0x81, 0, 1), Reply(1, 1, (), Status.BAD_OPERATION), 0),
        (Request(1, 1, 0, 0), Reply(1, 1, (), Status.BAD_LENGTH), 0),
        (Request(1, 1, 0, 33), Reply(1, 1, (), Status.BAD_LENGTH), 0),
        (Request(1, 1, 0, 129), Reply(1, 1, (), Status.BAD_LENGTH), 0),
        (Request(1, 1, 0, 1, (1,)), Reply(1, 1, (), Status.BAD_LENGTH), 0),
        (Request(1, 2, 0, 1), Reply(1, 2, (), Status.BAD_LENGTH), 0),
        (Request(1, 2, 0, 2, (1, 2, 3)), Reply(1, 2, (), Status.BAD_LENGTH), 0),
        (Request(1, 2, 0, 0), Reply(1, 2, (), Status.BAD_LENGTH), 0),
        (Request(1, 2, 0, 33, tuple(range(33))), Reply(1, 2, (), Status.BAD_LENGTH), 0),
        (Request(1, 1, 0x400, 1), Reply(1, 1, (0,), Status.BAD_ADDRESS), 1),
        (Request(1, 1, 0x102, 2), Reply(1, 1, (0, 0), Status.BAD_ADDRESS), 0),
        (Request(1, 1, 0x13C, 2), Reply(1, 1, (0x13C * 0x7D7E0101 & 0xFFFFFFFF, 0), Status.BAD_ADDRESS), 2),
        (Request(1, 1, 0xFFFC, 2), Reply(1, 1, (0x7E7E7D7D, 0), Status.OK), 2),
        (Request(1, 2, 0xFC, 3, (1, 2, 3)), Reply(1, 2, (), Status.BAD_ADDRESS), 2),
        (Request(1, 2, 0xFFFC, 2, (1, 2)), Reply(1, 2, (), Status.FULL), 1),
        (Request(1, 2, 0x11, 1, (1,)), Reply(1, 2, (), Status.BAD_ADDRESS), 0),
    ],
)
def test_what_is_wrong_is_answered_with_its_status(request_: Request, reply: Reply, accesses: int) -> None:
    assert LinkModel(Registers()).answer(request_.payload()) == reply  # the model of the benches, too

    async def bench(host: LinkBench) -> None:
        assert await host.ask(request_, 150) == reply
        assert len(host.accesses) == accesses
        assert (await host.ask(Request(2, 1, 0x100, 1))).status == Status.OK

    run(bench)


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_shorter_than_a_request_is_bad(size: int) -> None:
    async def bench(host: LinkBench) -> None:
        await host.send(encode(bytes([1] * size)))
        assert await host.answers() == [] and (host.good, host.bad) == (0, 1)
        assert (await host.ask(Request(2, 1, 0x100, 1))).status == Status.OK

    run(bench)


def test_writes_do_not_wait_for_the_way_back() -> None:
    """The line to the host is stuck in a record: the request is executed, more frames are counted as bad."""

    async def bench(host: LinkBench) -> None:
        ctx, dut = host.ctx, host.dut
        ctx.set(dut.tx.ready, 0)
        ctx.set(dut.records.payload, RECORD)
        ctx.set(dut.records.valid, 1)
        await host.send(encode(Request(1, 2, 0x10, 2, (5, 6)).payload()))
        assert await host.answers(50) == [] and host.registers.words[0x14] == 6
        for _ in range(3):
            await host.send(encode(Request(2, 2, 0x10, 2, (7, 8)).payload()))
        assert (host.good, host.bad) == (1, 3)
        ctx.set(dut.tx.ready, 1)
        for _ in range(10):  # until the record has left
            await host.cycle()
        while not ctx.get(dut.records.ready):
            await host.cycle()
        await host.cycle()
        ctx.set(dut.records.valid, 0)
        record, reply = await host.answers()
        assert record == Record(0, **RECORD) and reply == Reply(1, 2, (), Status.OK)  # type: ignore[arg-type]
        assert (await host.ask(Request(2, 1, 0x10, 2))).words == (5, 6)

    run(bench)


def test_a_reset_at_any_time_is_overcome() -> None:
    rng, core, held = random.Random(3), Link(), Signal()
    m = Module()
    m.submodules.core = ResetInserter(held)(core)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)

    async def testbench(ctx: Any) -> None:
        for _ in range(60):
            host = LinkBench(ctx, core)
            wire = encode(
                Request(5, rng.choice((1, 2)), 0x10, 2, (1, 2) if rng.random() < 0.8 else ()).payload()
            )
            await host.send(wire[: rng.randint(1, len(wire))] if rng.random() < 0.3 else wire)
            for _ in range(rng.randrange(60)):
                await host.cycle()
            ctx.set(held, 1)
            await ctx.tick()
            ctx.set(held, 0)
            # The same number again: a reset forgets what was written.
            host = LinkBench(ctx, core)
            assert await host.ask(Request(5, 2, 0x10, 2, (3, 4))) == Reply(5, 2, (), Status.OK)
            assert host.accesses == [(True, 0x10, 3), (True, 0x14, 4)]

    simulator.add_testbench(testbench)
    simulator.run()


def entries_of(seed: int, count: int) -> Any:
    return np.fromiter(garbage(random.Random(seed), count), np.uint16)


def test_a_million_entries_of_garbage() -> None:
    """No register is changed by a bad frame, nothing hangs, each good frame is answered, byte for byte."""
    result = fuzz_link(entries_of(1, 1_000_000), seed=1, wait=True)
    assert result.entries >= 1_000_000
    assert min(result.good, result.bad) > 10_000 and result.accesses > result.good and result.lost > 100


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 9))])
def test_garbage_without_waiting_for_replies(seed: int) -> None:
    """Frames that overlap with the execution of a request are dropped, and only those."""
    result = fuzz_link(entries_of(seed, 200_000), seed=seed, wait=False)
    assert result.good > 1000 and result.bad > result.good


LINK = applying({
    "no check sequence": ("(fcs == FCS_GOOD) & ", ""),
    "errors of the line pass": ("with m.If(self.rx_error | (self.rx.valid", "with m.If((self.rx.valid"),
    "too long frames pass": ("(self.hold | (~escape & ~room))", "self.hold"),
    "bytes pass while held": ("(self.hold | (~escape & ~room))", "(~escape & ~room)"),
    "an escape survives its flag": ("fcs.eq(FCS_INIT), escaped.eq(0),", "fcs.eq(FCS_INIT),"),
    "an aborted frame passes": ("wrong = broken | escaped | ", "wrong = broken | "),
    "a frame begins with the one before": ("self.release | (ends & ~self.good & ~self.hold)", "self.release"),
    "any length": ("fits &= self.deframer.length == ", "fits &= self.deframer.length != 0x1FF & 0 * "),
    "33 words": ("header.count <= MAX_WORDS", "header.count <= MAX_WORDS + 1"),
    "written twice": ("request.repeatable & (request.octet == request.last)", "0"),
    "written never again": ("repeatable.eq(request.writes)", "repeatable.eq(1)"),
    "a write goes on after an error": ("with m.Elif(request.fine & (request.count != 1)):", "with m.Elif(request.count != 1):"),
    "the last error counts": ("with m.If(request.status == Status.OK):\n                    m.d.sync += request.status.eq(request.found)", "m.d.sync += request.status.eq(request.found)"),
    "a bad word is not 0": ("word.eq(Mux(request.fine, bus.read_data, 0))", "word.eq(bus.read_data)"),
    "misaligned accesses": ("bus.valid.eq(request.aligned)", "bus.valid.eq(1)"),
    "a record within a reply": ("self.records.valid & ~reply.waits & ~reply.busy", "self.records.valid & ~reply.waits"),
    "flags are not escaped": ("special = (octet == FLAG) | (octet == ESCAPE)", "special = octet == ESCAPE"),
}, link)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) for name in LINK if name != "bytes pass while held"]
)
def test_a_broken_link_is_found(name: str) -> None:
    with (
        mock.patch.object(link_fuzz, "Link", changed(link, *LINK[name]).Link),
        pytest.raises(BenchFailure) as found,
    ):
        fuzz_link(entries_of(1, 200_000), seed=1, wait=True)
    print(f"{name}: {found.value}")


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_the_bench_passes(simulator: str) -> None:
    if SIMULATORS[simulator].version() is None:
        pytest.skip(f"no {simulator}")
    told: list[str] = []
    BENCHES["link"].run(SIMULATORS[simulator], seed=3, steps=100, report=told.append)
    assert told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["written twice", "a record within a reply", "any length"])
def test_the_bench_finds_a_broken_link(name: str) -> None:
    with (
        mock.patch("microzone.gateware.blocks.Link", changed(link, *LINK[name]).Link),
        pytest.raises(BenchFailure),
    ):
        BENCHES["link"].run(SIMULATORS["verilator"], seed=3, steps=1500)
