"""What the cocotb benches of all blocks share: a base class, typed drivers and monitors of streams.

All of them act after a falling edge and look in the read-only phase that follows: whatever is seen there
is what the next rising edge sees, in every simulator.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import cocotb
from amaranth.hdl import Shape
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time

from ...gateware.events import EventKind
from ...gateware.microcircuit.parameters import Parameter
from ..failure import check

__all__ = [
    "AccessCodec",
    "BenchBase",
    "Clocked",
    "Event",
    "EventCodec",
    "StreamMonitor",
    "StreamSource",
    "bench_test",
    "sometimes",
]

Item = TypeVar("Item")
_PARAMETER_BITS = int(Shape.cast(Parameter).width)
_PERIOD_PS = 10_000
_TIMEOUT_MS = 20

bench_test = cocotb.test(timeout_time=_TIMEOUT_MS, timeout_unit="ms")
"""Marks a test. A block that hangs fails it after two million cycles instead of holding it up for ever."""


@dataclass(frozen=True)
class Event:
    """An address event."""

    channel: int
    kind: EventKind


@dataclass(frozen=True)
class EventCodec:
    """Between :class:`Event` and the payload word of ``gateware.events.event_layout``."""

    channel_bits: int

    def encode(self, channel: int, kind: int) -> int:
        """Payload of an event; any number is accepted, so that a bench can send a wrong one."""
        return channel | kind << self.channel_bits

    def decode(self, payload: int) -> Event:
        return Event(payload & ((1 << self.channel_bits) - 1), EventKind(payload >> self.channel_bits))


@dataclass(frozen=True)
class AccessCodec:
    """The payload word of ``gateware.microcircuit.parameters.access_layout``."""

    channel_bits: int

    def encode(self, channel: int, parameter: int, word: int | None = None) -> int:
        """Payload of a read, or of a write where `word` is given."""
        write = word is not None
        high = parameter | int(write) << _PARAMETER_BITS | (word or 0) << _PARAMETER_BITS + 1
        return channel | high << self.channel_bits


class Clocked:
    """Counts clock cycles, so that benches can speak of latency in cycles."""

    def __init__(self, clk: Any, period_ps: int) -> None:
        self.clk = clk
        self._period_ps = period_ps

    @property
    def cycle(self) -> int:
        """Number of the present clock cycle."""
        return int(get_sim_time("ps")) // self._period_ps


class BenchBase:
    """A block in its simulation: clock and reset, seeded draws, and what repeats the run.

    Parameters
    ----------
    dut : handle
        The top module; ``clk`` and ``rst`` are its own.
    period_ps : int
        Of the clock; even.

    Attributes
    ----------
    config_text : str
        Which configuration, as the bench's entry in ``sim/blocks.py`` says: its TOML text, if nothing else.
    rng : random.Random
    seed : str
        For the end of a message: the seed, and the command that repeats the run.
    channels, steps : int
        As the run was asked for.
    clock : Clocked
    """

    def __init__(self, dut: Any, *, period_ps: int = _PERIOD_PS) -> None:
        self.dut = dut
        self.config_text = os.environ["MICROZONE_CONFIG"]
        self.rng = random.Random(cocotb.RANDOM_SEED)
        # cocotb's own is another one in each test, and repeats nothing by itself.
        self.seed = f"seed {os.environ['MICROZONE_SEED']}; {os.environ['MICROZONE_AGAIN']}"
        self.channels = int(os.environ["MICROZONE_CHANNELS"])
        self.steps = int(os.environ["MICROZONE_STEPS"])
        self.period_ps = period_ps
        self.clock = Clocked(dut.clk, period_ps)

    async def start_clock(self, *idle: str) -> None:
        """Set the inputs named in `idle` to 0, start the clock, and reset."""
        for name in idle:
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        Clock(self.dut.clk, self.period_ps, "ps").start()
        await self.pulse_reset()

    async def pulse_reset(self) -> None:
        """Reset for two cycles; ends after a falling edge."""
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        await self.wait(2)
        self.dut.rst.value = 0

    async def wait(self, cycles: int) -> None:
        """A number of clock cycles, to a falling edge."""
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)


class StreamSource:
    """Drives a stream; set `gap` to say how many cycles to idle before each item."""

    def __init__(self, clock: Clocked, dut: Any, name: str) -> None:
        self._clock = clock
        self.gap: Callable[[], int] = lambda: 0
        self._valid, self._ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._valid.value = 0
        self._payload.value = 0

    async def send(self, payload: int) -> int:
        """Offer one payload until it is taken; returns the cycle in which it was."""
        for _ in range(self.gap()):
            await FallingEdge(self._clock.clk)
        await FallingEdge(self._clock.clk)
        self._valid.value = 1
        self._payload.value = payload
        while True:
            await ReadOnly()
            taken, cycle = bool(int(self._ready.value)), self._clock.cycle
            await FallingEdge(self._clock.clk)
            if taken:
                self._valid.value = 0
                return cycle


@dataclass
class StreamMonitor(Generic[Item]):
    """Takes what a stream delivers; `ready` decides in each cycle whether to.

    Also checks the stream's contract: an item once valid stays, unchanged, until it is taken.
    """

    clock: Clocked
    dut: Any
    name: str
    decode: Callable[[int], Item]
    ready: Callable[[], bool] = lambda: True
    taken: list[tuple[int, Item]] = field(default_factory=list)

    def start(self) -> None:
        """Monitor in the background from now on."""
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        valid = getattr(self.dut, f"{self.name}__valid")
        ready = getattr(self.dut, f"{self.name}__ready")
        payload = getattr(self.dut, f"{self.name}__payload")
        offered: int | None = None
        while True:
            await FallingEdge(self.clock.clk)
            accept = self.ready()
            ready.value = int(accept)
            await ReadOnly()
            if not valid.value.is_resolvable or not int(valid.value):
                check(offered is None, f"{self.name}: withdrawn in cycle {self.clock.cycle}, not taken")
                continue
            if offered is not None:
                check(offered == int(payload.value), f"{self.name}: changed in cycle {self.clock.cycle}")
            offered = None if accept else int(payload.value)
            if accept:
                self.taken.append((self.clock.cycle, self.decode(int(payload.value))))


def sometimes(rng: random.Random, probability: float) -> Callable[[], bool]:
    """True with `probability`, anew at each call."""
    return lambda: rng.random() < probability
