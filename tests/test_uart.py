"""The serial line: bytes in and out at every clock and rate, and what is no byte."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from unittest import mock

import pytest
from amaranth.sim import Simulator
from microzone.gateware.link import uart
from microzone.gateware.link.uart import Uart
from support import applying, changed

RATES = [(clock, baud) for clock in (12e6, 25e6, 48e6) for baud in (1e6, 2e6, 3e6)]


def line_levels(octets: Sequence[int], cycles_a_bit: float, lead: float) -> list[int]:
    """A line, cycle by cycle, with bytes one right after the other."""
    bits = [1] + [bit for octet in octets for bit in (0, *((octet >> n) & 1 for n in range(8)), 1)]
    edges = [lead, *(lead + cycles_a_bit * number for number in range(1, len(bits)))]
    levels, number = [], 0
    for cycle in range(int(edges[-1] + 3 * cycles_a_bit) + 12):
        while number + 1 < len(bits) and cycle >= edges[number]:
            number += 1
        levels.append(bits[number] if cycle >= edges[0] else 1)
    return levels


def run_uart(dut: Uart, bench: Callable[[Any], Awaitable[None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


async def receive(ctx: Any, dut: Uart, levels: Sequence[int]) -> tuple[list[int], int]:
    """Bytes and errors while the line is as given."""
    found, errors = [], 0
    ctx.set(dut.received.ready, 1)
    for level in levels:
        ctx.set(dut.rx, level)
        if ctx.get(dut.received.valid):
            found.append(ctx.get(dut.received.payload))
        errors += ctx.get(dut.error)
        await ctx.tick()
    return found, errors


@pytest.mark.parametrize(("clock_hz", "baud"), RATES)
def test_bytes_are_received_two_percent_off_either_way(clock_hz: float, baud: float) -> None:
    dut, rng = Uart(clock_hz=clock_hz, baud=baud), random.Random(1)
    octets = [0x00, 0xFF, 0x55, 0xAA, 0x7E, *rng.randbytes(4)]

    async def bench(ctx: Any) -> None:
        for share in (0.98, 1.0, 1.02):
            levels = line_levels(octets, clock_hz / baud * share, 3 + rng.random())
            assert await receive(ctx, dut, levels) == (octets, 0), share

    run_uart(dut, bench)


@pytest.mark.parametrize(("clock_hz", "baud"), RATES)
def test_bytes_are_sent_within_one_percent(clock_hz: float, baud: float) -> None:
    dut, octets = Uart(clock_hz=clock_hz, baud=baud), [0x00, 0xFF, 0x7E, 0x35]
    assert abs(dut.baud / baud - 1) < 0.01
    per_bit = clock_hz / baud

    async def bench(ctx: Any) -> None:
        waiting, levels = deque(octets), []
        while waiting or len(levels) < 45 * per_bit:
            ctx.set(dut.send.valid, bool(waiting))
            ctx.set(dut.send.payload, waiting[0] if waiting else 0)
            if waiting and ctx.get(dut.send.ready):
                waiting.popleft()
            levels.append(ctx.get(dut.tx))
            await ctx.tick()
        at, found = 0, []
        for _ in octets:
            at = levels.index(0, at)
            middles = [levels[round(at + (0.5 + number) * per_bit)] for number in range(10)]
            assert (middles[0], middles[9]) == (0, 1)
            found.append(sum(bit << number for number, bit in enumerate(middles[1:9])))
            at = round(at + 9.5 * per_bit)
        assert found == octets

    run_uart(dut, bench)


def test_a_break_is_one_error_and_a_glitch_is_none() -> None:
    dut = Uart(clock_hz=12e6, baud=1e6)

    async def bench(ctx: Any) -> None:
        good = line_levels([0x5A], 12, 5)
        assert await receive(ctx, dut, [0] * 1000 + [1] * 5 + good) == ([0x5A], 1)
        assert await receive(ctx, dut, [1, 0, 0, 0, *([1] * 20), *good]) == ([0x5A], 0)

    run_uart(dut, bench)


def test_a_byte_that_is_not_taken_is_an_error() -> None:
    dut = Uart(clock_hz=12e6, baud=3e6)

    async def bench(ctx: Any) -> None:
        errors = 0
        for level in line_levels([1, 2, 3], 4, 5):
            ctx.set(dut.rx, level)
            errors += ctx.get(dut.error)
            await ctx.tick()
        assert errors == 2 and ctx.get(dut.received.valid) and ctx.get(dut.received.payload) == 3

    run_uart(dut, bench)


@pytest.mark.parametrize(
    ("clock_hz", "baud", "message"),
    [
        (12e6, 3.1e6, r"3\.1e\+06 baud: limit is 3e\+06 at a clock of 1\.2e\+07 Hz"),
        (12e6, 0, "0 baud: limit is"),
        (48e6, 1200, r"1200 baud: 1464\.84 is nearest .* limit is 2% off"),
    ],
)
def test_a_baud_rate_that_cannot_be_made_is_refused(clock_hz: float, baud: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Uart(clock_hz=clock_hz, baud=baud)


UART = applying({
    "bits looked at where they begin": ("(1 << self.phase_bits - 1) + self.increment // 2", "(1 << self.phase_bits) - self.increment"),
    "any stop bit": ("with m.Elif(turns & line):", "with m.Elif(turns):"),
    "a break is many errors": ('m.next = "BREAK"', 'm.next = "IDLE"'),
    "a glitch is a byte": ("with m.If(line):  # too short", "with m.If(0):  # too short"),
    "bits in reverse": ("found.eq(Cat(found[1:], line))", "found.eq(Cat(line, found))"),
    "no stop bit": ("with m.If(left == 0):", "with m.If(left == 1):"),
    "silent loss": ("self.error.eq(received.valid & ~received.ready)", "self.error.eq(0)"),
}, uart)  # fmt: skip


@pytest.mark.parametrize("name", UART)
def test_a_broken_serial_line_is_found(name: str) -> None:
    with (
        mock.patch(f"{__name__}.Uart", changed(uart, *UART[name]).Uart),
        pytest.raises((AssertionError, ValueError)),
    ):
        test_a_break_is_one_error_and_a_glitch_is_none()
        test_a_byte_that_is_not_taken_is_an_error()
        test_bytes_are_received_two_percent_off_either_way(12e6, 3e6)
        test_bytes_are_sent_within_one_percent(12e6, 2e6)
