"""The band-pass in front of event detection: two biquads an electrode, one multiplier for all."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from ...golden_model.detection_parameters import SECTIONS, TAPS, DetectionParameters
from ...golden_model.fixed import QFormat
from ..component import Component
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


class BandPass(Component):
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
    address : In(TABLE_BITS + channel_shape(electrodes).width)
        Tap, then electrode, of an access, while idle and with `hold`; `read_data` is it in the next cycle.
    write : In(1)
        Write `write_data` to it.
    clear : In(1)
        Bring back row `address` of everything instead.
    write_data : In(formats.filter_coefficient)
    read_data : Out(formats.filter_coefficient)
    """

    cycles_per_sample = _SECOND_DONE + 3
    latency = _SECOND_DONE + 2

    samples: stream.Interface
    filtered: stream.Interface
    idle: Signal
    hold: Signal
    address: Signal
    write: Signal
    clear: Signal
    write_data: Signal
    read_data: Signal

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
        walk = _Walk(self)
        tap = self._coefficients(m, walk)
        history = _History(m, self, walk)
        total = _Sum(m, self, walk, tap, history.past)
        self._sequence(m, walk, history, total)
        return m

    def _coefficients(self, m: Module, walk: _Walk) -> Value:
        """The memory of coefficients, accessed while idle; what it has for the term of the turn before."""
        coefficient = self.parameters.config.formats.filter_coefficient
        coefficients: memory.Memory[Shape, Value] = memory.Memory(
            shape=coefficient.as_shape(),
            depth=self.clear_cycles,
            init=[],
            attrs={"ram_style": "block"},
        )
        m.submodules.coefficients = coefficients
        tap_read, tap_write = coefficients.read_port(), coefficients.write_port()
        row, electrode = self.address[:TABLE_BITS], self.address[TABLE_BITS:]
        taps = [at for at in self.parameters.rows if at.tap is not None]
        initial = configured_word(self.parameters, taps, coefficient.as_shape(), electrode, row)
        tap = Array(tap for tap, _ in _TERMS)[walk.turn]
        m.d.comb += [
            tap_read.addr.eq(Mux(self.idle, self.address, Cat(tap, walk.electrode))),
            self.read_data.eq(tap_read.data),
            tap_write.addr.eq(self.address),
            tap_write.data.eq(Mux(self.clear, initial, self.write_data)),
            tap_write.en.eq(self.write | self.clear),
            tap_read.en.eq(~tap_write.en),  # a word that is read as it is written is undefined
        ]
        return tap_read.data

    def _sequence(self, m: Module, walk: _Walk, history: _History, total: _Sum) -> None:
        """A sample comes in, is filtered in a turn a term and some for the last sums, and is handed over."""
        x, y, turn, blanked = walk.x, walk.y, walk.turn, walk.blanked
        keep, past, result = history.keep, history.past, total.result
        given, out = self.samples.payload, self.filtered.payload
        formats = self.parameters.config.formats
        widened = resize(given.sample, formats.sample, formats.filter_state)
        m.d.comb += [out.electrode.eq(walk.electrode), out.sample.eq(x), out.blanked.eq(blanked)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.samples.ready.eq(~self.hold & ~self.clear)]
                m.d.sync += [
                    walk.electrode.eq(given.electrode),
                    blanked.eq(given.blanked),
                    x.eq(widened),
                    turn.eq(0),
                ]
                with m.If(self.clear):
                    history.clear()
                with m.If(self.samples.valid & self.samples.ready):
                    m.next = "FILTER"
            with m.State("FILTER"):
                m.d.sync += [turn.eq(turn + 1), total.total.eq(total.summed)]
                # What was read in the turn before moves on to the place of the older one.
                with m.Switch(turn):
                    with m.Case(3):
                        keep(_X2, past)
                    with m.Case(4):
                        keep(_X1, x)
                    with m.Case(_FIRST_DONE):
                        m.d.sync += y.eq(result)
                        keep(_Y2, past)
                    with m.Case(_FIRST_DONE + 1):
                        keep(_Y1, y)
                    with m.Case(_FIRST_DONE + 2):
                        keep(_Z2, past)
                    with m.Case(_SECOND_DONE):
                        m.d.sync += x.eq(Mux(blanked, 0, result))
                        keep(_Z1, result)
                        m.next = "HAND_OVER"
            with m.State("HAND_OVER"):
                m.d.comb += self.filtered.valid.eq(1)
                with m.If(self.filtered.ready):
                    m.next = "IDLE"


