"""Rational functions of the IO rate, a bit a cycle: one adder multiplies and divides for all channels."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChipConfig
from ...golden_model.fixed import UQ, QFormat
from ...golden_model.recalibration import (
    EXPONENT,
    LEAST_DETERMINANT,
    Row,
    Status,
    accumulator_format,
    coefficient_words,
    count_bits,
    rate_limits,
)
from ..component import Component
from ..events import channel_shape
from ..fixed import below

__all__ = ["STATUS_FORMAT", "RationalEvaluator"]

ROW_BITS = 4
"""Bits of a row's number."""
STATUS_FORMAT = UQ(3, 0)

_TOTAL, _DETERMINANT = 12, 13
"""Rows beyond the coefficients, where the evaluator keeps what it needs again."""
_RATE = 12
"""The row, while the rate itself is divided: no polynomial's."""


class _Load(enum.Enum):
    """What is read from the memory next."""

    COEFFICIENT = 0
    TOTAL = 1
    BETA_EXPONENT = 2
    EXPONENT = 3
    DETERMINANT = 4


class RationalEvaluator(Component):
    """``rate = count / observed``, then δp and δd as in ``RecalibrationFixed.evaluate``, bit for bit.

    The order is that of the model: rate, denominator, numerator and quotient of δp, then of δd; the first
    check that fails ends it. There is one adder, ``accumulator + operand``, and the operand comes from the
    memory, where totals wait for their turn too. A product takes a cycle a bit of the rate. A quotient takes
    a cycle a bit, after the divisor was doubled until it is more than the dividend.

    Parameters
    ----------
    config : ChipConfig
        With ``recalibration.enabled``.
    channels : int
        Sets of coefficients, at least 1.

    Attributes
    ----------
    configured : Coefficients
        Those of every channel after a reset.
    clear_cycles : int
        Cycles of `clear` that bring the configured coefficients back.

    Members
    -------
    start : In(1)
        Evaluate for `channel`: `counted` is the number of detections in this cycle, and in the next that of
        the steps observed, which is not less.
    channel : In(channel_shape(channels))
    counted : In(count_bits(config))
    done : Out(1)
        The last evaluation has ended, at most ``recalibration.WORK_CYCLES`` after its start; the outputs
        stay until the next.
    status : Out(STATUS_FORMAT)
        How it has ended.
    rate, potentiation, depression : Out(formats.rate), Out(formats.potentiation), Out(formats.depression)
        δp and δd count for status GOOD only.
    lend : In(1)
        Use this cycle of the coefficients' memory to read `address`; `read_data` is it in the next.
    write : In(1)
        Write `write_data` to `address`.
    clear : In(1)
        Bring back a configured word instead, after a reset: hold it for `clear_cycles` at least, while
        `address` counts up from 0.
    address : In(ROW_BITS + channel_shape(channels).width)
        Row, then channel.
    write_data : In(formats.coefficient)
    read_data : Out(formats.coefficient)

    Raises
    ------
    ValueError
        If the configuration has no coefficients.
    """

    start: Signal
    channel: Signal
    counted: Signal
    done: Signal
    status: Signal
    rate: Signal
    potentiation: Signal
    depression: Signal
    lend: Signal
    write: Signal
    clear: Signal
    address: Signal
    write_data: Signal
    read_data: Signal

    def __init__(self, config: ChipConfig, channels: int) -> None:
        configured = config.recalibration.coefficients
        if configured is None:
            raise ValueError("recalibration: alpha, beta and gamma are not all given")
        self.config, self.configured = config, configured
        formats, counter = config.formats, count_bits(config)
        address = ROW_BITS + channel_shape(channels).width
        self.clear_cycles = 1 << address
        super().__init__(
            {
                "start": In(1),
                "channel": In(channel_shape(channels)),
                "counted": In(counter),
                "done": Out(1),
                "status": Out(STATUS_FORMAT.as_shape()),
                "rate": Out(formats.rate.as_shape()),
                "potentiation": Out(formats.potentiation.as_shape()),
                "depression": Out(formats.depression.as_shape()),
                "lend": In(1),
                "write": In(1),
                "clear": In(1),
                "address": In(address),
                "write_data": In(formats.coefficient.as_shape()),
                "read_data": Out(formats.coefficient.as_shape()),
            }
        )

    def adder_bits(self) -> int:
        """Bits of the adder: twice a remainder is less than four times a dividend, or a number of steps."""
        config = self.config
        return max(
            accumulator_format(config).width + 2, count_bits(config) + 3, config.formats.rate.width + 1
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = _Words(m, self)
        adder = _Adder(m, self, words)
        words.write(m, self, adder.result)
        quotient = _Quotient(m, self, adder.fits)
        remaining = _Remaining(m, self, words)
        sequence = _Sequence(m, self, words, adder, quotient, remaining)
        with m.FSM():
            sequence.divide()
            sequence.add_and_multiply()
        # Last, so that it counts in place of the turn that a product gives the rate.
        with m.If(quotient.sets_rate):
            m.d.sync += quotient.rate.eq(
                Mux(quotient.highest_rate, self.config.formats.rate.raw_max, quotient.whole_rate)
            )
        return m


class _Words:
    """The memory of coefficients, and of what the evaluator needs again; and which word is next.

    It has the words of every channel, then once more the configured ones, which nothing overwrites.

    Attributes
    ----------
    word : Value
        What was read, in the cycle after `reads` and until the next.
    channel, row : Signal
        Whose coefficients, and which, are in use; `row` is ``_RATE`` while the rate itself is divided.
    load : Signal
        What to read: the word of `row`, or another one of its polynomial.
    is_alpha, is_beta, is_rate : Value
        Which polynomial `row` is of, or none.
    lowest : Value
        `row` is the last of its polynomial.
    reads : Signal
        Read for the evaluator itself.
    keeps : Signal
        Write the adder's result: a total, or a determinant.
    """

    def __init__(self, m: Module, evaluator: RationalEvaluator) -> None:
        wide = accumulator_format(evaluator.config)
        rows = 1 << ROW_BITS
        # While `clear` counts, a word goes from the configured ones to a channel's row by way of the operand,
        # two cycles behind.
        words = [*coefficient_words(evaluator.configured, evaluator.config), 0, 0, 0, 0]
        delayed = [words[(index + 2) % rows ^ _TOTAL] for index in range(rows)]
        memory_of_words: memory.Memory[Shape, Value] = memory.Memory(
            shape=wide.as_shape(),
            depth=evaluator.clear_cycles + rows,
            init=[0] * evaluator.clear_cycles + delayed,
            attrs={"ram_style": "block"},
        )
        m.submodules.coefficients = memory_of_words
        read, write = memory_of_words.read_port(), memory_of_words.write_port()
        self._write = write
        self._written_bits = wide.width
        self.word = read.data
        self.channel = Signal.like(evaluator.channel)
        self.row = Signal(ROW_BITS)
        self.load = Signal(_Load)
        self.is_alpha, self.is_beta, self.is_rate = (
            self.row[2:] == first >> 2 for first in (Row.ALPHA_0, Row.BETA_0, _RATE)
        )
        self.lowest = self.row[:2] == 0
        self.reads = Signal()
        self.keeps = Signal()

        loaded_row = Signal(ROW_BITS)
        m.d.comb += [
            loaded_row.eq(self.row),
            read.en.eq(self.reads | evaluator.lend | evaluator.clear),
            read.addr.eq(
                Mux(
                    evaluator.clear,
                    Cat(evaluator.address[:ROW_BITS], Const(0, len(self.channel)), 1),
                    Mux(evaluator.lend, evaluator.address, Cat(loaded_row, self.channel)),
                )
            ),
            evaluator.read_data.eq(self.word),
            write.en.eq(evaluator.write | evaluator.clear | self.keeps),
        ]
        with m.Switch(self.load):
            with m.Case(_Load.TOTAL):
                m.d.comb += loaded_row.eq(_TOTAL)
            with m.Case(_Load.DETERMINANT):
                m.d.comb += loaded_row.eq(_DETERMINANT)
            with m.Case(_Load.BETA_EXPONENT):
                m.d.comb += loaded_row.eq(Row.BETA_EXPONENT)
            with m.Case(_Load.EXPONENT):
                m.d.comb += loaded_row[:2].eq(Row.ALPHA_EXPONENT)

    def write(self, m: Module, evaluator: RationalEvaluator, result: Signal) -> None:
        """What is written where: a word of an access, or the adder's `result`."""
        m.d.comb += [
            self._write.data.eq(
                Mux(evaluator.write, evaluator.write_data, result[: self._written_bits].as_signed())
            ),
            self._write.addr.eq(
                Mux(
                    evaluator.write | evaluator.clear,
                    evaluator.address,
                    Cat(self.lowest, Const(_TOTAL >> 1, 3), self.channel),
                )
                ^ Mux(evaluator.clear, _TOTAL, 0)
            ),
        ]


class _Adder:
    """``accumulator + operand``, which adds, multiplies and divides.

    A product is shifted out to the right as it grows. A dividend R is kept as ~2R, so that subtracting the
    divisor is adding it: 2R is at least the divisor if nothing is carried. Registers choose between few
    sources, and 0, by signals of their own: so a bit of each is one logic cell.

    Attributes
    ----------
    result : Signal
        The sum, or the accumulator alone without `takes_sum`, which is 1 unless another is assigned.
    carry_in : Signal
        Add 1.
    fits : Signal
        Nothing is carried: the divisor fits in the dividend.
    accumulates : Signal
        The accumulator takes ``2·result``, with `negates` its complement; with `halves` ``result / 2``; with
        `restarts` what a sum or product begins with.
    sets_operand : Signal
        The operand takes the word that was read; with `doubles` twice itself; with `counts` the number that
        is counted; with `no_operand` 0.
    """

    def __init__(self, m: Module, evaluator: RationalEvaluator, words: _Words) -> None:
        width = evaluator.adder_bits()
        accumulator = Signal(width, reset_less=True)
        operand = Signal(width, reset_less=True)
        self.carry_in = Signal()
        self.takes_sum = Signal()
        self.fits = Signal()
        self.accumulates = Signal()
        self.restarts = Signal()
        self.halves = Signal()
        self.negates = Signal()
        self.sets_operand = Signal()
        self.no_operand = Signal()
        self.doubles = Signal()
        self.counts = Signal()

        added = (Cat(self.carry_in, accumulator) + Cat(Const(1, 1), operand))[1:]
        self.result = Signal(signed(width))
        m.d.comb += [
            self.fits.eq(~added[width]),
            self.takes_sum.eq(1),
            self.result.eq(Mux(self.takes_sum, added[:width], accumulator)),
        ]
        doubled = Cat(Const(1, 1), self.result[:-1] ^ self.negates.replicate(width - 1))
        rounding = 1 << evaluator.config.formats.rate.width - 1  # half of the last bit that a product keeps
        with m.If(self.accumulates):
            start = Mux(words.load == _Load.TOTAL, rounding, 0)
            grown = Mux(self.halves, self.result >> 1, doubled)
            m.d.sync += accumulator.eq(Mux(self.restarts, start, grown))
        with m.If(self.sets_operand):
            twice = Cat(Const(0, 1), operand[:-1]).as_signed()
            source = Mux(self.doubles, twice, Mux(self.counts, evaluator.counted, words.word))
            m.d.sync += operand.eq(Mux(self.no_operand, 0, source))


class _Quotient:
    """The bits of a quotient, and the rate, which is the first one.

    A division ends early if the topmost bit is set.

    Attributes
    ----------
    quotient : Signal
    divides : Signal
        Take another bit, with `shifts`; else the rounding.
    no_quotient : Signal
        Take 0.
    too_large : Value
        The quotient is more than any format has.
    rate : Signal
        A product turns it once round, bit by bit.
    whole_rate : Value
        The quotient, as a rate.
    sets_rate, highest_rate : Signal
        Keep it as the rate; or, with both, the highest rate.
    """

    def __init__(self, m: Module, evaluator: RationalEvaluator, fits: Signal) -> None:
        formats = evaluator.config.formats
        widest = max(fmt.width for fmt in (formats.rate, formats.potentiation, formats.depression))
        quotient = self.quotient = Signal(widest + 1, reset_less=True)
        self.divides = Signal()
        self.no_quotient = Signal()
        self.shifts = Signal()
        self.sets_rate = Signal()
        self.highest_rate = Signal()
        self.rate = Signal.like(evaluator.rate, reset_less=True)
        self.too_large, self.whole_rate = quotient[-1], quotient[: formats.rate.width]

        # The second term of the rounding counts only where the sum does not: as written, adder and choice are
        # one logic cell a bit.
        rounding, no_rounding = fits & ~self.too_large, self.shifts.replicate(widest + 1)
        rounded = (Cat(rounding, quotient) + Cat(Const(1, 1), no_rounding))[1:]
        shifted = Cat(fits, quotient[:-1])
        with m.If(self.divides | self.no_quotient):
            longer = Mux(self.shifts, shifted, rounded[: widest + 1])
            m.d.sync += quotient.eq(Mux(self.no_quotient, 0, longer))
        m.d.comb += [
            evaluator.depression.eq(quotient[: formats.depression.width]),  # the last one, which stays
            evaluator.rate.eq(self.rate),
        ]

    def beyond(self, fmt: QFormat) -> Value:
        """The quotient is more than the largest word of a format, all ones."""
        return self.quotient[fmt.raw_max.bit_length() :].any()


class _Remaining:
    """What is left to do: bits of a product, or of a quotient, counted down to below 0.

    Attributes
    ----------
    left : Signal
    counts_down : Signal
        Add to it: the word that was read, an exponent, with `uses_word`; all ones in place of 0, or the
        complement of the exponent, with `inverts`; and 1 with `plus_one`.
    no_left : Signal
        Take 0.
    last_bit : Value
        Of the product.
    at_end : Value
        All bits of the quotient are there; one more is for the rounding.
    """

    def __init__(self, m: Module, evaluator: RationalEvaluator, words: _Words) -> None:
        config, formats = evaluator.config, evaluator.config.formats
        left = self.left = Signal(Shape(EXPONENT.width + 2, signed=True), reset_less=True)
        self.counts_down = Signal()
        self.no_left = Signal()
        self.uses_word = Signal()
        self.inverts = Signal()
        self.plus_one = Signal()

        exponent = Mux(self.uses_word, words.word[: EXPONENT.width].as_signed(), 0)
        addend = (exponent ^ self.inverts.replicate(len(left)).as_signed())[: len(left)]
        next_left = (Cat(self.plus_one, left) + Cat(Const(1, 1), addend))[1 : len(left) + 1]
        with m.If(self.counts_down | self.no_left):
            m.d.sync += left.eq(Mux(self.no_left, 0, next_left))
        self.last_bit = below(left, 2 - formats.rate.width)
        self.at_end = Mux(
            words.is_rate,
            below(left, 1 - config.rate_scale_bits - formats.rate.fraction_bits),
            Mux(
                words.is_alpha,
                below(left, 1 - formats.potentiation.fraction_bits),
                below(left, 1 - formats.depression.fraction_bits),
            ),
        )


@dataclass(frozen=True)
class _Sequence:
    """What the parts do in which state: quotients in :meth:`divide`, polynomials in the other."""

    m: Module
    evaluator: RationalEvaluator
    words: _Words
    adder: _Adder
    quotient: _Quotient
    remaining: _Remaining

    def _fetch(self, what: _Load) -> None:
        """Read that from the memory next."""
        self.m.d.sync += self.words.load.eq(what)
        self.m.next = "LOAD"

    def _evaluate(self, highest: Row) -> None:
        """The polynomial whose highest coefficient is in this row."""
        self.m.d.sync += self.words.row.eq(highest)
        self._fetch(_Load.COEFFICIENT)

    def _end(self, status: Status) -> None:
        """The evaluation ends so."""
        self.m.d.sync += self.evaluator.status.eq(status)
        self.m.next = "IDLE"

    def divide(self) -> None:
        """The start, and divisions: of the rate, of δp, of δd."""
        m, evaluator = self.m, self.evaluator
        words, adder, quotient, remaining = self.words, self.adder, self.quotient, self.remaining
        formats, fits, whole_rate = evaluator.config.formats, adder.fits, quotient.whole_rate
        low, high = rate_limits(evaluator.config)
        with m.State("IDLE"):
            # The steps observed come a cycle after the detections. While `clear` counts, the operand hands
            # the configured words on.
            m.d.comb += [
                evaluator.done.eq(~evaluator.start),
                adder.accumulates.eq(1),
                adder.restarts.eq(1),
                remaining.no_left.eq(1),
                adder.sets_operand.eq(1),
                adder.counts.eq(~evaluator.clear),
                quotient.no_quotient.eq(evaluator.start),
            ]
            m.d.sync += [words.channel.eq(evaluator.channel), words.row.eq(_RATE)]
            m.d.sync += words.load.eq(_Load.COEFFICIENT)
            with m.If(evaluator.start):
                m.next = "OBSERVED"
        with m.State("OBSERVED"):
            m.d.comb += [
                adder.accumulates.eq(1),
                adder.negates.eq(1),
                adder.sets_operand.eq(1),
                adder.counts.eq(1),
                quotient.sets_rate.eq(1),
            ]
            m.next = "ALIGN"
        with m.State("ALIGN"):
            m.d.comb += [adder.doubles.eq(1), adder.sets_operand.eq(fits)]
            m.d.comb += [remaining.plus_one.eq(1), remaining.counts_down.eq(fits)]
            with m.If(~fits):
                m.next = "DIVIDE"
            # There are not more detections than steps: two doublings do, unless of 0.
            with m.Elif(words.is_rate & remaining.left[2]):
                self._end(Status.UNOBSERVED)
        with m.State("DIVIDE"):
            m.d.comb += [
                adder.accumulates.eq(1),
                adder.takes_sum.eq(fits),
                quotient.divides.eq(1),
                remaining.counts_down.eq(1),
                remaining.inverts.eq(1),
                quotient.shifts.eq(~(remaining.at_end | quotient.too_large)),
            ]
            with m.If(~quotient.shifts):
                m.next = "CHECK"
        with m.State("CHECK"):
            m.d.comb += [adder.accumulates.eq(1), adder.restarts.eq(1), remaining.no_left.eq(1)]
            with m.If(words.is_rate):
                too_high = quotient.highest_rate
                m.d.comb += [quotient.sets_rate.eq(1), too_high.eq(quotient.beyond(formats.rate))]
                self._evaluate(Row.BETA_2)
                with m.If(too_high | below(whole_rate, low) | ~below(whole_rate, high + 1)):
                    self._end(Status.RATE)
            with m.Elif(words.is_alpha):
                m.d.sync += evaluator.potentiation.eq(quotient.quotient[: formats.potentiation.width])
                self._evaluate(Row.GAMMA_1)
                with m.If(quotient.beyond(formats.potentiation)):
                    self._end(Status.OVERFLOW)
            with m.Else():
                self._end(Status.GOOD)
                with m.If(quotient.beyond(formats.depression)):
                    self._end(Status.OVERFLOW)

    def add_and_multiply(self) -> None:
        """Horner's scheme: load a coefficient, add the total, multiply by the rate, and so on."""
        m, evaluator = self.m, self.evaluator
        words, adder, quotient, remaining = self.words, self.adder, self.quotient, self.remaining
        load, lowest, result = words.load, words.lowest, adder.result
        with m.State("LOAD"):
            m.d.comb += [adder.carry_in.eq(1), words.reads.eq(~evaluator.lend & ~evaluator.write)]
            with m.If(words.reads):
                m.next = "TAKE"
            # Nothing is to be divided: the operand is 0, so that only ~0 + 1 is carried.
            with m.If((load == _Load.DETERMINANT) & ~adder.fits):
                m.next = "CHECK"
        with m.State("TAKE"):
            m.d.comb += [
                adder.sets_operand.eq(1),
                adder.no_operand.eq(load == _Load.EXPONENT),
                remaining.uses_word.eq(1),
                remaining.inverts.eq(load == _Load.BETA_EXPONENT),
                remaining.plus_one.eq(remaining.inverts),
                adder.restarts.eq(1),
            ]
            with m.Switch(load):
                with m.Case(_Load.COEFFICIENT):
                    m.next = "ADD"
                with m.Case(_Load.TOTAL):
                    m.d.comb += adder.accumulates.eq(1)
                    m.next = "MULTIPLY"
                with m.Case(_Load.BETA_EXPONENT):
                    m.d.comb += remaining.counts_down.eq(1)
                    self._fetch(_Load.EXPONENT)
                with m.Case(_Load.EXPONENT):
                    m.d.comb += remaining.counts_down.eq(1)
                    self._fetch(_Load.DETERMINANT)
                with m.Default():
                    m.next = "ALIGN"
        with m.State("ADD"):
            # A total waits in the memory for its product, the determinant for its divisions.
            m.d.comb += words.keeps.eq(~evaluator.write & (~lowest | words.is_beta))
            m.d.comb += [remaining.no_left.eq(1), adder.negates.eq(1)]
            with m.If(~lowest & words.keeps):
                self._fetch(_Load.TOTAL)
            with m.If(lowest & words.is_beta):
                m.d.comb += [adder.accumulates.eq(words.keeps), adder.restarts.eq(1)]
                with m.If(below(result, LEAST_DETERMINANT)):
                    self._end(Status.DETERMINANT)
                with m.Elif(words.keeps):
                    self._evaluate(Row.ALPHA_2)
            with m.Elif(lowest):
                m.d.comb += [adder.accumulates.eq(1), quotient.no_quotient.eq(1)]
                self._fetch(_Load.BETA_EXPONENT)
                with m.If(result < 0):
                    self._end(Status.NEGATIVE)
        with m.State("MULTIPLY"):
            rate = quotient.rate
            m.d.comb += [
                adder.accumulates.eq(1),
                adder.halves.eq(1),
                remaining.inverts.eq(1),
                remaining.counts_down.eq(1),
                adder.takes_sum.eq(rate[0]),
            ]
            m.d.sync += rate.eq(rate.rotate_right(1))  # once round, and it is itself again
            with m.If(remaining.last_bit):
                m.d.sync += words.row.eq(words.row - 1)
                self._fetch(_Load.COEFFICIENT)
