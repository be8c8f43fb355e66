"""The cerebellar microcircuit, processes 1 to 8, as one sequencer over its channels.

The equations and their source are in ``microzone.golden_model.microcircuit``; this is
``MicrocircuitFixed`` bit for bit. A step's arithmetic exists once: after each tick the sequencer walks
the channels, four cycles each, and one channel is the case N = 1, not a second design.
"""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChipConfig
from ..golden_model.fixed import QFormat
from .delay_line import DelayLine
from .events import EventKind, channel_shape, event_stream
from .fixed import resize

__all__ = [
    "Microcircuit",
    "Parameter",
    "access_layout",
    "commit_shapes",
    "parameter_formats",
    "word_width",
]


class Parameter(enum.Enum):
    """What the access port reaches, a raw word a channel: w, δp or δd."""

    WEIGHT = 0
    POTENTIATION = 1
    DEPRESSION = 2


def parameter_formats(config: ChipConfig) -> dict[Parameter, QFormat]:
    """Format of each parameter."""
    formats = config.formats
    return {
        Parameter.WEIGHT: formats.weight,
        Parameter.POTENTIATION: formats.potentiation,
        Parameter.DEPRESSION: formats.depression,
    }


def word_width(config: ChipConfig) -> int:
    """Bits of a word at the access port: those of the widest parameter."""
    return max(fmt.width for fmt in parameter_formats(config).values())


def access_layout(config: ChipConfig, channels: int) -> data.StructLayout:
    """Layout of one access: ``channel``, ``parameter``, ``write``, and the raw ``word`` to write."""
    return data.StructLayout(
        {
            "channel": channel_shape(channels),
            "parameter": Parameter,
            "write": 1,
            "word": word_width(config),
        }
    )


def commit_shapes(config: ChipConfig) -> dict[str, Shape]:
    """Shape of every internal signal, by the names of ``golden_model.microcircuit.SIGNALS``."""
    bit = Shape(1)
    return {
        "age": Shape.cast(range(config.trace_steps + 1)),
        "active": bit,
        "trace": config.formats.trace.as_shape(),
        "plasticity_trace": bit,
        "delayed_inhibition": bit,
        "gated_io": bit,
        "weight": config.formats.weight.as_shape(),
        "scaled": config.scaled_format.as_shape(),
        "below": bit,
        "cr": bit,
        "inhibition": bit,
    }


