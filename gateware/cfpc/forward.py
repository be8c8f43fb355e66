"""The forward model of CFPC: its program, states and delay, around a multiplier that is elsewhere."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..events import channel_shape
from .arithmetic import narrowed, operand_shape, slot_layout, total_shape
from .program import CfpcTiming, Slot, Source

__all__ = ["IN_BLOCK_RAM", "ForwardModel"]

IN_BLOCK_RAM = {"ram_style": "block"}
"""Attributes of a memory."""


class ForwardModel(Component):
    """``h = C·s + D·v``, ``s := A·s + B·v``, v as u = x - h (or x) was a delay ago; for each input.

    The program of ``cfpc_program``, a slot a cycle, issued from the first to the last and then from the first
    again. In the cycle after that a slot is fetched, and its state or v read. Of each input the states of
    this step are in one bank, those of the next in the other; one line holds u of all inputs by turns.

    Parameters
    ----------
    timing : CfpcTiming

    Members
    -------
    issue : In(1)
        The next slot.
    basis : In(words.signal)
        x; stays from the first slot's fetch to the last one's.
    input : In(a number of an input)
        Its number, as long.
    finish : In(1)
        The step is over.
    clear : In(1)
        Write 0 to a row of all that is kept; from reset on.
    total : In(total_shape(words))
        From the multiplier: the sum of a row.
    total_is_trace, total_is_state : In(1)
        It is that of h; of a state.
    ends : Out(1)
        With `issue`: this is the last slot.
    fetch : Out(1)
        A slot is fetched.
    row : Out(a number of a slot)
        Where its coefficient is in the program.
    slot : Out(slot_layout(words))
        The slot.
    operand : Out(operand_shape(words))
        What it multiplies, in the next cycle, where that is kept here.
    trace : Out(words.signal)
        h.
    keep : Out(1)
        It is new in this cycle.
    fed : Out(words.signal)
        u, from the next cycle on.
    """

    issue: Signal
    basis: Signal
    input: Signal
    finish: Signal
    clear: Signal
    total: Signal
    total_is_trace: Signal
    total_is_state: Signal
    ends: Signal
    fetch: Signal
    row: Signal
    slot: data.View[data.StructLayout]
    operand: Signal
    trace: Signal
    keep: Signal
    fed: Signal

    def __init__(self, timing: CfpcTiming) -> None:
        self._timing = timing
        words = timing.words
        signal = words.signal.as_shape()
        super().__init__(
            {
                "issue": In(1),
                "basis": In(signal),
                "input": In(channel_shape(words.inputs)),
                "finish": In(1),
                "clear": In(1),
                "total": In(total_shape(words)),
                "total_is_trace": In(1),
                "total_is_state": In(1),
                "ends": Out(1),
                "fetch": Out(1),
                "row": Out(range(len(timing.program))),
                "slot": Out(slot_layout(words)),
                "operand": Out(operand_shape(words)),
                "trace": Out(signal),
                "keep": Out(1),
                "fed": Out(signal),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing, words = self._timing, self._timing.words
        slots, drop = len(timing.program), words.coefficient.fraction_bits

        # The program, and where it has come.
        program: memory.Memory[data.StructLayout, data.View[data.StructLayout]] = memory.Memory(
            shape=self.slot.shape(),
            depth=slots,
            init=[_without_coefficient(slot) for slot in timing.program],
            attrs=IN_BLOCK_RAM,
        )
        m.submodules.program = program
        issued, at = program.read_port(), Signal(range(slots))
        m.d.comb += [
            issued.addr.eq(at),
            issued.en.eq(self.issue),
            self.slot.eq(issued.data),
            self.ends.eq(at == slots - 1),
        ]
        m.d.sync += self.fetch.eq(self.issue)
        with m.If(self.issue):
            m.d.sync += [at.eq(Mux(self.ends, 0, at + 1)), self.row.eq(at)]

        # States of this step in one bank, of the next in the other; above them the line of u.
        operands: memory.Memory[Shape, Value] = memory.Memory(
            shape=self.operand.shape(), depth=timing.operand_rows, init=[], attrs=IN_BLOCK_RAM
        )
        m.submodules.operands = operands
        read, write = operands.read_port(), operands.write_port()
        head, bank, state = Signal(range(timing.operand_rows)), Signal(), Signal(self.slot.state.shape())
        store = self.fetch & self.slot.store
        delayed = (self.slot.source == Source.INPUT) if words.delay else Const(0, 1)
        reading: list[Value] = []
        writing: list[Value] = []
        if words.inputs > 1:
            # A state's sum may be there only after the next input has begun.
            of_sum = Signal.like(self.input)
            reading, writing = [self.input], [of_sum]
            with m.If(self.total_is_trace):
                m.d.sync += of_sum.eq(self.input)
        m.d.comb += [
            read.addr.eq(Mux(delayed, head, Cat(self.slot.state, *reading, bank))),
            read.en.eq(self.fetch & (delayed | (self.slot.source == Source.STATE))),
            self.operand.eq(read.data),
        ]
        with m.If(store | self.clear):
            start = timing.state_rows if words.delay else 0
            m.d.sync += head.eq(Mux(head == timing.operand_rows - 1, start, head + 1))
        with m.If(self.finish):
            m.d.sync += bank.eq(~bank)

        # h and u of this step, and the number of the state that comes next.
        m.d.sync += self.keep.eq(self.total_is_trace)
        with m.If(self.total_is_trace):
            m.d.sync += [self.trace.eq(narrowed(self.total, drop, words.signal)), state.eq(0)]
        with m.If(self.keep):
            now = narrowed(self.basis - self.trace, 0, words.signal) if words.feedback else self.basis
            m.d.sync += self.fed.eq(now)
        with m.If(self.total_is_state):
            m.d.sync += state.eq(state + 1)
        # `fed` is 0 as long as rows are cleared.
        m.d.comb += [
            write.addr.eq(Mux(self.total_is_state, Cat(state, *writing, ~bank), head)),
            write.data.eq(Mux(self.total_is_state, narrowed(self.total, drop, words.state), self.fed)),
            write.en.eq(self.total_is_state | store | self.clear),
        ]
        return m


def _without_coefficient(slot: Slot) -> dict[str, Any]:
    word = vars(slot).copy()
    del word["coefficient"]
    return word
