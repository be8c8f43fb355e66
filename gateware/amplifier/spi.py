"""One 16-bit command to all amplifier chips at a time, and what each chip answers."""

from __future__ import annotations

from typing import Any, Protocol

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.amplifier import RESULT_FORMAT, FrameTiming
from ..component import Component

__all__ = ["SpiMaster", "SpiPins", "spi_signature"]


class SpiPins(Protocol):
    """An interface of :func:`spi_signature`."""

    cs_n: Signal
    sclk: Signal
    mosi: Signal
    miso: Signal

    @property
    def signature(self) -> wiring.Signature: ...


def spi_signature(chips: int) -> wiring.Signature:
    """``cs_n``, ``sclk`` and ``mosi`` to all chips, a ``miso`` from each."""
    rests_high = Out(1, init=1)  # type: ignore[call-arg]  # the stubs have `init` by its former name, `reset`
    return wiring.Signature({"cs_n": rests_high, "sclk": Out(1), "mosi": Out(1), "miso": In(chips)})


class SpiMaster(Component):
    """Sends words, MSB first, SCLK low at rest, MOSI changing as SCLK falls; all pins come from registers.

    Each MISO line runs through a chain of taps, a clock cycle each. The bits of a command are taken at times
    that suit the longest cable; for a shorter one a later tap, an earlier value, is chosen. So the answers of
    all chips are complete at the same time.

    Parameters
    ----------
    timing : FrameTiming
        Gives every duration.
    chips : int
        Lines MISO.

    Members
    -------
    spi : Out(spi_signature(chips))
        The pins.
    more : In(1)
        A command begins in the next cycle. Looked at while there is none, and where one ends.
    word : In(16)
        What to send; looked at in the cycle of `begins`.
    busy : Out(1)
        A command is on its way.
    begins, ends : Out(1)
        First and last cycle of a command, ``timing.command_cycles`` in all.
    complete : Out(1)
        ``timing.answer_cycle`` of a command: `results` has what the chips sent during it, until the next
        one's first bit.
    taps : In(array, a number a chip)
        Per chip, the tap to take bits from: 0 suits the longest delay.
    results : Out(array, 16 bits a chip)
        What each chip sent last.
    """

    spi: SpiPins
    more: Signal
    word: Signal
    busy: Signal
    begins: Signal
    ends: Signal
    complete: Signal
    taps: data.View[data.ArrayLayout]
    results: data.View[data.ArrayLayout]

    def __init__(self, timing: FrameTiming, chips: int) -> None:
        self._timing, self._chips = timing, chips
        super().__init__(
            {
                "spi": Out(spi_signature(chips)),
                "more": In(1),
                "word": In(RESULT_FORMAT.width),
                "busy": Out(1),
                "begins": Out(1),
                "ends": Out(1),
                "complete": Out(1),
                "taps": In(data.ArrayLayout(range(timing.delay_settings), chips)),
                "results": Out(data.ArrayLayout(RESULT_FORMAT.width, chips)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing, half_period = self._timing, self._timing.half_period
        active = self.busy
        # Time within a command: half periods of SCLK, and clock cycles of the present one.
        fraction = Signal(range(half_period)) if half_period > 1 else Const(0, 1)
        halves = Signal(range((timing.command_cycles - 1) // half_period + 1))
        turns = Signal()  # in the first cycle of a half period

        def is_cycle(number: int) -> Value:
            return (halves == number // half_period) & (fraction == number % half_period)

        m.d.comb += [
            self.begins.eq(active & is_cycle(0)),
            self.ends.eq(active & is_cycle(timing.command_cycles - 1)),
            turns.eq(active & (fraction == 0)),
        ]
        turned = fraction == half_period - 1
        m.d.sync += halves.eq(halves + turned)
        if half_period > 1:
            m.d.sync += fraction.eq(Mux(turned, 0, fraction + 1))
        with m.If(~active | self.ends):
            m.d.sync += [self.busy.eq(self.more), halves.eq(0)]
            if half_period > 1:
                m.d.sync += fraction.eq(0)

        # What goes out: the word, its next bit on top, and the edges of SCLK around each.
        word = Signal(len(self.word))
        last_edge = 2 * len(word)
        m.d.comb += self.spi.mosi.eq(word[-1])
        with m.If(self.begins):
            m.d.sync += [self.spi.cs_n.eq(0), word.eq(self.word)]
        with m.Elif(turns & _is_in(halves, range(last_edge + 1))):
            m.d.sync += self.spi.sclk.eq(halves[0])
            with m.If(~halves[0]):
                m.d.sync += word.eq(word << 1)
        with m.Elif(turns & (halves == last_edge + 1)):
            m.d.sync += self.spi.cs_n.eq(1)

        # What comes in. The first bit is at the last tap as the half period `first` begins, then one each two
        # half periods; with `strobe` all chips' bits are taken, each from its tap of `history`.
        strobe = Signal()
        first = timing.delay_settings // half_period
        last = first + last_edge - 2
        m.d.sync += [
            strobe.eq(turns & ~halves[0] & _is_in(halves, range(first, last + 1))),
            self.complete.eq(active & is_cycle(timing.answer_cycle - 1)),
        ]
        for chip in range(self._chips):
            history = Signal(timing.delay_settings, name=f"history_{chip}")
            m.d.sync += history.eq(Cat(self.spi.miso[chip], history[:-1]))
            result = Signal(RESULT_FORMAT.width, name=f"result_{chip}")
            m.d.comb += self.results[chip].eq(result)
            with m.If(strobe):
                m.d.sync += result.eq(Cat(history.bit_select(self.taps[chip], 1), result[:-1]))
        return m


def _is_in(number: Value, numbers: range) -> Value:
    """Whether a number is one of some, by a table of bits: two comparisons with constants cost more."""
    table = sum(1 << one for one in numbers)
    return Const(table, 1 << len(number)).bit_select(number, 1)
