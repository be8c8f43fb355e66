"""The band-pass in front of event detection: two biquads an electrode, one multiplier for all."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.detection_parameters import SECTIONS, TAPS, DetectionParameters
from ...golden_model.fixed import QFormat
from ..events import channel_shape
from ..fixed import resize
from .parameters import TABLE_BITS, configured_word, sample_layout

__all__ = ["BandPass"]

# What is kept of an electrode: x, the output y of the first biquad and z of the second, one and two samples
# ago.
_X1, _X2, _Y1, _Y2, _Z1, _Z2 = range(6)
_HISTORY_BITS = 3
# The products in the order of their turn: (tap, what it multiplies; None for the newest x or y). The older of
# two comes first, so that the newer can take its place; y comes last, when it is known.
_TERMS = (
    (0, None), (2, _X2), (1, _X1), (4, _Y2), (3, _Y1),
    (TAPS + 2, _Y2), (TAPS + 1, _Y1), (TAPS + 4, _Z2), (TAPS + 3, _Z1), (TAPS, None),
)  # fmt: skip
_PIPELINE = 2
"""Cycles from a term's turn to its sum: read, multiply."""
_FIRST_DONE = TAPS + _PIPELINE
_SECOND_DONE = SECTIONS * TAPS + _PIPELINE


