"""Recalibration of δp and δd beside the steps: a counter a channel, and one evaluator for all."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChipConfig
from ..golden_model.recalibration import EXPONENT, Row, Status, check_round, count_bits
from .events import channel_shape
from .rational import ROW_BITS, STATUS_FORMAT, RationalEvaluator

__all__ = ["Recalibration"]


class Recalibration(wiring.Component):
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
    fetch : In(1)
        Read the counters of `channel`.
    store : In(1)
        End the step of `channel`, at least one cycle after its `fetch`.
    channel : In
    io, blanked : In(1)
        Its IO detection, outside blanked steps, and whether the IO was blanked; valid with `store`.
    renew : Out(1)
        In a cycle of `store`: `potentiation` and `depression` are the channel's from the next step on.
    ended : Out(1)
        In a cycle of `store`: the channel's visit ends, with `status` and `rate`.
    status, rate, potentiation, depression : Out
    accessed : In
        Channel of the accesses below.
    row : In
        Which of its coefficients.
    read : In(1)
        Read the coefficient and the status of the channel; `read_data` and `read_status` are theirs in the
        next cycle. Not in a cycle of `fetch`, `store` or `clear`.
    write : In(1)
        Write `write_data` to the coefficient; a visit of its channel comes to nothing, and none begins that
        comes to something until ``GAMMA_EXPONENT`` is written.
    clear : In(1)
        Bring back row `clear_row` of everything.
    clear_row : In

    Raises
    ------
    ValueError
        If a round over the channels does not fit a period.
    """

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
        in_memory = {"init": [], "attrs": {"ram_style": "block"}}
        rows = 1 << channel_shape(self.channels).width
        clears_channel = self.clear & (self.clear_row < rows)

        # Which channel is being visited in this step, and how far the visit is.
        period, visit = self.config.recalibration_steps, self.visit_steps
        next_step = Signal(range(period))  # within the period
        second_period, visiting = Signal(), Signal()
        visited, within = Signal.like(self.channel), Signal(range(visit))
        with m.If(self.begin_step):
            m.d.sync += next_step.eq(next_step + 1)
            with m.If(next_step == period - 1):
                m.d.sync += [next_step.eq(0), second_period.eq(1)]
            m.d.sync += within.eq(within + 1)
            with m.If(within == visit - 1):
                m.d.sync += [within.eq(0), visited.eq(visited + 1)]
                with m.If(visited == self.channels - 1):
                    m.d.sync += visiting.eq(0)
            with m.If((next_step == 0) & second_period):
                m.d.sync += [visiting.eq(1), visited.eq(0), within.eq(0)]
        turn = self.store & visiting & (self.channel == visited)
        first, last = turn & (within == 0), turn & (within == visit - 1)

        # Counters.
        width = count_bits(self.config)
        layout = data.StructLayout({"count": width, "observed": width})
        m.submodules.counters = counters = memory.Memory(shape=layout, depth=rows, **in_memory)
        before, after = counters.read_port(), counters.write_port()
        m.d.comb += [
            before.addr.eq(self.channel),
            before.en.eq(self.fetch),
            after.addr.eq(Mux(self.clear, self.clear_row, self.channel)),
            after.en.eq(self.store | clears_channel),
        ]
        with m.If(~self.clear):
            m.d.comb += [
                after.data.count.eq(Mux(first, 0, before.data.count) + self.io),
                after.data.observed.eq(Mux(first, 0, before.data.observed) + ~self.blanked),
            ]

        # The evaluator works from the visit's first step to its last.
        m.submodules.evaluator = evaluator = self._evaluator
        m.submodules.whole = sets = memory.Memory(shape=1, depth=rows, **in_memory)
        whole, written = sets.read_port(), sets.write_port()
        m.d.comb += [
            whole.addr.eq(self.channel),
            whole.en.eq(self.fetch),
            written.addr.eq(Mux(self.clear, self.clear_row, self.accessed)),
            written.data.eq(self.clear | (self.row == Row.GAMMA_EXPONENT)),
            written.en.eq(self.write | clears_channel),
        ]
        is_exponent = self.row[:2] == Row.ALPHA_EXPONENT
        interrupted = Signal()
        with m.If(first):
            m.d.sync += interrupted.eq(~whole.data)
        with m.Elif(self.write & (self.accessed == visited)):
            m.d.sync += interrupted.eq(1)
        m.d.comb += [
            evaluator.start.eq(first),
            evaluator.channel.eq(self.channel),
            evaluator.count.eq(before.data.count),
            evaluator.observed.eq(before.data.observed),
            evaluator.lend.eq(self.read),
            evaluator.write.eq(self.write),
            evaluator.clear.eq(self.clear),
            evaluator.address.eq(Mux(self.clear, self.clear_row, Cat(self.row, self.accessed))),
            evaluator.write_data.eq(
                Mux(is_exponent, self.write_data[: EXPONENT.width].as_signed(), self.write_data)
            ),
            self.read_data.eq(evaluator.read_data),
            self.ended.eq(last),
            self.status.eq(Mux(interrupted | ~evaluator.done, Status.INTERRUPTED, evaluator.status)),
            self.rate.eq(evaluator.rate),
            self.potentiation.eq(evaluator.potentiation),
            self.depression.eq(evaluator.depression),
            self.renew.eq(last & (self.status == Status.GOOD)),
        ]

        m.submodules.statuses = statuses = memory.Memory(
            shape=STATUS_FORMAT.as_shape(), depth=rows, **in_memory
        )
        status_read, status_write = statuses.read_port(), statuses.write_port()
        m.d.comb += [
            status_read.addr.eq(self.accessed),
            self.read_status.eq(status_read.data),
            status_write.addr.eq(Mux(self.clear, self.clear_row, self.channel)),
            status_write.data.eq(Mux(self.clear, Status.NEVER, self.status)),
            status_write.en.eq(last | clears_channel),
        ]
        return m
