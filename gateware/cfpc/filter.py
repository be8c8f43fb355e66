"""The adaptive filter of counterfactual predictive control (CFPC): one multiplier for all of a step.

The equations and their source are in ``microzone.golden_model.cfpc``; this is ``AdaptiveFilterFixed`` bit for
bit. A step is two passes through the same pipeline: the forward model, a product a cycle, and the synapses,
two products and two cycles each.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.cfpc.config import CfpcConfig
from ..events import channel_shape
from ..fixed import below
from .arithmetic import MultiplyAdd, learnt_weight, narrowed
from .forward import IN_BLOCK_RAM, ForwardModel
from .program import CfpcTiming

__all__ = ["Cfpc", "CfpcTiming", "cfpc_access_layout", "cfpc_sample_layout"]


def cfpc_sample_layout(config: CfpcConfig) -> data.StructLayout:
    """A sample: ``error`` e, ``basis`` x."""
    shape = config.formats.signal.as_shape()
    return data.StructLayout({"error": shape, "basis": shape})


def cfpc_access_layout(config: CfpcConfig) -> data.StructLayout:
    """An access to a weight: ``write``, ``synapse``, ``word``."""
    number = channel_shape(config.bases.count)
    return data.StructLayout({"write": 1, "synapse": number, "word": config.formats.weight.as_shape()})


class Cfpc(CfpcTiming, wiring.Component):
    """``o = Σ w_j·x_j``, ``w_j += η·h_j·e``, h_j the forward model's answer to x_j (Herreros et al. 2016).

    A step begins with its first sample and ends when its output is taken. Where the bases are shifted, x and
    h of synapse j are those of the one input j spacings ago; else each synapse has an input and a forward
    model's states of its own. Every product is summed at full width, then rounded and saturated once.
    Weights are accessed between steps; an access and the first sample of a step that are both waiting take
    turns. After reset all weights, states and lines are 0, `initialise_cycles` later.

    Parameters
    ----------
    config : CfpcConfig

    Attributes
    ----------
    cycles_per_step, step_cycles, initialise_cycles : int
        See :class:`CfpcTiming`.

    Members
    -------
    samples : In(stream of cfpc_sample_layout(config))
        ``words.inputs`` of them a step: basis k in the k-th. The error of the last one counts.
    outputs : Out(stream of formats.signal)
        o of each step. The next step begins after it was taken.
    freeze : In(1)
        With the last sample of a step: w stays in it.
    access : In(stream of cfpc_access_layout(config))
        Read or write w of a synapse.
    readback : Out(stream of formats.weight)
        Answer to each read, in order; 0 for a synapse that does not exist. A further read waits until it is
        taken; writes and steps do not.
    busy : Out(1)
        A step or the initialisation is in progress.
    rejected : Out(1)
        An access named a synapse that does not exist, and had no effect. Held until reset.
    commit : Out
        For benches: ``valid`` for a cycle for each synapse of each step, in their order, with its ``basis``
        x, ``trace`` h and ``weight`` after the step.

    Raises
    ------
    ConfigError
        As ``FilterWords.of``.
    """

    def __init__(self, config: CfpcConfig) -> None:
        CfpcTiming.__init__(self, config)
        signal, weight = config.formats.signal.as_shape(), config.formats.weight.as_shape()
        commit = {
            "valid": Out(1),
            "synapse": Out(channel_shape(self.words.count)),
            "basis": Out(signal),
            "trace": Out(signal),
            "weight": Out(weight),
        }
        wiring.Component.__init__(
            self,
            {
                "samples": In(stream.Signature(cfpc_sample_layout(config))),
                "outputs": Out(stream.Signature(signal)),
                "freeze": In(1),
                "access": In(stream.Signature(cfpc_access_layout(config))),
                "readback": Out(stream.Signature(weight)),
                "busy": Out(1),
                "rejected": Out(1),
                "commit": Out(wiring.Signature(commit)),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words, slots = self.words, len(self.program)
        signal, weight = words.signal, words.weight
        initialise, accept, issue, visit, look, finish = (
            Signal(name=name) for name in ("initialise", "accept", "issue", "visit", "look", "finish")
        )
        m.submodules.arithmetic = arithmetic = MultiplyAdd(words)
        m.submodules.forward = forward = ForwardModel(self)

        # What the step has been given. It is 0 as long as memories are cleared: it is written to them.
        basis, error, frozen = Signal(signal.as_shape()), Signal(signal.as_shape()), Signal()
        given = self.samples.payload
        m.d.comb += accept.eq(self.samples.valid & self.samples.ready)
        with m.If(accept):
            m.d.sync += [basis.eq(given.basis), error.eq(given.error), frozen.eq(self.freeze)]

        # Basis line and trace line: a word of both for each synapse, found by walking.
        m.submodules.line = line = memory.Memory(
            shape=data.StructLayout({"basis": signal.as_shape(), "trace": signal.as_shape()}),
            depth=max(words.line_words, 2),
            init=[],
            **IN_BLOCK_RAM,
        )
        heard, kept = line.read_port(), line.write_port()
        place, synapse = Signal(channel_shape(words.line_words)), Signal(channel_shape(words.count))
        last_synapse, last_fetch = synapse == words.count - 1, Signal()
        m.d.sync += last_fetch.eq(issue & forward.ends)
        m.d.comb += [
            heard.addr.eq(place),
            heard.en.eq(visit),
            kept.addr.eq(place),
            kept.data.basis.eq(basis),
            kept.data.trace.eq(forward.trace),
            kept.en.eq(forward.keep | initialise),
        ]
        # From the last synapse of shifted bases it is one word on to the oldest one, the next step's place.
        moves = (visit & ~last_synapse) if words.spacing else (last_fetch | visit)
        with m.If(moves | initialise):
            m.d.sync += place.eq(self._next_place(place))
        with m.If(visit):
            m.d.sync += synapse.eq(synapse + 1)
        with m.If(finish):
            m.d.sync += synapse.eq(0)

        # Weights, and above them the coefficients of the forward model.
        above = max(self.weight_rows, 1 << len(forward.row))
        m.submodules.factors = factors = memory.Memory(
            shape=arithmetic.factor.shape(),
            depth=above + slots,
            init=[0] * above + [slot.coefficient for slot in self.program],
            **IN_BLOCK_RAM,
        )
        factor, learnt = factors.read_port(), factors.write_port()
        request = self.access.payload
        number = Mux(look, request.synapse, synapse)
        m.d.comb += [
            factor.addr.eq(Mux(forward.fetch, above | forward.row, number)),
            factor.en.eq(forward.fetch | visit | (look & ~request.write)),
        ]

        m.d.comb += [
            forward.issue.eq(issue),
            forward.basis.eq(basis),
            forward.input.eq(place if words.inputs > 1 else 0),
            forward.finish.eq(finish),
            forward.clear.eq(initialise),
            forward.total.eq(arithmetic.total),
            forward.total_is_trace.eq(arithmetic.trace),
            forward.total_is_state.eq(arithmetic.state),
            arithmetic.fetch.eq(forward.fetch),
            arithmetic.slot.eq(forward.slot),
            arithmetic.visit.eq(visit),
            arithmetic.first.eq(synapse == 0),
            arithmetic.last.eq(last_synapse),
            arithmetic.factor.eq(factor.data),
            arithmetic.operand.eq(forward.operand),
            arithmetic.heard_basis.eq(heard.data.basis),
            arithmetic.heard_trace.eq(heard.data.trace),
            arithmetic.basis.eq(basis),
            arithmetic.fed.eq(forward.fed),
            arithmetic.error.eq(error),
        ]
        with m.If(arithmetic.output):
            o = narrowed(arithmetic.total, weight.fraction_bits, signal)
            m.d.sync += [self.outputs.payload.eq(o), self.outputs.valid.eq(1)]
        with m.If(finish):
            m.d.sync += self.outputs.valid.eq(0)

        # Learning, in a cycle in which no weight is read.
        before, updated, write = Signal(weight.as_shape()), Signal.like(synapse), Signal()
        now = self.commit
        m.d.sync += write.eq(arithmetic.learns)
        with m.If(arithmetic.learns):
            m.d.sync += before.eq(factor.data)
            m.d.sync += [now.basis.eq(heard.data.basis), now.trace.eq(heard.data.trace)]
        after = Mux(frozen, before, learnt_weight(words, before, arithmetic.product))
        m.d.comb += [now.valid.eq(write), now.synapse.eq(updated), now.weight.eq(after)]
        with m.If(write | initialise):
            m.d.sync += updated.eq(updated + 1)
        with m.If(accept):
            m.d.sync += updated.eq(0)

        access = self.access.ready
        exists = below(request.synapse, words.count)
        m.d.comb += [
            learnt.addr.eq(Mux(access, request.synapse, updated)),
            learnt.data.eq(Mux(access, request.word, Mux(initialise, 0, after))),
            learnt.en.eq(write | initialise | (access & request.write)),  # rows that none has do no harm
        ]
        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)
        with m.If(access & ~request.write):
            m.d.sync += [self.readback.payload.eq(Mux(exists, factor.data, 0)), self.readback.valid.eq(1)]
        with m.If(access & ~exists):
            m.d.sync += self.rejected.eq(1)

        # After an access it is the turn of a sample that waits.
        served, cleared, odd = Signal(), Signal(range(self.initialise_cycles)), Signal()
        wanted = self.access.valid & (request.write | ~self.readback.valid)
        with m.If(access):
            m.d.sync += served.eq(1)
        with m.Elif(accept):
            m.d.sync += served.eq(0)
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("INITIALISE"):
                m.d.comb += initialise.eq(1)
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.d.sync += place.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [
                    self.busy.eq(0),
                    look.eq(wanted & ~(served & self.samples.valid)),
                    self.samples.ready.eq(~look),
                    issue.eq(accept),
                ]
                with m.If(look):
                    m.next = "ACCESS"
                with m.Elif(accept):
                    m.next = "FORWARD"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), self.access.ready.eq(1)]
                m.next = "IDLE"
            with m.State("FORWARD"):
                m.d.comb += issue.eq(1)
                with m.If(forward.ends):
                    m.next = "SYNAPSES"
                    if words.inputs > 1:
                        with m.If(place != words.inputs - 1):
                            m.next = "SAMPLE"
            if words.inputs > 1:
                with m.State("SAMPLE"):
                    m.d.comb += [self.samples.ready.eq(1), issue.eq(accept)]
                    with m.If(accept):
                        m.next = "FORWARD"
            with m.State("SYNAPSES"):
                m.d.comb += visit.eq(odd)
                m.d.sync += odd.eq(~odd)
                with m.If(visit & last_synapse):
                    m.next = "OUTPUT"
            with m.State("OUTPUT"):
                m.d.comb += finish.eq(self.outputs.valid & self.outputs.ready)
                with m.If(finish):
                    m.next = "IDLE"
        return m

    def _next_place(self, place: Value) -> Value:
        """Back by a spacing, or on to the next synapse's own; either goes round all words of the line."""
        length, spacing = self.words.line_words, self.words.spacing
        if length == 1:
            return Const(0, 1)
        if spacing:
            return place + Mux(below(place, spacing), length - spacing, -spacing)
        return Mux(place == length - 1, 0, place + 1)