class BandPass(wiring.Component):
    """``y = b0·x + b1·x1 + b2·x2 - a1·y1 - a2·y2``, twice; as in ``DetectorFixed``, bit for bit.

    A product a cycle, the sum at full width; the output of each biquad is rounded half up and saturates. The
    second one's history of inputs is the first one's of outputs. A blanked sample passes as 0 and changes
    nothing.

    Parameters
    ----------
    parameters : DetectionParameters
        With a band-pass; of at least one electrode.

    Attributes
    ----------
    cycles_per_sample : int
        Clock cycles from one accepted sample to the next, where the output is taken at once.
    latency : int
        Clock cycles from an accepted sample to its output.
    clear_cycles : int
        Cycles of `clear` that bring every electrode to rest, with the configured coefficients.

    Members
    -------
    samples : In(stream of sample_layout(electrodes, formats.sample))
    filtered : Out(stream of sample_layout(electrodes, formats.filter_state))
    idle : Out(1)
        No sample is within; the coefficients can be accessed.
    hold : In(1)
        Accept no sample in this cycle.
    address : In
        Tap, then electrode, of an access, while idle and with `hold`; `read_data` is it in the next cycle.
    write : In(1)
        Write `write_data` to it.
    clear : In(1)
        Bring back row `address` of everything instead.
    write_data : In
    read_data : Out
    """

    cycles_per_sample = _SECOND_DONE + 3
    latency = _SECOND_DONE + 2

    def __init__(self, parameters: DetectionParameters) -> None:
        self.parameters = parameters
        formats, electrodes = parameters.config.formats, parameters.electrodes
        address = TABLE_BITS + channel_shape(electrodes).width
        self.clear_cycles = 1 << address
        super().__init__(
            {
                "samples": In(stream.Signature(sample_layout(electrodes, formats.sample))),
                "filtered": Out(stream.Signature(sample_layout(electrodes, formats.filter_state))),
                "idle": Out(1),
                "hold": In(1),
                "address": In(address),
                "write": In(1),
                "clear": In(1),
                "write_data": In(formats.filter_coefficient.as_shape()),
                "read_data": Out(formats.filter_coefficient.as_shape()),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        formats = self.parameters.config.formats
        state, coefficient = formats.filter_state, formats.filter_coefficient
        in_memory = {"init": [], "attrs": {"ram_style": "block"}}
        number = channel_shape(self.parameters.electrodes)
        electrode, blanked = Signal(number), Signal()
        x, y = Signal(state.as_shape()), Signal(state.as_shape())
        turn = Signal(range(_SECOND_DONE + 1))

        m.submodules.coefficients = coefficients = memory.Memory(
            shape=coefficient.as_shape(), depth=self.clear_cycles, **in_memory
        )
        tap_read, tap_write = coefficients.read_port(), coefficients.write_port()
        row = self.address[:TABLE_BITS]
        taps = [at for at in self.parameters.rows if at.tap is not None]
        initial = configured_word(
            self.parameters, taps, coefficient.as_shape(), self.address[TABLE_BITS:], row
        )
        m.d.comb += [
            tap_read.addr.eq(Mux(self.idle, self.address, Cat(Array(t for t, _ in _TERMS)[turn], electrode))),
            self.read_data.eq(tap_read.data),
            tap_write.addr.eq(self.address),
            tap_write.data.eq(Mux(self.clear, initial, self.write_data)),
            tap_write.en.eq(self.write | self.clear),
            tap_read.en.eq(~tap_write.en),  # a word that is read as it is written is undefined
        ]
        m.submodules.history = history = memory.Memory(
            shape=state.as_shape(), depth=1 << _HISTORY_BITS + number.width, **in_memory
        )
        past, kept = history.read_port(), history.write_port()
        wanted = Array(Const(at or 0, _HISTORY_BITS) for _, at in _TERMS)[turn]
        m.d.comb += [past.addr.eq(Cat(wanted, electrode)), past.en.eq(~self.idle)]

        # Read, multiply, add: term t is read in its turn, multiplied in the next, added in the one after.
        product = Signal(QFormat(True, state.width + coefficient.width, 0).as_shape())
        wide = QFormat(
            True,
            state.integer_bits + coefficient.integer_bits + 3,
            state.fraction_bits + coefficient.fraction_bits,
        )
        total = Signal(wide.as_shape())
        newest = turn == 1, turn == len(_TERMS)
        operand = Mux(newest[0], x, Mux(newest[1], y, past.data))
        subtract = Signal()
        fed_back = [t for t, (tap, _) in enumerate(_TERMS) if tap % TAPS in (3, 4)]
        m.d.sync += [
            product.eq(operand * tap_read.data),
            subtract.eq(Cat(turn == t + 1 for t in fed_back).any()),
        ]
        first = (turn == _PIPELINE) | (turn == TAPS + _PIPELINE)
        # One carry chain: total - product = total + ~product + 1, the 1 as a carry from below.
        signed = product ^ subtract.replicate(len(product)).as_signed()
        augend = Cat(subtract, Mux(first, 0, total)).as_signed()
        summed = (augend + Cat(subtract, signed).as_signed())[1 : 1 + wide.width]
        result = resize(total, wide, state)

        def keep(at: int, word: Any) -> None:
            m.d.comb += [
                kept.addr.eq(Cat(Const(at, _HISTORY_BITS), electrode)),
                kept.data.eq(word),
                kept.en.eq(~blanked),
            ]

        given, out = self.samples.payload, self.filtered.payload
        widened = resize(given.sample, formats.sample, state)
        m.d.comb += [out.electrode.eq(electrode), out.sample.eq(x), out.blanked.eq(blanked)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.samples.ready.eq(~self.hold & ~self.clear)]
                m.d.sync += [
                    electrode.eq(given.electrode),
                    blanked.eq(given.blanked),
                    x.eq(widened),
                    turn.eq(0),
                ]
                with m.If(self.clear):
                    m.d.comb += [
                        kept.addr.eq(Cat(row[:_HISTORY_BITS], self.address[TABLE_BITS:])),
                        kept.en.eq(1),
                    ]
                with m.If(self.samples.valid & self.samples.ready):
                    m.next = "FILTER"
            with m.State("FILTER"):
                m.d.sync += [turn.eq(turn + 1), total.eq(summed)]
                with m.Switch(turn):
                    with m.Case(3):
                        keep(_X2, past.data)
                    with m.Case(4):
                        keep(_X1, x)
                    with m.Case(_FIRST_DONE):
                        m.d.sync += y.eq(result)
                        keep(_Y2, past.data)
                    with m.Case(_FIRST_DONE + 1):
                        keep(_Y1, y)
                    with m.Case(_FIRST_DONE + 2):
                        keep(_Z2, past.data)
                    with m.Case(_SECOND_DONE):
                        m.d.sync += x.eq(Mux(blanked, 0, result))
                        keep(_Z1, result)
                        m.next = "HAND_OVER"
            with m.State("HAND_OVER"):
                m.d.comb += self.filtered.valid.eq(1)
                with m.If(self.filtered.ready):
                    m.next = "IDLE"
        return m