class _Walk:
    """The sample that is within, and how far it is.

    Attributes
    ----------
    electrode, blanked : Signal
    x, y : Signal
        The sample, and in the end the output; the output of the first biquad.
    turn : Signal
        The term that is read in this cycle, and beyond the last one the sums that are not yet made.
    """

    def __init__(self, bandpass: BandPass) -> None:
        state = bandpass.parameters.config.formats.filter_state.as_shape()
        self.electrode = Signal(channel_shape(bandpass.parameters.electrodes))
        self.blanked = Signal()
        self.x = Signal(state)
        self.y = Signal(state)
        self.turn = Signal(range(_SECOND_DONE + 1))


class _History:
    """The memory of inputs and outputs one and two samples ago; a bit above says that there was no input yet.

    Attributes
    ----------
    past : Value
        What it has for the term of the turn before; in place of an input that was not, the sample that is
        within.
    """

    def __init__(self, m: Module, bandpass: BandPass, walk: _Walk) -> None:
        self._m, self._bandpass, self._walk = m, bandpass, walk
        state = bandpass.parameters.config.formats.filter_state
        history: memory.Memory[int, Value] = memory.Memory(
            shape=state.width + 1,
            depth=1 << _HISTORY_BITS + len(walk.electrode),
            init=[],
            attrs={"ram_style": "block"},
        )
        m.submodules.history = history
        past, kept = history.read_port(), history.write_port()
        word, none = past.data[: state.width].as_signed(), past.data[state.width]
        self.past, self._kept = Mux(none, walk.x, word), kept
        wanted = Array(Const(at or 0, _HISTORY_BITS) for _, at in _TERMS)[walk.turn]
        m.d.comb += [past.addr.eq(Cat(wanted, walk.electrode)), past.en.eq(~bandpass.idle)]

    def keep(self, at: int, word: Value) -> None:
        """Write a word of the sample's electrode, which a blanked sample leaves."""
        kept, blanked = self._kept, self._walk.blanked
        self._m.d.comb += [
            kept.addr.eq(Cat(Const(at, _HISTORY_BITS), self._walk.electrode)),
            kept.data.eq(word[: len(kept.data) - 1]),
            kept.en.eq(~blanked),
        ]

    def clear(self) -> None:
        """Write 0 to the row of `address`, if it has one, or that there was no input."""
        address = self._bandpass.address
        row, electrode = address[:_HISTORY_BITS], address[TABLE_BITS:]
        self._m.d.comb += [
            self._kept.addr.eq(Cat(row, electrode)),
            self._kept.data[-1].eq((row == _X1) | (row == _X2)),
            self._kept.en.eq(1),
        ]


class _Sum:
    """The sum of products: term t is read in its turn, multiplied in the next, added in the one after.

    Attributes
    ----------
    total : Signal
        The sum so far, at full width.
    summed : Value
        With the product that is there in this cycle: the first one of a biquad begins it.
    result : Value
        `total`, rounded and saturated to ``formats.filter_state``.
    """

    def __init__(self, m: Module, bandpass: BandPass, walk: _Walk, tap: Value, past: Value) -> None:
        formats, turn = bandpass.parameters.config.formats, walk.turn
        state, coefficient = formats.filter_state, formats.filter_coefficient
        product = Signal(QFormat(True, state.width + coefficient.width, 0).as_shape())
        wide = QFormat(
            True,
            state.integer_bits + coefficient.integer_bits + 3,
            state.fraction_bits + coefficient.fraction_bits,
        )
        self.total = Signal(wide.as_shape())
        # x and y are not in the memory when their turn comes.
        operand = Mux(turn == 1, walk.x, Mux(turn == len(_TERMS), walk.y, past))
        # The terms of the outputs, a1 and a2, are subtracted.
        subtract = Signal()
        fed_back = [t for t, (tap, _) in enumerate(_TERMS) if tap % TAPS in (3, 4)]
        m.d.sync += [
            product.eq(operand * tap),
            subtract.eq(Cat(turn == t + 1 for t in fed_back).any()),
        ]
        first = (turn == _PIPELINE) | (turn == TAPS + _PIPELINE)
        # One carry chain: total - product = total + ~product + 1, the 1 as a carry from below.
        signed = product ^ subtract.replicate(len(product)).as_signed()
        augend = Cat(subtract, Mux(first, 0, self.total)).as_signed()
        self.summed = (augend + Cat(subtract, signed).as_signed())[1 : 1 + wide.width]
        self.result = resize(self.total, wide, state)
