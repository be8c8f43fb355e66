"""The adaptive filter of counterfactual predictive control (CFPC): one multiplier for all of a step.

The equations and their source are in ``microzone.golden_model.cfpc``; this is ``AdaptiveFilterFixed`` bit for
bit. A step is two passes through the same pipeline: the forward model, a product a cycle, and the synapses,
two products and two cycles each.
"""

from __future__ import annotations

from typing import Any, Protocol

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.words import FilterWords
from ..component import Component
from ..events import channel_shape
from ..fixed import below
from .arithmetic import MultiplyAdd, learnt_weight, narrowed
from .forward import IN_BLOCK_RAM, ForwardModel
from .program import CfpcTiming

__all__ = [
    "Cfpc",
    "CfpcCommit",
    "CfpcTiming",
    "cfpc_access_layout",
    "cfpc_commit_signature",
    "cfpc_sample_layout",
]


def cfpc_sample_layout(config: CfpcConfig) -> data.StructLayout:
    """A sample: ``error`` e, ``basis`` x."""
    shape = config.formats.signal.as_shape()
    return data.StructLayout({"error": shape, "basis": shape})


def cfpc_access_layout(config: CfpcConfig) -> data.StructLayout:
    """An access to a weight: ``write``, ``synapse``, ``word``."""
    number = channel_shape(config.bases.count)
    return data.StructLayout({"write": 1, "synapse": number, "word": config.formats.weight.as_shape()})


class CfpcCommit(Protocol):
    """What a step made of a synapse, for the one cycle in which ``valid`` is up: see :class:`Cfpc`."""

    valid: Signal
    synapse: Signal
    basis: Signal
    trace: Signal
    weight: Signal


def cfpc_commit_signature(config: CfpcConfig) -> wiring.Signature:
    """Of the filter's ``commit``; a :class:`CfpcCommit` is what it makes."""
    signal, weight = config.formats.signal.as_shape(), config.formats.weight.as_shape()
    return wiring.Signature(
        {
            "valid": Out(1),
            "synapse": Out(channel_shape(config.bases.count)),
            "basis": Out(signal),
            "trace": Out(signal),
            "weight": Out(weight),
        }
    )


class _Step:
    """The step in progress, as its parts see it.

    Attributes
    ----------
    initialise : Signal
        A row of every memory is cleared.
    accept : Signal
        A sample is taken.
    issue : Signal
        The next slot of the forward model.
    visit : Signal
        A synapse is read.
    look : Signal
        A weight is read for an access.
    finish : Signal
        The output is taken.
    basis, error, frozen : Signal
        What the sample has: x, e, and whether w stays.
    place : Signal
        Where the walk is in the line of x and h.
    synapse, last_synapse : Signal, Value
        The one that is visited; it is the last.
    updated, write : Signal
        The one that has learnt; its w is written.
    """

    def __init__(self, words: FilterWords) -> None:
        signal = words.signal.as_shape()
        self.initialise, self.accept, self.issue = Signal(), Signal(), Signal()
        self.visit, self.look, self.finish = Signal(), Signal(), Signal()
        self.basis, self.error, self.frozen = Signal(signal), Signal(signal), Signal()
        self.place = Signal(channel_shape(words.line_words))
        self.synapse = Signal(channel_shape(words.count))
        self.last_synapse = self.synapse == words.count - 1
        self.updated, self.write = Signal.like(self.synapse), Signal()


