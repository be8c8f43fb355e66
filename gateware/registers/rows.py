"""One memory of constants, of counters of strobes, and of words that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..component import Component

__all__ = ["RegisterRows"]

_BURST_BITS = 5
"""Of the cycles that the last counter may have to wait for its turn, 30."""


class RegisterRows(Component):
    """Rows that are read and written, some of which count: a read, and in the next cycle the row is written.

    A strobe waits until its row is read. In a cycle in which a counter is written nothing else is read, since
    a read and a write of one row in one cycle would give neither word. After reset every counter is written
    once, with the last row, which is 0.

    Parameters
    ----------
    rows : sequence of int
        The words after configuration, a power of two; 0 for a counter, and for the last.
    counters : sequence of int
        Rows that count, the most frequent strobe first. A strobe waits for those before it.
    width : int
        Bits of a word.

    Members
    -------
    strobes : In(len(counters))
        Each bit counts, in its row, the cycles in which it is 1: each time takes two cycles, but the last
        bit's are counted together. None is lost where those of the first bit are four cycles apart, those of
        the second 16, and those of three more 32; those of the last may follow each other at once.
    row : In(as many bits as rows need)
        To read or to write.
    word : Out(width)
        Of the row of the cycle before, if ``settled``.
    settled : Out(1)
        The cycle before read the row that was asked for.
    put : In(1)
        Write ``given`` to ``row``; done in a cycle in which ``free`` is up, too.
    given : In(width)
        The word to write.
    free : Out(1)
        No counter is written in this cycle.
    """

    strobes: Signal
    row: Signal
    word: Signal
    settled: Signal
    put: Signal
    given: Signal
    free: Signal

    def __init__(self, rows: Sequence[int], counters: Sequence[int], *, width: int = 32) -> None:
        self._rows, self._counters, self._width = tuple(rows), tuple(counters), width
        if any(self._rows[row] for row in (*self._counters, -1)):
            raise ValueError("a counter's row, or the last one, is not 0")
        super().__init__(
            {
                "strobes": In(len(self._counters)),
                "row": In(exact_log2(len(self._rows))),
                "word": Out(width),
                "settled": Out(1),
                "put": In(1),
                "given": In(width),
                "free": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words: memory.Memory[int, Value] = memory.Memory(
            shape=self._width, depth=len(self._rows), init=self._rows, attrs={"ram_style": "block"}
        )
        m.submodules.words = words
        read, write = words.read_port(), words.write_port()

        # Strobes that wait, all of them after reset; the first of them is counted next.
        pending = Signal(len(self._counters), init=-1)
        # Counters are cleared, after reset; one is written in this cycle; it is the last one, with its burst.
        clearing, writing, gathered = Signal(init=1), Signal(), Signal()
        chosen, left = Signal(len(self._counters)), pending.any()

        # The row to count in, and that of the cycle before, which is written now.
        address, counted = Signal.like(self.row), Signal.like(self.row)
        counting: Value | int = self._counters[-1]
        for at, row in reversed(list(enumerate(self._counters))):
            counting = Mux(pending[at], row, counting)
            m.d.comb += chosen[at].eq(~writing & pending[at] & ~pending[:at].any())

        # What is added: one, or as many as the last strobe was up for since it was counted.
        burst, amount = Signal(_BURST_BITS), Signal(_BURST_BITS)
        m.d.comb += [
            address.eq(counting),
            read.addr.eq(Mux(left, address | clearing.replicate(len(address)), self.row)),
            self.word.eq(read.data),
            self.free.eq(~writing),
            amount.eq(Mux(gathered, burst, Mux(clearing, 0, 1))),
            write.addr.eq(Mux(writing, counted, self.row)),
            write.data.eq(Mux(writing, read.data + amount, self.given)),
            write.en.eq(writing | self.put),
        ]
        m.d.sync += [
            pending.eq((pending & ~chosen) | self.strobes),
            clearing.eq(clearing & (left | writing)),
            writing.eq(left & ~writing),
            gathered.eq(chosen[-1] & ~clearing),
            burst.eq(Mux(gathered, 0, burst) + self.strobes[-1]),
            self.settled.eq(~left & ~writing),
            counted.eq(address),
        ]
        return m