class Microcircuit(wiring.Component):
    """``w += Π·(δp - C·δd); CR when w·T < θ`` (Herreros et al. 2014, Appendix 1), time-multiplexed.

    Events accepted up to and in the cycle of a tick belong to the step that it starts, later ones to the
    next. Parameters change between steps only: an access waits while a step is in progress. After reset
    the core takes `initialise_cycles` to bring every channel to rest with the configured w, δp and δd.

    Parameters
    ----------
    config : ChipConfig
        Constants, initial values and formats.
    channels : int
        Microcircuits, at least 1.

    Attributes
    ----------
    cycles_per_channel : int
        Clock cycles that a step takes for one channel.
    cycles_per_step : int
        Clock cycles from a tick until the next can be served, without back-pressure.
    initialise_cycles : int
        Clock cycles after reset before the first event, access or tick is served.

    Members
    -------
    tick : In(1)
        Start a step. A tick during a step waits; one more is lost and sets `overrun`.
    events : In(event_stream(channels))
        Detections, kind PN or IO. Repeated within a step they count once.
    responses : Out(event_stream(channels))
        Conditioned responses, kind CR; the one of channel c is valid :meth:`latency` cycles after the
        tick. While one is not taken the step stands still.
    access : In(stream of access_layout(config, channels))
        Read or write w, δp or δd of a channel. Words beyond a parameter's format lose their top bits.
    readback : Out(stream of the word)
        Answer to each read, in order. A further access waits until it is taken; steps do not.
    commit : Out
        Every signal of a channel's step, valid for the one cycle that ends it: for benches and telemetry.
    busy : Out(1)
        A step or the initialisation is in progress.
    overrun : Out(1)
        A tick was lost. Held until reset.
    rejected : Out(1)
        An event or access named a channel, kind or parameter that does not exist, and had no effect (a
        read answers 0). Held until reset.

    Raises
    ------
    ValueError
        If `channels` is below 1.
    """

    cycles_per_channel = 4

    def __init__(self, config: ChipConfig, channels: int = 1) -> None:
        if channels < 1:
            raise ValueError(f"channels = {channels}: at least 1")
        self.config = config
        self.channels = channels
        delay = config.eligibility_delay_steps
        self._plasticity_line = DelayLine(delay, channels) if delay else None
        self._inhibition_line = DelayLine(config.noi_delay_steps, channels)
        self._event_rows = 2 << channel_shape(channels).width
        lines = [line.rows for line in (self._plasticity_line, self._inhibition_line) if line]
        self.initialise_cycles = max(*lines, self._event_rows, channels)
        commit = {"valid": Out(1), "channel": Out(channel_shape(channels))}
        commit |= {name: Out(shape) for name, shape in commit_shapes(config).items()}
        super().__init__(
            {
                "tick": In(1),
                "events": In(event_stream(channels)),
                "responses": Out(event_stream(channels)),
                "access": In(stream.Signature(access_layout(config, channels))),
                "readback": Out(stream.Signature(word_width(config))),
                "commit": Out(wiring.Signature(commit)),
                "busy": Out(1),
                "overrun": Out(1),
                "rejected": Out(1),
            }
        )

    @property
    def cycles_per_step(self) -> int:
        return self.cycles_per_channel * self.channels + 1

    def latency(self, channel: int = 0) -> int:
        """Clock cycles from the tick to the CR of `channel`, without back-pressure."""
        return self.cycles_per_channel * (channel + 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, words, now = self.config, self.config.quantised, self.commit
        plasticity_line, inhibition_line = self._plasticity_line, self._inhibition_line
        m.submodules.inhibition_line = inhibition_line
        if plasticity_line is not None:
            m.submodules.plasticity_line = plasticity_line

        channel = Signal(channel_shape(self.channels))
        address = Signal.like(channel)
        fetch, learn, store, initialise = Signal(), Signal(), Signal(), Signal()

        # What a channel keeps from step to step.
        rows = max(self.channels, 2)  # an address needs a bit
        state_layout = data.StructLayout(
            {
                "age": now.age.shape(),
                "trace": now.trace.shape(),
                "pulse_left": now.age.shape(),
                "below": 1,
            }
        )
        rest = {"age": config.trace_steps, "trace": 0, "pulse_left": 0, "below": 0}
        m.submodules.state = state_memory = memory.Memory(shape=state_layout, depth=rows, init=[])
        state_read, state_write = state_memory.read_port(), state_memory.write_port()
        before = state_read.data
        m.d.comb += [state_read.addr.eq(channel), state_read.en.eq(fetch), state_write.addr.eq(channel)]

        parameters = {}
        for parameter, fmt in parameter_formats(config).items():
            store_memory = memory.Memory(shape=fmt.as_shape(), depth=rows, init=[])
            m.submodules[parameter.name.lower()] = store_memory
            parameters[parameter] = read, write = store_memory.read_port(), store_memory.write_port()
            m.d.comb += [read.addr.eq(address), write.addr.eq(address)]
        weight_read, weight_write = parameters[Parameter.WEIGHT]

        # Detections wait in one of two banks: one fills while the other is consumed.
        filling = Signal()
        m.submodules.detections = detections = memory.Memory(shape=2, depth=self._event_rows, init=[])
        detected, detect = detections.read_port(), detections.write_port(granularity=1)
        m.d.comb += [
            detected.addr.eq(Cat(channel, ~filling)),
            detected.en.eq(fetch),
            self.events.ready.eq(~learn & ~initialise),
        ]
        incoming = self.events.payload
        known = (incoming.channel < self.channels) & (
            (incoming.kind == EventKind.PN) | (incoming.kind == EventKind.IO)
        )
        m.d.comb += [
            detect.addr.eq(Cat(incoming.channel, filling)),
            detect.data.eq(0b11),
            detect.en.eq(Cat(incoming.kind == EventKind.PN, incoming.kind == EventKind.IO)),
        ]
        with m.If(~(self.events.valid & self.events.ready & known)):
            m.d.comb += detect.en.eq(0)
        with m.If(self.events.valid & self.events.ready & ~known):
            m.d.sync += self.rejected.eq(1)
        with m.If(learn):
            m.d.comb += [detect.addr.eq(detected.addr), detect.data.eq(0), detect.en.eq(0b11)]

        # The step itself: LEARN is processes 1, 7, 5, 6, 8; SCALE is 2; THRESHOLD is 3, 4.
        pn, io = detected.data
        active_line = plasticity_line.data_out if plasticity_line is not None else None
        with m.If(learn):
            m.d.sync += self._trace(pn, before.age, before.trace)
        scaled_shift = words.threshold_shift
        eligible = Signal()
        gated = Signal()
        m.d.comb += [
            eligible.eq(self._is_active(pn, before.age) if active_line is None else active_line),
            gated.eq(io & ~inhibition_line.data_out),
        ]
        potentiation = parameters[Parameter.POTENTIATION][0].data.shift_left(words.potentiation_shift)
        depression = parameters[Parameter.DEPRESSION][0].data.shift_left(words.depression_shift)
        with m.If(learn):
            m.d.sync += [
                now.plasticity_trace.eq(eligible),
                now.delayed_inhibition.eq(inhibition_line.data_out),
                now.gated_io.eq(gated),
                now.weight.eq(
                    Mux(
                        eligible,
                        self._saturated(weight_read.data, potentiation, depression, gated),
                        weight_read.data,
                    )
                ),
            ]
        fires, pulse_left = Signal(), Signal.like(before.pulse_left)
        m.d.comb += [
            now.below.eq(now.active & (now.scaled.shift_right(scaled_shift) < words.threshold)),
            fires.eq(now.below & ~before.below),
            now.cr.eq(fires),
            pulse_left.eq(Mux(fires, config.trace_steps, before.pulse_left)),
            now.inhibition.eq(pulse_left != 0),
            now.channel.eq(channel),
            state_write.data.age.eq(now.age),
            state_write.data.trace.eq(now.trace),
            state_write.data.pulse_left.eq(Mux(now.inhibition, pulse_left - 1, 0)),
            state_write.data.below.eq(now.below),
            state_write.en.eq(store),
            inhibition_line.fetch.eq(fetch),
            inhibition_line.data_in.eq(now.inhibition),
            inhibition_line.store.eq(store),
            now.valid.eq(store),
        ]
        if plasticity_line is not None:
            m.d.comb += [
                plasticity_line.fetch.eq(fetch),
                plasticity_line.data_in.eq(now.active),
                plasticity_line.store.eq(store),
            ]
        with m.If(store):
            m.d.comb += [weight_write.en.eq(1), weight_write.data.eq(now.weight)]

        # A tick that cannot start a step at once waits; there is room for one.
        waiting, start = Signal(), Signal()
        with m.If(start):
            m.d.sync += waiting.eq(waiting & self.tick)
        with m.Elif(self.tick):
            m.d.sync += [waiting.eq(1), self.overrun.eq(self.overrun | waiting)]

        request = self.access.payload
        reaches = Signal()
        m.d.comb += reaches.eq(
            (request.channel < self.channels)
            & Cat(request.parameter == parameter for parameter in Parameter).any()
        )
        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)

        cleared = Signal(range(self.initialise_cycles))
        m.d.comb += [self.busy.eq(1), address.eq(channel)]
        with m.FSM():
            with m.State("INITIALISE"):
                m.d.comb += [
                    initialise.eq(1),
                    inhibition_line.clear.eq(cleared < inhibition_line.rows),
                    detect.addr.eq(cleared),
                    detect.data.eq(0),
                    detect.en.eq(Mux(cleared < self._event_rows, 0b11, 0)),
                    address.eq(cleared),
                    state_write.addr.eq(cleared),
                    state_write.data.eq(state_layout.const(rest)),
                    state_write.en.eq(cleared < self.channels),
                ]
                if plasticity_line is not None:
                    m.d.comb += plasticity_line.clear.eq(cleared < plasticity_line.rows)
                initial = (words.weight_initial, words.potentiation, words.depression)
                for (_, write), word in zip(parameters.values(), initial, strict=True):
                    m.d.comb += [write.data.eq(word), write.en.eq(cleared < self.channels)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.tick | waiting):
                    m.d.comb += start.eq(1)
                    m.d.sync += [channel.eq(0), filling.eq(~filling)]
                    m.next = "FETCH"
                with m.Elif(self.access.valid & (request.write | ~self.readback.valid)):
                    m.d.comb += address.eq(request.channel)
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), self.access.ready.eq(1), address.eq(request.channel)]
                with m.If(~reaches):
                    m.d.sync += self.rejected.eq(1)
                with m.If(~request.write):
                    m.d.sync += [self.readback.valid.eq(1), self.readback.payload.eq(0)]
                for parameter, (read, write) in parameters.items():
                    with m.If(reaches & (request.parameter == parameter)):
                        m.d.comb += [write.data.eq(request.word), write.en.eq(request.write)]
                        with m.If(~request.write):
                            m.d.sync += self.readback.payload.eq(read.data)
                m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.next = "LEARN"
            with m.State("LEARN"):
                m.d.comb += learn.eq(1)
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.sync += now.scaled.eq(now.weight * now.trace)
                m.next = "THRESHOLD"
            with m.State("THRESHOLD"):
                m.d.comb += [
                    self.responses.valid.eq(fires),
                    self.responses.payload.channel.eq(channel),
                    self.responses.payload.kind.eq(EventKind.CR),
                ]
                with m.If(~fires | self.responses.ready):
                    m.d.comb += store.eq(1)
                    m.d.sync += channel.eq(channel + 1)
                    m.next = "FETCH"
                    with m.If(channel == self.channels - 1):
                        m.next = "IDLE"
        return m

    def _is_active(self, pn: Value, age: Value) -> Value:
        """Process 1: whether the trace is active in this step."""
        return pn | (age < self.config.trace_steps - 1)

    def _trace(self, pn: Value, age: Value, trace: Value) -> list[Any]:
        """Process 1: T = τ0 - age·slope, by one subtraction a step."""
        config, words, now = self.config, self.config.quantised, self.commit
        active = self._is_active(pn, age)
        idle = config.trace_steps
        falling = (trace - words.trace_slope)[: config.formats.trace.width]  # never below 0 while active
        return [
            now.active.eq(active),
            now.age.eq(Mux(pn, 0, Mux(age == idle, idle, age + 1))),
            now.trace.eq(Mux(pn, words.trace_start, Mux(active, falling, 0))),
        ]

    def _saturated(self, weight: Value, potentiation: Value, depression: Value, gated: Value) -> Value:
        """Process 8: w + δp - C·δd, held at the limits of its format."""
        target = self.config.formats.weight
        total = weight + potentiation - Mux(gated, depression, 0)
        source = QFormat(True, len(total) - target.fraction_bits, target.fraction_bits)
        return resize(total, source, target)
