"""The arithmetic of the adaptive filter: one multiplier and one sum behind it; the change of a weight."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden_model.cfpc.words import FilterWords
from ...golden_model.fixed import QFormat, Rounding
from ..component import Component
from ..events import channel_shape
from ..fixed import resize
from .program import Source

__all__ = [
    "MultiplyAdd",
    "factor_shape",
    "learnt_weight",
    "narrowed",
    "operand_shape",
    "slot_layout",
    "total_shape",
]


def slot_layout(words: FilterWords) -> data.StructLayout:
    """A slot of the forward model's program, as ``program.Slot``; its coefficient is elsewhere."""
    flags = {"first": 1, "last": 1, "trace": 1, "store": 1}
    return data.StructLayout({"source": Source, "state": channel_shape(words.order)} | flags)


def factor_shape(words: FilterWords) -> Shape:
    """Of a coefficient or a weight."""
    return Shape(max(words.coefficient.width, words.weight.width), signed=True)


def operand_shape(words: FilterWords) -> Shape:
    """Of a state or a signal."""
    return Shape(max(words.state.width, words.signal.width), signed=True)


def total_shape(words: FilterWords) -> Shape:
    """Of a row, which has a product for each state and one of the input; or of all synapses' products."""
    row = words.coefficient.width + operand_shape(words).width + (words.order + 1).bit_length() - 1
    synapses = words.weight.width + words.signal.width + words.count.bit_length() - 1
    return Shape(max(row, synapses), signed=True)


def narrowed(word: Value, drop: int, target: QFormat, rounding: Rounding = Rounding.HALF_UP) -> Value:
    """``word >> drop``, or to the left where `drop` is below 0: rounded, then saturated. Combinational."""
    width = max(len(word), drop + 1)
    extended = (word | Const(0, Shape(width, signed=True))).as_signed()
    source = QFormat(True, width - max(drop, 0), max(drop, 0))
    gained = max(-drop, 0)
    return resize(extended, source, QFormat(True, target.width - gained, gained), rounding=rounding)


def learnt_weight(words: FilterWords, before: Value, product: Value) -> Value:
    """``w + (h·e >> update_shift)``: the change is rounded, the sum saturates. Combinational."""
    bits, drop = 2 * words.signal.width, words.update_shift
    beyond = QFormat(True, max(bits - drop, 1) + 1, 0)
    after = before + narrowed(product[:bits].as_signed(), drop, beyond, words.rounding)
    return narrowed(after, 0, words.weight)


class MultiplyAdd(Component):
    """The multiplier, its two operands and its sum, for both passes of a step.

    In the cycle after a slot or a synapse is read its first product is made, in the next one the second
    product of a synapse. One cycle after it was made a product is added, and another one later the sum of a
    row or of all synapses stands in `total`.

    Parameters
    ----------
    words : FilterWords

    Members
    -------
    fetch : In(1)
        A slot of the program is read; its words are there in the next cycle.
    slot : In(slot_layout(words))
    visit, first, last : In(1)
        A synapse is read; it is the first; the last.
    factor : In(factor_shape(words))
        Coefficient or weight.
    operand : In(operand_shape(words))
        State, or u a delay ago.
    heard_basis, heard_trace : In(words.signal)
        x and h of the synapse; they and `factor` stay for two cycles.
    basis, fed, error : In(words.signal)
        x, u and e of the step.
    multiplies, learns : Out(1)
        A synapse's w·x is made; its h·e is made.
    product : Out(wide enough for any)
        What was multiplied in the cycle before.
    total : Out(total_shape(words))
        The sum so far.
    trace, state, output : Out(1)
        `total` is that of h, of a state, of o.
    """

    fetch: Signal
    slot: data.View[data.StructLayout]
    visit: Signal
    first: Signal
    last: Signal
    factor: Signal
    operand: Signal
    heard_basis: Signal
    heard_trace: Signal
    basis: Signal
    fed: Signal
    error: Signal
    multiplies: Signal
    learns: Signal
    product: Signal
    total: Signal
    trace: Signal
    state: Signal
    output: Signal

    def __init__(self, words: FilterWords) -> None:
        self._words = words
        signal = words.signal.as_shape()
        factor, operand = factor_shape(words), operand_shape(words)
        self._widths = max(factor.width, signal.width), operand.width
        super().__init__(
            {
                "fetch": In(1),
                "slot": In(slot_layout(words)),
                "visit": In(1),
                "first": In(1),
                "last": In(1),
                "factor": In(factor),
                "operand": In(operand),
                "heard_basis": In(signal),
                "heard_trace": In(signal),
                "basis": In(signal),
                "fed": In(signal),
                "error": In(signal),
                "multiplies": Out(1),
                "learns": Out(1),
                "product": Out(Shape(sum(self._widths), signed=True)),
                "total": Out(total_shape(words)),
                "trace": Out(1),
                "state": Out(1),
                "output": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = self._words
        # As it goes through the pipeline: in bit 0 what multiplies, in bit 1 what is added.
        of_model, of_synapses, first, last, trace = (
            Signal(2, name=name) for name in ("of_model", "of_synapses", "first_of", "last_of", "trace_of")
        )
        source = Signal(Source)
        begins = (self.fetch & self.slot.first) | (self.visit & self.first)
        ends = (self.fetch & self.slot.last) | (self.visit & self.last)
        for passing, new in (
            (of_model, self.fetch),
            (of_synapses, self.visit),
            (first, begins),
            (last, ends),
            (trace, self.slot.trace),
        ):
            m.d.sync += passing.eq(Cat(new, passing[0]))
        m.d.sync += source.eq(self.slot.source)
        m.d.comb += [self.multiplies.eq(of_synapses[0]), self.learns.eq(of_synapses[1])]

        # What is multiplied: of the model a coefficient and what the slot names, of a synapse w·x, then h·e.
        multiplier, multiplicand = (Signal(Shape(width, signed=True)) for width in self._widths)
        m.d.comb += [multiplier.eq(self.factor), multiplicand.eq(self.operand)]
        with m.If(self.learns):
            m.d.comb += [multiplier.eq(self.error), multiplicand.eq(self.heard_trace)]
        with m.Elif(self.multiplies):
            m.d.comb += multiplicand.eq(self.heard_basis)
        if not words.delay:
            with m.Elif(source == Source.BASIS):
                m.d.comb += multiplicand.eq(self.basis)
            with m.Elif(source == Source.INPUT):
                m.d.comb += multiplicand.eq(self.fed)
        m.d.sync += self.product.eq(multiplier * multiplicand)

        # What is added, and what the sum is of once its last product is in it.
        with m.If(of_model[1] | of_synapses[1]):
            m.d.sync += self.total.eq(Mux(first[1], 0, self.total) + self.product)
        m.d.sync += [
            self.trace.eq(of_model[1] & last[1] & trace[1]),
            self.state.eq(of_model[1] & last[1] & ~trace[1]),
            self.output.eq(of_synapses[1] & last[1]),
        ]
        return m
