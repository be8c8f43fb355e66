"""Delays of whole steps, for a few bits a channel, in one memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..component import Component

__all__ = ["DelayLines"]


class DelayLines(Component):
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

    fetch: Signal
    store: Signal
    advance: Signal
    clear: Signal
    data_in: Signal
    data_out: Signal

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
        lines: memory.Memory[int, Value] = memory.Memory(
            shape=len(self._delays),
            depth=max(self.rows, 2),  # an address needs a bit
            init=[],
            attrs={"ram_style": "block"},
        )
        m.submodules.lines = lines
        read, write = lines.read_port(), lines.write_port(granularity=1)

        # Where a line of some delay writes. All positions are counted down together, so that ahead is below.
        positions = {}
        for delay in sorted(set(self._delays), reverse=True):
            ahead = -delay * self._channels % self.rows
            positions[delay] = position = Signal(range(self.rows), init=ahead, name=f"position_{delay}")
            fewer = position - 1
            with m.If(self.advance | self.clear):
                m.d.sync += position.eq(Mux(fewer < 0, self.rows - 1, fewer))

        # The row of the longest delay is read for all lines, and written by the longest and by `clear`.
        longest = positions[max(self._delays)]
        m.d.comb += [read.addr.eq(longest), read.en.eq(self.fetch), self.data_out.eq(read.data)]
        written: Value = longest
        for line, delay in enumerate(self._delays):
            written = Mux(self.store[line] & ~self.clear, positions[delay], written)
        m.d.comb += [
            write.addr.eq(written),
            write.en.eq(self.store | self.clear.replicate(len(self._delays))),
            write.data.eq(self.data_in & ~self.clear.replicate(len(self._delays))),
        ]
        return m
