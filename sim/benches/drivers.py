"""Typed cocotb drivers and monitors for the streams of the gateware.

All of them act after a falling edge and look in the read-only phase that follows: whatever is seen there
is what the next rising edge sees, in every simulator.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import cocotb
from amaranth.hdl import Shape
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time

from ...gateware.events import EventKind
from ...gateware.microcircuit.parameters import Parameter

__all__ = ["AccessCodec", "Clocked", "Event", "EventCodec", "StreamMonitor", "StreamSource", "sometimes"]

Item = TypeVar("Item")
_PARAMETER_BITS = int(Shape.cast(Parameter).width)


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
    """The payload word of ``gateware.parameters.access_layout``."""

    channel_bits: int

    def encode(self, channel: int, parameter: int, word: int | None = None) -> int:
        """Payload of a read, or of a write where `word` is given."""
        write = word is not None
        high = parameter | int(write) << _PARAMETER_BITS | (word or 0) << _PARAMETER_BITS + 1
        return channel | high << self.channel_bits


class Clocked:
    """Counts clock cycles, so that benches can speak of latency in cycles."""

    def __init__(self, clk: Any, period_ns: int) -> None:
        self.clk = clk
        self._period_ns = period_ns

    @property
    def cycle(self) -> int:
        """Number of the present clock cycle."""
        return int(get_sim_time("ns")) // self._period_ns


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
                assert offered is None, f"{self.name}: withdrawn in cycle {self.clock.cycle}, not taken"
                continue
            if offered is not None:
                assert offered == int(payload.value), f"{self.name}: changed in cycle {self.clock.cycle}"
            offered = None if accept else int(payload.value)
            if accept:
                self.taken.append((self.clock.cycle, self.decode(int(payload.value))))


def sometimes(rng: random.Random, probability: float) -> Callable[[], bool]:
    """True with `probability`, anew at each call."""
    return lambda: rng.random() < probability