class Cfpc(CfpcTiming, Component):
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
    commit : Out(cfpc_commit_signature(config))
        For benches: ``valid`` for a cycle for each synapse of each step, in their order, with its ``basis``
        x, ``trace`` h and ``weight`` after the step.

    Raises
    ------
    ConfigError
        As ``FilterWords.of``.
    """

    samples: stream.Interface
    outputs: stream.Interface
    freeze: Signal
    access: stream.Interface
    readback: stream.Interface
    busy: Signal
    rejected: Signal
    commit: CfpcCommit

    def __init__(self, config: CfpcConfig) -> None:
        CfpcTiming.__init__(self, config)
        signal, weight = config.formats.signal.as_shape(), config.formats.weight.as_shape()
        Component.__init__(
            self,
            {
                "samples": In(stream.Signature(cfpc_sample_layout(config))),
                "outputs": Out(stream.Signature(signal)),
                "freeze": In(1),
                "access": In(stream.Signature(cfpc_access_layout(config))),
                "readback": Out(stream.Signature(weight)),
                "busy": Out(1),
                "rejected": Out(1),
                "commit": Out(cfpc_commit_signature(config)),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.arithmetic = arithmetic = MultiplyAdd(self.words)
        m.submodules.forward = forward = ForwardModel(self)
        step = _Step(self.words)
        self._take(m, step)
        heard = self._walk(m, step, forward)
        factor, learnt = self._read_factor(m, step, arithmetic, forward)
        self._compute(m, step, arithmetic, forward, factor, heard)
        after = self._learn(m, step, arithmetic, factor, heard)
        self._serve(m, step, factor, learnt, after)
        self._sequence(m, step, forward)
        return m

    def _take(self, m: Module, step: _Step) -> None:
        """What the step is given. It is 0 as long as memories are cleared: it is written to them."""
        given = self.samples.payload
        m.d.comb += step.accept.eq(self.samples.valid & self.samples.ready)
        with m.If(step.accept):
            m.d.sync += [
                step.basis.eq(given.basis),
                step.error.eq(given.error),
                step.frozen.eq(self.freeze),
            ]

    def _walk(self, m: Module, step: _Step, forward: ForwardModel) -> data.View[data.StructLayout]:
        """Basis line and trace line: a word of both for each synapse, found by walking; what it reads."""
        words, signal = self.words, self.words.signal.as_shape()
        place, synapse, visit = step.place, step.synapse, step.visit
        line: memory.Memory[data.StructLayout, data.View[data.StructLayout]] = memory.Memory(
            shape=data.StructLayout({"basis": signal, "trace": signal}),
            depth=max(words.line_words, 2),
            init=[],
            attrs=IN_BLOCK_RAM,
        )
        m.submodules.line = line
        heard, kept = line.read_port(), line.write_port()
        last_fetch = Signal()
        m.d.sync += last_fetch.eq(step.issue & forward.ends)
        m.d.comb += [
            heard.addr.eq(place),
            heard.en.eq(visit),
            kept.addr.eq(place),
            kept.data.basis.eq(step.basis),
            kept.data.trace.eq(forward.trace),
            kept.en.eq(forward.keep | step.initialise),
        ]
        # From the last synapse of shifted bases it is one word on to the oldest one, the next step's place.
        moves = (visit & ~step.last_synapse) if words.spacing else (last_fetch | visit)
        with m.If(moves | step.initialise):
            m.d.sync += place.eq(self._next_place(place))
        with m.If(visit):
            m.d.sync += synapse.eq(synapse + 1)
        with m.If(step.finish):
            m.d.sync += synapse.eq(0)
        return heard.data

    def _read_factor(
        self, m: Module, step: _Step, arithmetic: MultiplyAdd, forward: ForwardModel
    ) -> tuple[Value, memory.WritePort[Shape, Value]]:
        """Weights, and above them the coefficients of the forward model: what is read, and where to write."""
        above = max(self.weight_rows, 1 << len(forward.row))
        factors: memory.Memory[Shape, Value] = memory.Memory(
            shape=arithmetic.factor.shape(),
            depth=above + len(self.program),
            init=[0] * above + [slot.coefficient for slot in self.program],
            attrs=IN_BLOCK_RAM,
        )
        m.submodules.factors = factors
        factor, learnt = factors.read_port(), factors.write_port()
        request = self.access.payload
        number = Mux(step.look, request.synapse, step.synapse)
        m.d.comb += [
            factor.addr.eq(Mux(forward.fetch, above | forward.row, number)),
            factor.en.eq(forward.fetch | step.visit | (step.look & ~request.write)),
        ]
        return factor.data, learnt

    def _compute(
        self,
        m: Module,
        step: _Step,
        arithmetic: MultiplyAdd,
        forward: ForwardModel,
        factor: Value,
        heard: data.View[data.StructLayout],
    ) -> None:
        """The forward model and the multiplier, and o from the sum of all synapses."""
        words = self.words
        m.d.comb += [
            forward.issue.eq(step.issue),
            forward.basis.eq(step.basis),
            forward.input.eq(step.place if words.inputs > 1 else 0),
            forward.finish.eq(step.finish),
            forward.clear.eq(step.initialise),
            forward.total.eq(arithmetic.total),
            forward.total_is_trace.eq(arithmetic.trace),
            forward.total_is_state.eq(arithmetic.state),
            arithmetic.fetch.eq(forward.fetch),
            arithmetic.slot.eq(forward.slot),
            arithmetic.visit.eq(step.visit),
            arithmetic.first.eq(step.synapse == 0),
            arithmetic.last.eq(step.last_synapse),
            arithmetic.factor.eq(factor),
            arithmetic.operand.eq(forward.operand),
            arithmetic.heard_basis.eq(heard.basis),
            arithmetic.heard_trace.eq(heard.trace),
            arithmetic.basis.eq(step.basis),
            arithmetic.fed.eq(forward.fed),
            arithmetic.error.eq(step.error),
        ]
        with m.If(arithmetic.output):
            o = narrowed(arithmetic.total, words.weight.fraction_bits, words.signal)
            m.d.sync += [self.outputs.payload.eq(o), self.outputs.valid.eq(1)]
        with m.If(step.finish):
            m.d.sync += self.outputs.valid.eq(0)

    def _learn(
        self,
        m: Module,
        step: _Step,
        arithmetic: MultiplyAdd,
        factor: Value,
        heard: data.View[data.StructLayout],
    ) -> Value:
        """The weight after the step, in a cycle in which none is read."""
        words, updated, now = self.words, step.updated, self.commit
        before = Signal(words.weight.as_shape())
        m.d.sync += step.write.eq(arithmetic.learns)
        with m.If(arithmetic.learns):
            m.d.sync += before.eq(factor)
            m.d.sync += [now.basis.eq(heard.basis), now.trace.eq(heard.trace)]
        after = Mux(step.frozen, before, learnt_weight(words, before, arithmetic.product))
        m.d.comb += [now.valid.eq(step.write), now.synapse.eq(updated), now.weight.eq(after)]
        with m.If(step.write | step.initialise):
            m.d.sync += updated.eq(updated + 1)
        with m.If(step.accept):
            m.d.sync += updated.eq(0)
        return after

    def _serve(
        self,
        m: Module,
        step: _Step,
        factor: Value,
        learnt: memory.WritePort[Shape, Value],
        after: Value,
    ) -> None:
        """What is written to the weights, by the step or by an access; answers to accesses."""
        request, access = self.access.payload, self.access.ready
        exists = below(request.synapse, self.words.count)
        m.d.comb += [
            learnt.addr.eq(Mux(access, request.synapse, step.updated)),
            learnt.data.eq(Mux(access, request.word, Mux(step.initialise, 0, after))),
            # Rows that no synapse has do no harm.
            learnt.en.eq(step.write | step.initialise | (access & request.write)),
        ]
        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)
        with m.If(access & ~request.write):
            m.d.sync += [self.readback.payload.eq(Mux(exists, factor, 0)), self.readback.valid.eq(1)]
        with m.If(access & ~exists):
            m.d.sync += self.rejected.eq(1)

    def _sequence(self, m: Module, step: _Step, forward: ForwardModel) -> None:
        """States: a step is FORWARD, for each input, then SYNAPSES, two cycles each."""
        request, access, words = self.access.payload, self.access.ready, self.words
        # After an access it is the turn of a sample that waits.
        served, cleared, odd = Signal(), Signal(range(self.initialise_cycles)), Signal()
        wanted = self.access.valid & (request.write | ~self.readback.valid)
        with m.If(access):
            m.d.sync += served.eq(1)
        with m.Elif(step.accept):
            m.d.sync += served.eq(0)
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("INITIALISE"):
                m.d.comb += step.initialise.eq(1)
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.d.sync += step.place.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [
                    self.busy.eq(0),
                    step.look.eq(wanted & ~(served & self.samples.valid)),
                    self.samples.ready.eq(~step.look),
                    step.issue.eq(step.accept),
                ]
                with m.If(step.look):
                    m.next = "ACCESS"
                with m.Elif(step.accept):
                    m.next = "FORWARD"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), self.access.ready.eq(1)]
                m.next = "IDLE"
            with m.State("FORWARD"):
                m.d.comb += step.issue.eq(1)
                with m.If(forward.ends):
                    m.next = "SYNAPSES"
                    if words.inputs > 1:
                        with m.If(step.place != words.inputs - 1):
                            m.next = "SAMPLE"
            if words.inputs > 1:
                with m.State("SAMPLE"):
                    m.d.comb += [self.samples.ready.eq(1), step.issue.eq(step.accept)]
                    with m.If(step.accept):
                        m.next = "FORWARD"
            with m.State("SYNAPSES"):
                m.d.comb += step.visit.eq(odd)
                m.d.sync += odd.eq(~odd)
                with m.If(step.visit & step.last_synapse):
                    m.next = "OUTPUT"
            with m.State("OUTPUT"):
                m.d.comb += step.finish.eq(self.outputs.valid & self.outputs.ready)
                with m.If(step.finish):
                    m.next = "IDLE"

    def _next_place(self, place: Value) -> Value:
        """Back by a spacing, or on to the next synapse's own; either goes round all words of the line."""
        length, spacing = self.words.line_words, self.words.spacing
        if length == 1:
            return Const(0, 1)
        if spacing:
            return place + Mux(below(place, spacing), length - spacing, -spacing)
        return Mux(place == length - 1, 0, place + 1)
