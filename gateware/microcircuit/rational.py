"""Rational functions of the IO rate, a bit a cycle: one adder multiplies and divides for all channels."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.coefficients import Coefficients
from ...golden_model.config import ChipConfig
from ...golden_model.fixed import UQ
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


class RationalEvaluator(wiring.Component):
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
    clear_cycles : int
        Cycles of `clear` that bring the configured coefficients back.

    Members
    -------
    start : In(1)
        Evaluate for `channel`: `counted` is the number of detections in this cycle, and in the next that of
        the steps observed, which is not less.
    channel, counted : In
    done : Out(1)
        The last evaluation has ended, at most ``recalibration.WORK_CYCLES`` after its start; the outputs
        stay until the next.
    status, rate, potentiation, depression : Out
        δp and δd count for status GOOD only.
    lend : In(1)
        Use this cycle of the coefficients' memory to read `address`; `read_data` is it in the next.
    write : In(1)
        Write `write_data` to `address`.
    clear : In(1)
        Bring back a configured word instead, after a reset: hold it for `clear_cycles` at least, while
        `address` counts up from 0.
    address : In
        Row, then channel.
    write_data : In
    read_data : Out
    """

    def __init__(self, config: ChipConfig, channels: int) -> None:
        self.config = config
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

    def _adder_bits(self) -> int:
        """Bits of the adder: twice a remainder is less than four times a dividend, or a number of steps."""
        config = self.config
        return max(
            accumulator_format(config).width + 2, count_bits(config) + 3, config.formats.rate.width + 1
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, formats = self.config, self.config.formats
        wide = accumulator_format(config)
        # The words of every channel, then once more the configured ones, which nothing overwrites. While
        # `clear` counts, one goes from there to a channel's row by way of the operand, two cycles behind.
        configured = config.recalibration.coefficients
        assert isinstance(configured, Coefficients)
        words = [*coefficient_words(configured, config), 0, 0, 0, 0]
        delayed = [words[(index + 2) % (1 << ROW_BITS) ^ _TOTAL] for index in range(1 << ROW_BITS)]
        m.submodules.coefficients = kept = memory.Memory(
            shape=wide.as_shape(),
            depth=self.clear_cycles + (1 << ROW_BITS),
            init=[0] * self.clear_cycles + delayed,
            attrs={"ram_style": "block"},
        )
        read, write = kept.read_port(), kept.write_port()
        word = read.data
        channel = Signal.like(self.channel)
        row = Signal(ROW_BITS)
        load = Signal(_Load)
        is_alpha, is_beta, is_rate = (row[2:] == first >> 2 for first in (Row.ALPHA_0, Row.BETA_0, _RATE))
        lowest = row[:2] == 0
        reads, keeps = Signal(name="reads"), Signal(name="keeps")  # for the evaluator itself
        loaded_row = Signal(ROW_BITS)
        m.d.comb += [
            loaded_row.eq(row),
            read.en.eq(reads | self.lend | self.clear),
            read.addr.eq(
                Mux(
                    self.clear,
                    Cat(self.address[:ROW_BITS], Const(0, len(channel)), 1),
                    Mux(self.lend, self.address, Cat(loaded_row, channel)),
                )
            ),
            self.read_data.eq(word),
            write.en.eq(self.write | self.clear | keeps),
        ]
        with m.Switch(load):
            with m.Case(_Load.TOTAL):
                m.d.comb += loaded_row.eq(_TOTAL)
            with m.Case(_Load.DETERMINANT):
                m.d.comb += loaded_row.eq(_DETERMINANT)
            with m.Case(_Load.BETA_EXPONENT):
                m.d.comb += loaded_row.eq(Row.BETA_EXPONENT)
            with m.Case(_Load.EXPONENT):
                m.d.comb += loaded_row[:2].eq(Row.ALPHA_EXPONENT)

        # The adder. A product is shifted out to the right as it grows. A dividend R is kept as ~2R, so that
        # subtracting the divisor is adding it: 2R is at least the divisor if nothing is carried. Registers
        # choose between few sources, and 0, by signals of their own: so a bit of each is one logic cell.
        width = self._adder_bits()
        accumulator, operand = (
            Signal(width, reset_less=True, name=name) for name in ("accumulator", "operand")
        )
        carry_in, takes_sum, fits = _bits("carry_in", "takes_sum", "fits")
        accumulates, restarts, halves, negates = _bits("accumulates", "restarts", "halves", "negates")
        sets_operand, no_operand, doubles, counts = _bits("sets_operand", "no_operand", "doubles", "counts")
        added = (Cat(carry_in, accumulator) + Cat(Const(1, 1), operand))[1:]
        result = Signal(signed(width))
        half = 1 << formats.rate.width - 1  # of the last bit of a product: rounds it
        doubled = Cat(Const(1, 1), result[:-1] ^ negates.replicate(width - 1))
        m.d.comb += [
            fits.eq(~added[width]),
            takes_sum.eq(1),
            result.eq(Mux(takes_sum, added[:width], accumulator)),
            write.data.eq(Mux(self.write, self.write_data, result[: wide.width].as_signed())),
            write.addr.eq(
                Mux(self.write | self.clear, self.address, Cat(lowest, Const(_TOTAL >> 1, 3), channel))
                ^ Mux(self.clear, _TOTAL, 0)
            ),
        ]
        with m.If(accumulates):
            start = Mux(load == _Load.TOTAL, half, 0)
            m.d.sync += accumulator.eq(Mux(restarts, start, Mux(halves, result >> 1, doubled)))
        with m.If(sets_operand):
            source = Mux(doubles, Cat(Const(0, 1), operand[:-1]).as_signed(), Mux(counts, self.counted, word))
            m.d.sync += operand.eq(Mux(no_operand, 0, source))

        # Quotient and rate. A division ends early if the topmost bit is set. The second term of the rounding
        # counts only where the sum does not: as written, adder and choice are one logic cell a bit.
        widest = max(fmt.width for fmt in (formats.rate, formats.potentiation, formats.depression))
        quotient = Signal(widest + 1, reset_less=True)
        divides, no_quotient, shifts = _bits("divides", "no_quotient", "shifts")
        too_large, whole_rate = quotient[-1], quotient[: formats.rate.width]
        shifted = Cat(fits, quotient[:-1])
        rounded = (Cat(fits & ~too_large, quotient) + Cat(Const(1, 1), shifts.replicate(widest + 1)))[1:]
        with m.If(divides | no_quotient):
            m.d.sync += quotient.eq(Mux(no_quotient, 0, Mux(shifts, shifted, rounded[: widest + 1])))
        m.d.comb += self.depression.eq(quotient[: formats.depression.width])  # the last one, which stays
        rate = Signal.like(self.rate, reset_less=True)
        sets_rate, highest_rate = _bits("sets_rate", "highest_rate")
        m.d.comb += self.rate.eq(rate)

        # What is left to do: bits of a product, or of a quotient, counted down to below 0.
        left = Signal(Shape(EXPONENT.width + 2, signed=True), reset_less=True)
        counts_down, no_left, uses_word, inverts, plus_one = _bits(
            "counts_down", "no_left", "uses_word", "inverts", "plus_one"
        )
        exponent = Mux(uses_word, word[: EXPONENT.width].as_signed(), 0)
        addend = (exponent ^ inverts.replicate(len(left)).as_signed())[: len(left)]
        next_left = (Cat(plus_one, left) + Cat(Const(1, 1), addend))[1 : len(left) + 1]
        with m.If(counts_down | no_left):
            m.d.sync += left.eq(Mux(no_left, 0, next_left))
        last_bit = below(left, 2 - formats.rate.width)
        at_end = Mux(
            is_rate,
            below(left, 1 - config.rate_scale_bits - formats.rate.fraction_bits),
            Mux(
                is_alpha,
                below(left, 1 - formats.potentiation.fraction_bits),
                below(left, 1 - formats.depression.fraction_bits),
            ),
        )

        def beyond(limit: int) -> Value:
            """The quotient is more than a format's largest word, all ones."""
            return quotient[limit.bit_length() :].any()

        def fetch(what: _Load) -> None:
            m.d.sync += load.eq(what)
            m.next = "LOAD"

        def evaluate(highest: Row) -> None:
            """The polynomial whose highest coefficient is in this row."""
            m.d.sync += row.eq(highest)
            fetch(_Load.COEFFICIENT)

        def end(status: Status) -> None:
            m.d.sync += self.status.eq(status)
            m.next = "IDLE"

        low, high = rate_limits(config)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.done.eq(~self.start),
                    *(bit.eq(1) for bit in (accumulates, restarts, no_left, sets_operand)),
                    counts.eq(~self.clear),
                    no_quotient.eq(self.start),
                ]
                m.d.sync += [channel.eq(self.channel), row.eq(_RATE), load.eq(_Load.COEFFICIENT)]
                with m.If(self.start):
                    m.next = "OBSERVED"
            with m.State("OBSERVED"):
                m.d.comb += [bit.eq(1) for bit in (accumulates, negates, sets_operand, counts, sets_rate)]
                m.next = "ALIGN"
            with m.State("ALIGN"):
                m.d.comb += [doubles.eq(1), sets_operand.eq(fits), plus_one.eq(1), counts_down.eq(fits)]
                with m.If(~fits):
                    m.next = "DIVIDE"
                # There are not more detections than steps: two doublings do, unless of 0.
                with m.Elif(is_rate & left[2]):
                    end(Status.UNOBSERVED)
            with m.State("DIVIDE"):
                m.d.comb += [accumulates.eq(1), takes_sum.eq(fits), divides.eq(1), counts_down.eq(1)]
                m.d.comb += [inverts.eq(1), shifts.eq(~(at_end | too_large))]
                with m.If(~shifts):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [accumulates.eq(1), restarts.eq(1), no_left.eq(1)]
                with m.If(is_rate):
                    m.d.comb += [sets_rate.eq(1), highest_rate.eq(beyond(formats.rate.raw_max))]
                    evaluate(Row.BETA_2)
                    with m.If(highest_rate | below(whole_rate, low) | ~below(whole_rate, high + 1)):
                        end(Status.RATE)
                with m.Elif(is_alpha):
                    m.d.sync += self.potentiation.eq(quotient[: formats.potentiation.width])
                    evaluate(Row.GAMMA_1)
                    with m.If(beyond(formats.potentiation.raw_max)):
                        end(Status.OVERFLOW)
                with m.Else():
                    end(Status.GOOD)
                    with m.If(beyond(formats.depression.raw_max)):
                        end(Status.OVERFLOW)
            with m.State("LOAD"):
                m.d.comb += [carry_in.eq(1), reads.eq(~self.lend & ~self.write)]
                with m.If(reads):
                    m.next = "TAKE"
                # Nothing is to be divided: the operand is 0, so that only ~0 + 1 is carried.
                with m.If((load == _Load.DETERMINANT) & ~fits):
                    m.next = "CHECK"
            with m.State("TAKE"):
                m.d.comb += [sets_operand.eq(1), no_operand.eq(load == _Load.EXPONENT), uses_word.eq(1)]
                m.d.comb += [inverts.eq(load == _Load.BETA_EXPONENT), plus_one.eq(inverts), restarts.eq(1)]
                with m.Switch(load):
                    with m.Case(_Load.COEFFICIENT):
                        m.next = "ADD"
                    with m.Case(_Load.TOTAL):
                        m.d.comb += accumulates.eq(1)
                        m.next = "MULTIPLY"
                    with m.Case(_Load.BETA_EXPONENT):
                        m.d.comb += counts_down.eq(1)
                        fetch(_Load.EXPONENT)
                    with m.Case(_Load.EXPONENT):
                        m.d.comb += counts_down.eq(1)
                        fetch(_Load.DETERMINANT)
                    with m.Default():
                        m.next = "ALIGN"
            with m.State("ADD"):
                m.d.comb += [keeps.eq(~self.write & (~lowest | is_beta)), no_left.eq(1), negates.eq(1)]
                with m.If(~lowest & keeps):
                    fetch(_Load.TOTAL)
                with m.If(lowest & is_beta):
                    m.d.comb += [accumulates.eq(keeps), restarts.eq(1)]
                    with m.If(below(result, LEAST_DETERMINANT)):
                        end(Status.DETERMINANT)
                    with m.Elif(keeps):
                        evaluate(Row.ALPHA_2)
                with m.Elif(lowest):
                    m.d.comb += [accumulates.eq(1), no_quotient.eq(1)]
                    fetch(_Load.BETA_EXPONENT)
                    with m.If(result < 0):
                        end(Status.NEGATIVE)
            with m.State("MULTIPLY"):
                m.d.comb += [bit.eq(1) for bit in (accumulates, halves, inverts, counts_down)]
                m.d.comb += takes_sum.eq(rate[0])
                m.d.sync += rate.eq(rate.rotate_right(1))  # once round, and it is itself again
                with m.If(last_bit):
                    m.d.sync += row.eq(row - 1)
                    fetch(_Load.COEFFICIENT)
        with m.If(sets_rate):
            m.d.sync += rate.eq(Mux(highest_rate, formats.rate.raw_max, whole_rate))
        return m


def _bits(*names: str) -> Iterator[Signal]:
    return (Signal(name=name) for name in names)
