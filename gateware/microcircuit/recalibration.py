"""Recalibration of δp and δd beside the steps: a counter a channel, and one evaluator for all."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChipConfig
from ...golden_model.recalibration import EXPONENT, Row, Status, check_round, count_bits
from ..component import Component
from ..events import channel_shape
from .rational import ROW_BITS, STATUS_FORMAT, RationalEvaluator

__all__ = ["Recalibration"]


class Recalibration(Component):
    """Counts IO detections and unblanked steps, and gives each channel new δp and δd once a period.

    The equations, and which step sees what, are in ``microzone.golden_model.recalibration``. It follows the
    sequencer's walk over the channels and never holds it up: the counters change, and new δ are handed over,
    in the cycle that ends a channel's step; the evaluator works in between, at the clock's own pace.

    Parameters
    ----------
    config : ChipConfig
        With ``recalibration.enabled``.
    channels : int

    Attributes
    ----------
    clear_cycles : int
        Cycles of `clear` that bring counters, statuses and coefficients back to what they are after reset.

    Members
    -------
    begin_step : In(1)
        A step begins: no channel has had its turn in it yet.
    fetch, learn, scale : In(1)
        The first three cycles of the step of `channel`, one after the other.
    store : In(1)
        End it, in a later cycle.
    channel : In(channel_shape(channels))
    io, blanked : In(1)
        Its IO detection, outside blanked steps, and whether the IO was blanked; valid after `fetch`.
    renew : Out(1)
        In the cycle of `learn`: `potentiation` and `depression` are the channel's from the next step on.
    ended : Out(1)
        In a cycle of `store`: the channel's visit ends, with `status` and `rate`.
    status : Out(STATUS_FORMAT)
        How the visit ended.
    rate : Out(formats.rate)
        The IO's rate in it, as a share of full scale.
    potentiation, depression : Out(formats.potentiation), Out(formats.depression)
        The new δp and δd.
    accessed : In(channel_shape(channels))
        Channel of the accesses below.
    row : In(ROW_BITS)
        Which of its coefficients.
    read : In(1)
        Read the coefficient and the status of the channel; `read_data` and `read_status` are theirs in the
        next cycle. Not within a step, nor in a cycle of `clear`.
    write : In(1)
        Write `write_data` to the coefficient; a visit of its channel comes to nothing, and none begins that
        comes to something until ``GAMMA_EXPONENT`` is written. Not within a step either.
    write_data : In(formats.coefficient)
    read_data : Out(formats.coefficient)
    read_status : Out(STATUS_FORMAT)
    clear : In(1)
        Bring back row `clear_row` of everything, after a reset: `clear_row` counts up from 0.
    clear_row : In(range(clear_cycles))

    Raises
    ------
    ValueError
        If a round over the channels does not fit a period.
    """

    begin_step: Signal
    fetch: Signal
    learn: Signal
    scale: Signal
    store: Signal
    channel: Signal
    io: Signal
    blanked: Signal
    renew: Signal
    ended: Signal
    status: Signal
    rate: Signal
    potentiation: Signal
    depression: Signal
    accessed: Signal
    row: Signal
    read: Signal
    write: Signal
    write_data: Signal
    read_data: Signal
    read_status: Signal
    clear: Signal
    clear_row: Signal

    def __init__(self, config: ChipConfig, channels: int) -> None:
        self.config, self.channels = config, channels
        self.visit_steps = check_round(config, channels)
        self._evaluator = RationalEvaluator(config, channels)
        self.clear_cycles = self._evaluator.clear_cycles
        formats, number = config.formats, channel_shape(channels)
        super().__init__(
            {
                "begin_step": In(1),
                "fetch": In(1),
                "learn": In(1),
                "scale": In(1),
                "store": In(1),
                "channel": In(number),
                "io": In(1),
                "blanked": In(1),
                "renew": Out(1),
                "ended": Out(1),
                "status": Out(STATUS_FORMAT.as_shape()),
                "rate": Out(formats.rate.as_shape()),
                "potentiation": Out(formats.potentiation.as_shape()),
                "depression": Out(formats.depression.as_shape()),
                "accessed": In(number),
                "row": In(ROW_BITS),
                "read": In(1),
                "write": In(1),
                "write_data": In(formats.coefficient.as_shape()),
                "read_data": Out(formats.coefficient.as_shape()),
                "read_status": Out(STATUS_FORMAT.as_shape()),
                "clear": In(1),
                "clear_row": In(range(self.clear_cycles)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        visited, first, last = self._schedule(m)

        # What is kept of a channel: the two counters in two rows, one after the other through one adder;
        # beside the first, whether the set of coefficients is whole, and the status.
        width = count_bits(self.config)
        layout = data.StructLayout({"counter": width, "whole": 1, "status": STATUS_FORMAT.as_shape()})
        kept: memory.Memory[int, Value] = memory.Memory(
            shape=layout.size, depth=2 << len(self.channel), init=[], attrs={"ram_style": "block"}
        )
        m.submodules.kept = kept
        read, write = kept.read_port(), kept.write_port(granularity=1)
        before, after = data.View(layout, read.data), data.View(layout, write.data)
        written = data.View(layout, write.en)
        writes_counter = self.learn | self.scale | self.clear
        read_from = Cat(Mux(self.read, self.accessed, self.channel), self.learn)
        written_to = Cat(Mux(self.write, self.accessed, self.channel), self.scale)
        m.d.comb += [
            read.en.eq(self.fetch | self.learn | self.read),
            read.addr.eq(read_from),
            write.addr.eq(Mux(self.clear, self.clear_row, written_to)),
            after.counter.eq(
                Mux(first | self.clear, 0, before.counter)
                + Mux(self.scale, ~self.blanked, self.io & self.learn)
            ),
            after.whole.eq(self.clear | (self.row == Row.GAMMA_EXPONENT)),
            after.status.eq(self.status),  # NEVER after a reset
            written.counter.eq(writes_counter.replicate(width)),
            written.whole.eq(self.write | self.clear),
            written.status.eq((self.ended | self.clear).replicate(STATUS_FORMAT.width)),
        ]

        # The set was not whole when the visit began, or was written to since.
        interrupted = Signal()
        with m.If(self.learn & first):
            m.d.sync += interrupted.eq(~before.whole)
        with m.Elif(self.write & (self.accessed == visited)):
            m.d.sync += interrupted.eq(1)

        # The evaluator works from the visit's first step to its last, which hands over what it has found.
        m.submodules.evaluator = evaluator = self._evaluator
        is_exponent = self.row[:2] == Row.ALPHA_EXPONENT
        m.d.comb += [
            evaluator.start.eq(self.learn & first),
            evaluator.channel.eq(self.channel),
            evaluator.counted.eq(before.counter),
            evaluator.lend.eq(self.read),
            evaluator.write.eq(self.write),
            evaluator.clear.eq(self.clear),
            evaluator.address.eq(Mux(self.clear, self.clear_row, Cat(self.row, self.accessed))),
            evaluator.write_data.eq(
                Mux(is_exponent, self.write_data[: EXPONENT.width].as_signed(), self.write_data)
            ),
            self.read_data.eq(evaluator.read_data),
            self.read_status.eq(before.status),
            self.ended.eq(self.store & last),
            self.status.eq(Mux(interrupted | ~evaluator.done, Status.INTERRUPTED, evaluator.status)),
            self.rate.eq(evaluator.rate),
            self.potentiation.eq(evaluator.potentiation),
            self.depression.eq(evaluator.depression),
            self.renew.eq(self.learn & last & (self.status == Status.GOOD)),
        ]
        return m

    def _schedule(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """The channel that is visited; whether this is its turn, in the first or in the last step of that."""
        period, visit = self.config.recalibration_steps, self.visit_steps
        until_round = Signal(range(period + 1), init=period)  # steps, counted down to below 0
        visit_left = Signal(range(visit), init=visit - 1)  # steps after this one
        visiting = Signal()  # there is a visit, of `visited`
        visited = Signal.like(self.channel)
        is_first = Signal()
        is_last = Signal()
        begins_round = Signal()
        fewer_until = until_round - 1
        m.d.comb += [begins_round.eq(fewer_until < 0), is_last.eq(visit_left == 0)]
        with m.If(self.begin_step):
            m.d.sync += [
                until_round.eq(Mux(begins_round, period - 1, fewer_until)),
                is_first.eq(begins_round | is_last),
                visit_left.eq(Mux(begins_round | is_last, visit - 1, visit_left - 1)),
            ]
            with m.If(is_last):
                m.d.sync += visited.eq(visited + 1)
                with m.If(visited == self.channels - 1):
                    m.d.sync += visiting.eq(0)
            with m.If(begins_round):
                m.d.sync += [visiting.eq(1), visited.eq(0)]
        turn = visiting & (self.channel == visited)
        first = Signal()
        last = Signal()
        m.d.comb += [first.eq(turn & is_first), last.eq(turn & is_last)]
        return visited, first, last
