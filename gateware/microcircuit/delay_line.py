"""Delays of whole steps, for a few bits a channel, in one memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLines"]


class DelayLines(wiring.Component):
    """``data_out[i][k] = data_in[i][k - delays[i]]`` for each of `channels` interleaved words.

    One position circulates through the rows of the longest delay: channel c of step k meets, that many steps
    later, the very row that it met before. The owner reads the row (`fetch`), uses `data_out` from the next
    cycle on, writes each line's bit (`store`), and moves on (`advance`). A shorter delay writes further
    ahead.

    Parameters
    ----------
    delays : sequence of int
        Steps of each line, at least 1.
    channels : int
        Interleaved words, at least 1.

    Members
    -------
    fetch : In(1)
        Read the row at the position; `data_out` is valid from the next cycle until the next `fetch`.
    store : In(len(delays))
        Write these lines' bits of `data_in`: one line in a cycle, or lines of the same delay.
    advance : In(1)
        Move on, after a `store` or in its cycle.
    clear : In(1)
        Write 0 to all lines, and move on: `rows` cycles of it clear them.
    data_in : In(len(delays))
    data_out : Out(len(delays))

    Attributes
    ----------
    rows : int
        max(delays) * channels.

    Raises
    ------
    ValueError
        If a delay or `channels` is below 1.
    """

    def __init__(self, delays: Sequence[int], channels: int) -> None:
        if min(delays) < 1 or channels < 1:
            raise ValueError(f"delays = {list(delays)}, channels = {channels}: at least 1")
        self._delays, self._channels = tuple(delays), channels
        self.rows = max(delays) * channels
        lines = len(delays)
        super().__init__(
            {
                "fetch": In(1),
                "store": In(lines),
                "advance": In(1),
                "clear": In(1),
                "data_in": In(lines),
                "data_out": Out(lines),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Two rows at least: an address needs a bit.
        m.submodules.lines = lines = memory.Memory(
            shape=len(self._delays), depth=max(self.rows, 2), init=[], attrs={"ram_style": "block"}
        )
        read, write = lines.read_port(), lines.write_port(granularity=1)
        positions = {}  # where a line of some delay writes: counted down, so ahead is below
        for delay in sorted(set(self._delays), reverse=True):
            ahead = -delay * self._channels % self.rows
            positions[delay] = position = Signal(range(self.rows), init=ahead, name=f"position_{delay}")
            fewer = position - 1
            with m.If(self.advance | self.clear):
                m.d.sync += position.eq(Mux(fewer < 0, self.rows - 1, fewer))
        at = positions[max(self._delays)]
        m.d.comb += [read.addr.eq(at), read.en.eq(self.fetch), self.data_out.eq(read.data)]
        for line, delay in enumerate(self._delays):
            at = Mux(self.store[line] & ~self.clear, positions[delay], at)
        m.d.comb += [
            write.addr.eq(at),
            write.en.eq(self.store | self.clear.replicate(len(self._delays))),
            write.data.eq(self.data_in & ~self.clear.replicate(len(self._delays))),
        ]
        return m
