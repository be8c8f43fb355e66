"""The queue of telemetry records: what it holds, what it loses, and how it tells."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.gateware.link.frames import RecordKind
from microzone.gateware.link.record_fifo import RecordFifo


def run_queue(depth: int, bench: Callable[[Any, RecordFifo], Awaitable[None]]) -> None:
    dut = RecordFifo(depth)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def testbench(ctx: Any) -> None:
        await bench(ctx, dut)

    simulator.add_testbench(testbench)
    simulator.run()


def record_of(number: int) -> dict[str, int]:
    return {
        "kind": 1 + number % 7,
        "index": number % 64,
        "flags": number % 16,
        "step": number,
        "data": ~number & 0xFFFFFFFF,
    }


def test_the_queue_keeps_its_depth_and_tells_of_what_it_loses() -> None:
    depth = 256

    async def bench(ctx: Any, dut: RecordFifo) -> None:
        async def put(number: int) -> None:
            ctx.set(dut.record, record_of(number))
            ctx.set(dut.valid, 1)
            await ctx.tick()
            ctx.set(dut.valid, 0)

        async def take() -> dict[str, int]:
            while not ctx.get(dut.records.valid):
                await ctx.tick()
            found = {name: ctx.get(dut.records.payload[name]) for name in record_of(0)}
            ctx.set(dut.records.ready, 1)
            await ctx.tick()
            ctx.set(dut.records.ready, 0)
            return found

        await put(0)
        assert not ctx.get(dut.records.valid)
        await ctx.tick()
        assert ctx.get(dut.records.valid), "later than two cycles after"
        for number in range(1, depth + 1 + 10):  # one is offered, the last ten are lost
            await put(number)
        assert ctx.get(dut.lost) == 10
        for number in range(depth // 2):
            assert await take() == record_of(number)
        await put(1000)  # not half empty yet
        assert await take() == record_of(depth // 2)
        for _ in range(2):
            await ctx.tick()
        await put(1001)
        await put(1002)
        assert ctx.get(dut.lost) == 12
        for number in range(depth // 2 + 1, depth + 1):
            assert await take() == record_of(number)
        told = await take()
        assert (told["kind"], told["data"], told["step"]) == (RecordKind.LOST, 12, 1001)
        assert await take() == record_of(1002)
        assert not ctx.get(dut.records.valid)

    run_queue(depth, bench)


@given(st.integers(0, 1 << 32), st.sampled_from([4, 8]), st.floats(0.2, 1.0), st.floats(0.1, 0.9))
@settings(max_examples=10)
def test_all_that_goes_in_comes_out_or_is_counted(seed: int, depth: int, fill: float, drain: float) -> None:
    rng = random.Random(seed)

    async def bench(ctx: Any, dut: RecordFifo) -> None:
        given, at, told, number = deque[dict[str, int]](), 0, 0, 0
        for cycle in range(400):
            ends = cycle > 340
            ctx.set(dut.valid, not ends and rng.random() < fill)
            ctx.set(dut.records.ready, ends or rng.random() < drain)
            ctx.set(dut.record, record_of(number))
            if ctx.get(dut.valid):
                given.append(record_of(number))
                number += 1
            if ctx.get(dut.records.valid) and ctx.get(dut.records.ready):
                found = {name: ctx.get(dut.records.payload[name]) for name in record_of(0)}
                if found["kind"] == RecordKind.LOST:
                    at += found["data"]
                    told += found["data"]
                    assert found["step"] == given[at - 1]["step"]
                else:
                    assert found == given[at]
                    at += 1
            await ctx.tick()
        assert ctx.get(dut.lost) == told + number - at

    run_queue(depth, bench)


@pytest.mark.parametrize("depth", [0, 2, 3, 100])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth {depth}: must be a power of 2, at least 4"):
        RecordFifo(depth)
