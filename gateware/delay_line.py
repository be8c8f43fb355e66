"""A delay of whole steps for one bit a channel, in memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]


class DelayLine(wiring.Component):
    """``data_out[k] = data_in[k - delay]`` for each of `channels` interleaved bits.

    One circulating position serves all channels: channel c of step k meets, `delay` steps later, the
    very row that it wrote. The owner reads the row (`fetch`), uses `data_out` from the next cycle on, and
    replaces it (`store`), which moves the position on.

    Parameters
    ----------
    delay : int
        Steps, at least 1.
    channels : int
        Interleaved bits, at least 1.

    Members
    -------
    fetch : In(1)
        Read the row at the position; `data_out` is valid from the next cycle until the next `fetch`.
    store : In(1)
        Write `data_in` to that row and move on.
    clear : In(1)
        Write 0 instead, and move on: `rows` cycles of it clear the line and bring the position back.
    data_in : In(1)
    data_out : Out(1)

    Attributes
    ----------
    rows : int
        delay * channels.

    Raises
    ------
    ValueError
        If `delay` or `channels` is below 1.
    """

    def __init__(self, delay: int, channels: int) -> None:
        if delay < 1 or channels < 1:
            raise ValueError(f"delay = {delay}, channels = {channels}: at least 1")
        self.rows = delay * channels
        super().__init__(
            {"fetch": In(1), "store": In(1), "clear": In(1), "data_in": In(1), "data_out": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Two rows at least: an address needs a bit.
        m.submodules.line = line = memory.Memory(
            shape=1, depth=max(self.rows, 2), init=[], attrs={"ram_style": "block"}
        )
        read, write = line.read_port(), line.write_port()
        position = Signal(range(self.rows))
        m.d.comb += [
            read.addr.eq(position),
            read.en.eq(self.fetch),
            self.data_out.eq(read.data),
            write.addr.eq(position),
            write.en.eq(self.store | self.clear),
            write.data.eq(self.data_in & ~self.clear),
        ]
        with m.If(write.en):
            with m.If(position == self.rows - 1):
                m.d.sync += position.eq(0)
            with m.Else():
                m.d.sync += position.eq(position + 1)
        return m
