"""Rational functions of the IO rate, a bit a cycle: one Horner evaluator and one divider for all."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChipConfig
from ..golden_model.fixed import UQ
from ..golden_model.recalibration import (
    EXPONENT,
    LEAST_DETERMINANT,
    Coefficients,
    Row,
    Status,
    accumulator_format,
    coefficient_words,
    count_bits,
    division_bits,
    largest_shift,
    rate_limits,
)
from .events import channel_shape

__all__ = ["STATUS_FORMAT", "RationalEvaluator"]

ROW_BITS = 4
"""Bits of a row's number."""
STATUS_FORMAT = UQ(3, 0)


class RationalEvaluator(wiring.Component):
    """``rate = count / observed``, then δp and δd as in ``RecalibrationFixed.evaluate``, bit for bit.

    The order is that of the model: rate, denominator, numerator and quotient of δp, then of δd; the first
    check that fails ends it. Products take a cycle a bit of the rate, divisions a cycle a bit of the
    quotient.

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
        Evaluate for `channel`, with `count` and `observed` as they are in this cycle.
    channel, count, observed : In
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
        Write the configured word to `address` instead.
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
                "count": In(counter),
                "observed": In(counter),
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

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, formats = self.config, self.config.formats
        configured = config.recalibration.coefficients
        assert isinstance(configured, Coefficients)
        initial = Array(
            Const(word, formats.coefficient.as_shape()) for word in coefficient_words(configured, config)
        )
        m.submodules.coefficients = kept = memory.Memory(
            shape=formats.coefficient.as_shape(), depth=self.clear_cycles, init=[],
            attrs={"ram_style": "block"},
        )  # fmt: skip
        read, write = kept.read_port(), kept.write_port()
        word = read.data
        channel = Signal.like(self.channel)
        row = Signal(ROW_BITS)
        m.d.comb += [
            read.addr.eq(Mux(self.lend, self.address, Cat(row, channel))),
            self.read_data.eq(word),
            write.addr.eq(self.address),
            write.data.eq(Mux(self.clear, initial[self.address[:ROW_BITS]], self.write_data)),
            write.en.eq(self.write | self.clear),
        ]

        # Horner's scheme: total := total·rate, rounded half up, + the next coefficient.
        wide = accumulator_format(config)
        total = Signal(wide.as_shape())
        product = Signal(wide.as_shape())
        bits_left = Signal(range(formats.rate.width + 1))
        partial = product + Mux(self.rate[0], total, 0) + (bits_left == 1)

        # Restoring division: a bit of the dividend in, a bit of the quotient out.
        span = division_bits(config)
        dividend, divisor, remainder = Signal(span), Signal(span), Signal(span)
        widest = max(fmt.width for fmt in (formats.rate, formats.potentiation, formats.depression))
        quotient, too_large = Signal(widest + 1), Signal()
        rate_shift = config.rate_scale_bits + formats.rate.fraction_bits + 1
        most = max(largest_shift(config), rate_shift)
        quotient_bits_left = Signal(range(span + most + 1))
        shifted = Cat(dividend[-1], remainder)
        fits = shifted >= divisor
        rounded = (quotient + 1) >> 1
        m.d.comb += self.depression.eq(rounded)  # the last quotient, which stays

        def divide(numerator: Any, shift: Any) -> list[Any]:
            """Get ready for ``numerator·2**shift / divisor``."""
            return [
                dividend.eq(numerator),
                remainder.eq(0),
                quotient.eq(0),
                too_large.eq(0),
                quotient_bits_left.eq(Mux((shift > -span) & (shift <= most), span + shift, 0)),
            ]

        dividing_rate, ended = Signal(), Signal(init=1)
        m.d.comb += self.done.eq(ended & ~self.start)
        exponent, beta_exponent = Signal(EXPONENT.as_shape()), Signal(EXPONENT.as_shape())
        low, high = rate_limits(config)

        def end(status: Status) -> None:
            m.d.sync += [self.status.eq(status), ended.eq(1)]
            m.next = "IDLE"

        def load(first: Row) -> None:
            """Evaluate the polynomial whose highest coefficient is in this row."""
            m.d.sync += row.eq(first)
            m.next = "LOAD"

        is_alpha, is_beta = row <= Row.ALPHA_EXPONENT, (row >= Row.BETA_0) & (row <= Row.BETA_EXPONENT)
        highest = (row == Row.ALPHA_2) | (row == Row.BETA_2) | (row == Row.GAMMA_1)
        lowest = row[:2] == 0
        is_exponent = row[:2] == Row.ALPHA_EXPONENT
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    channel.eq(self.channel),
                    divisor.eq(self.observed),
                    *divide(self.count, Const(rate_shift)),
                    dividing_rate.eq(1),
                    self.rate.eq(0),
                    ended.eq(0),
                ]
                m.next = "DIVIDE"
                with m.If(self.observed == 0):
                    end(Status.UNOBSERVED)
            with m.State("DIVIDE"):
                with m.If(quotient_bits_left != 0):
                    m.d.sync += [
                        remainder.eq(Mux(fits, shifted - divisor, shifted)),
                        quotient.eq(Cat(fits, quotient)),
                        too_large.eq(too_large | quotient[-1]),
                        dividend.eq(dividend << 1),
                        quotient_bits_left.eq(quotient_bits_left - 1),
                    ]
                with m.Elif(dividing_rate):
                    limit = formats.rate.raw_max
                    beyond = too_large | (rounded > limit)
                    m.d.sync += [self.rate.eq(Mux(beyond, limit, rounded)), too_large.eq(beyond)]
                    m.next = "CHECK_RATE"
                with m.Elif(is_alpha):
                    m.d.sync += self.potentiation.eq(rounded)
                    load(Row.GAMMA_1)
                    with m.If(too_large | (rounded > formats.potentiation.raw_max)):
                        end(Status.OVERFLOW)
                with m.Else():
                    end(Status.GOOD)
                    with m.If(too_large | (rounded > formats.depression.raw_max)):
                        end(Status.OVERFLOW)
            with m.State("CHECK_RATE"):
                m.d.sync += dividing_rate.eq(0)
                with m.If(too_large | (self.rate < low) | (self.rate > high)):
                    end(Status.RATE)
                with m.Else():
                    load(Row.BETA_2)
            with m.State("LOAD"), m.If(~self.lend):
                m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += [product.eq(0), bits_left.eq(formats.rate.width), exponent.eq(word)]
                with m.If(is_exponent):
                    m.next = "SCALE"
                with m.Else():
                    m.d.sync += total.eq(Mux(highest, 0, product) + word)
                    m.next = "MULTIPLY"
                    with m.If(lowest):
                        m.next = "CHECK_SIGN"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    product.eq(partial >> 1),
                    self.rate.eq(self.rate.rotate_right(1)),  # once round, and it is itself again
                    bits_left.eq(bits_left - 1),
                ]
                with m.If(bits_left == 1):
                    m.d.sync += row.eq(row - 1)
                    m.next = "LOAD"
            with m.State("CHECK_SIGN"):
                m.d.sync += row.eq(Cat(Const(int(Row.ALPHA_EXPONENT), 2), row[2:]))
                m.next = "LOAD"
                with m.If(is_beta):
                    m.d.sync += divisor.eq(total)
                    with m.If(total < LEAST_DETERMINANT):
                        end(Status.DETERMINANT)
                with m.Elif(total < 0):
                    end(Status.NEGATIVE)
            with m.State("SCALE"):
                with m.If(is_beta):
                    m.d.sync += beta_exponent.eq(exponent)
                    load(Row.ALPHA_2)
                with m.Else():
                    fraction = Mux(
                        is_alpha, formats.potentiation.fraction_bits, formats.depression.fraction_bits
                    )
                    shift = exponent - beta_exponent + fraction + 1
                    m.d.sync += divide(total, shift)
                    m.next = "DIVIDE"
                    with m.If((shift > largest_shift(config)) & (total != 0)):
                        end(Status.OVERFLOW)
        return m
