"""The cerebellar microcircuit, processes 1 to 8, as one sequencer over its channels.

The equations and their source are in ``microzone.golden_model.microcircuit``; this is
``MicrocircuitFixed`` bit for bit. A step's arithmetic exists once: after each tick the sequencer walks
the channels, four cycles each, and one channel is the case N = 1, not a second design.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.fixed import QFormat
from ...golden_model.microcircuit import CYCLES_PER_CHANNEL
from ...golden_model.recalibration import check_round
from ..component import Component
from ..events import EventKind, channel_shape, event_stream
from ..fixed import below, resize
from .delay_line import DelayLines
from .event_banks import EventBanks
from .parameters import FIRST_ROW, PLASTIC, Parameter, access_layout, parameter_formats, word_width
from .ports import Commit, Recalibrated, commit_signature, recalibrated_signature
from .rational import ROW_BITS
from .recalibration import Recalibration

__all__ = ["Microcircuit", "Timing"]


class Timing:
    """Clock cycles of the core, known without making it.

    Parameters
    ----------
    config : ChipConfig
    channels : int
        Microcircuits, at least 1.

    Attributes
    ----------
    cycles_per_channel : int
        Clock cycles that a step takes for one channel.
    cycles_per_step : int
        Clock cycles from the start of a step until the next can start, without back-pressure.
    initialise_cycles : int
        Clock cycles after reset before the first event, access or tick is served.

    Raises
    ------
    ValueError
        If `channels` is below 1.
    """

    cycles_per_channel = CYCLES_PER_CHANNEL

    def __init__(self, config: ChipConfig, channels: int = 1) -> None:
        if channels < 1:
            raise ValueError(f"channels = {channels}: at least 1")
        if config.recalibration.enabled:
            try:
                check_round(config, channels)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        self.config = config
        self.channels = channels
        longest = max(config.eligibility_delay_steps, config.noi_delay_steps)
        rows = 1 << channel_shape(channels).width
        self.initialise_cycles = max(longest * channels, 2 * rows)
        if config.recalibration.enabled:
            self.initialise_cycles = max(self.initialise_cycles, rows << ROW_BITS)
        self.cycles_per_step = self.cycles_per_channel * channels + 1

    def latency(self, channel: int = 0) -> int:
        """Clock cycles from the start of a step to the CR of `channel`, without back-pressure.

        A step starts in the cycle of its tick; one cycle later if an access is being served.
        """
        return self.cycles_per_channel * (channel + 1)


class Microcircuit(Timing, Component):
    """``w += Π·(δp - C·δd); CR when w·T < θ`` (Herreros et al. 2014, Appendix 1), time-multiplexed.

    Where the configuration enables it, :class:`Recalibration` changes δp and δd in between, without a cycle's
    delay to any step.

    Events accepted up to and in the cycle in which a step starts belong to that step, later ones to the
    next; a step starts in the cycle of its tick, unless the core is busy or serves an access. Parameters
    change between steps only: an access waits while a step is in progress. After reset the core takes
    `initialise_cycles` to bring every channel to rest with the configured w, δp and δd.

    Parameters
    ----------
    config : ChipConfig
        Constants, initial values and formats.
    channels : int
        Microcircuits, at least 1.

    Attributes
    ----------
    cycles_per_channel, cycles_per_step, initialise_cycles : int
        See :class:`Timing`, which has :meth:`latency` too.

    Members
    -------
    tick : In(1)
        Start a step. A tick during a step waits; one more is lost and sets `overrun`.
    events : In(event_stream(channels))
        Detections, kind PN or IO, and kind BLANKED for a step without the IO channel. Repeated within a
        step they count once.
    responses : Out(event_stream(channels))
        Conditioned responses, kind CR; the one of channel c is valid :meth:`latency` cycles after the
        start of the step. While one is not taken the step stands still.
    access : In(stream of access_layout(config, channels))
        Read or write a parameter of a channel. Words beyond a parameter's format lose their top bits.
    readback : Out(stream of word_width(config) bits)
        Answer to each read, in order. A further read waits until it is taken; writes and steps do not.
    commit : Out(commit_signature(config, channels))
        Every signal of a channel's step, valid for the one cycle that ends it: for benches and telemetry;
        ``pn``, ``io`` and ``blanked`` are what was detected in it, IO outside blanked steps only.
    recalibrated : Out(recalibrated_signature(config, channels))
        ``valid`` for the one cycle in which the recalibration of ``channel`` ends, with its ``status``, the
        ``rate`` and the channel's ``potentiation`` and ``depression`` from the next step on.
    busy : Out(1)
        A step or the initialisation is in progress.
    overrun : Out(1)
        A tick was lost. Held until reset.
    rejected : Out(1)
        An event or access named a channel, kind or parameter that does not exist, or wrote a status, and had
        no effect (a read answers 0). Held until reset.

    Raises
    ------
    ValueError
        If `channels` is below 1, or too many to recalibrate within a period.
    """

    tick: Signal
    events: stream.Interface
    responses: stream.Interface
    access: stream.Interface
    readback: stream.Interface
    commit: Commit
    recalibrated: Recalibrated
    busy: Signal
    overrun: Signal
    rejected: Signal

    def __init__(self, config: ChipConfig, channels: int = 1) -> None:
        Timing.__init__(self, config, channels)
        Component.__init__(
            self,
            {
                "tick": In(1),
                "events": In(event_stream(channels)),
                "responses": Out(event_stream(channels)),
                "access": In(stream.Signature(access_layout(config, channels))),
                "readback": Out(stream.Signature(word_width(config))),
                "commit": Out(commit_signature(config, channels)),
                "recalibrated": Out(recalibrated_signature(config, channels)),
                "busy": Out(1),
                "overrun": Out(1),
                "rejected": Out(1),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        walk = _Walk(self)
        kept = _Kept(m, self, walk)
        detections = self._collect(m, walk)
        self._step(m, walk, kept, detections)
        recalibration = self._recalibrate(m, walk, kept, detections)
        waiting = self._keep_tick(m, walk)
        port = _AccessPort(m, self, kept, detections, recalibration)
        # What a step tells beside the registers of its arithmetic.
        m.d.comb += [
            self.commit.valid.eq(walk.store),
            self.commit.channel.eq(walk.channel),
            self.commit.pn.eq(detections.pn),
            self.commit.io.eq(detections.io),
            self.commit.blanked.eq(detections.blanked),
        ]
        self._sequence(m, walk, kept, port, waiting)
        return m

    def _collect(self, m: Module, walk: _Walk) -> EventBanks:
        """The events of the step to come, and of this one."""
        m.submodules.detections = detections = EventBanks(self.channels)
        wiring.connect(m, wiring.flipped(self.events), detections.events)
        m.d.comb += [
            detections.swap.eq(walk.start),
            detections.channel.eq(walk.channel),
            detections.fetch.eq(walk.fetch),
            detections.consume.eq(walk.learn),
            detections.clear.eq(walk.initialise),
            detections.clear_row.eq(walk.cleared),
        ]
        return detections

    def _step(self, m: Module, walk: _Walk, kept: _Kept, detections: EventBanks) -> None:
        """The arithmetic of one channel's step, processes 1 to 8: its registers are those of `commit`."""
        config, words, now = self.config, self.config.quantised, self.commit
        before, after, before_weight = kept.before, kept.after, kept.raw[Parameter.WEIGHT]
        # 1 trace: T = τ0 - age·slope, by one subtraction a step.
        idle = config.trace_steps
        active = Signal()
        falling = (before.trace - words.trace_slope)[: config.formats.trace.width]  # never below 0
        m.d.comb += active.eq(detections.pn | below(before.age, idle - 1))
        with m.If(walk.learn):
            m.d.sync += [
                now.active.eq(active),
                now.age.eq(Mux(detections.pn, 0, before.age + (before.age != idle))),
                now.trace.eq(Mux(detections.pn, words.trace_start, Mux(active, falling, 0))),
            ]
        # 7 plasticity trace, 5 delayed inhibition
        eligible, inhibited = self._delayed(m, walk, active, now.inhibition)
        # 6 gate
        gated = detections.io & ~inhibited
        # 8 coincidence: first C·δd, then w, so that the choice is in the logic cells of the first sum
        potentiation, depression = (
            kept.raw[parameter].shift_left(shift)
            for parameter, shift in (
                (Parameter.POTENTIATION, words.potentiation_shift),
                (Parameter.DEPRESSION, words.depression_shift),
            )
        )
        learnt = before_weight + Mux(gated, potentiation - depression, potentiation)
        target = config.formats.weight
        learnt_format = QFormat(True, len(learnt) - target.fraction_bits, target.fraction_bits)
        with m.If(walk.learn):
            m.d.sync += [
                now.plasticity_trace.eq(eligible),
                now.delayed_inhibition.eq(inhibited),
                now.gated_io.eq(gated),
                now.weight.eq(Mux(eligible, resize(learnt, learnt_format, target), before_weight)),
            ]
        # 2 scaling
        with m.If(walk.scale):
            m.d.sync += now.scaled.eq(now.weight * now.trace)
        # 3 threshold, on the scale of θ: the bits of S below θ's last one cannot decide S < θ
        under = below(now.scaled.shift_right(words.threshold_shift), words.threshold)
        m.d.comb += [now.below.eq(now.active & under), now.cr.eq(now.below & ~before.below)]
        # 4 inhibitory pulse
        pulse_left = Mux(now.cr, config.trace_steps, before.pulse_left)
        m.d.comb += [
            now.inhibition.eq((pulse_left != 0) & ~walk.initialise),
            after.pulse_left.eq(Mux(now.inhibition, pulse_left - 1, 0)),
        ]

    def _delayed(self, m: Module, walk: _Walk, active: Value, inhibition: Value) -> tuple[Value, Value]:
        """`active` and `inhibition`, their delays ago in this channel; `active` itself for a delay of 0."""
        config = self.config
        delayed = [(config.noi_delay_steps, inhibition, walk.store)]
        if config.eligibility_delay_steps:
            delayed.append((config.eligibility_delay_steps, active, walk.learn))
        m.submodules.lines = lines = DelayLines([delay for delay, _, _ in delayed], self.channels)
        m.d.comb += [
            lines.fetch.eq(walk.fetch),
            lines.data_in.eq(Cat(signal for _, signal, _ in delayed)),
            lines.store.eq(Cat(when for _, _, when in delayed)),
            lines.advance.eq(walk.store),
            lines.clear.eq(walk.initialise),
        ]
        return (lines.data_out[1] if config.eligibility_delay_steps else active), lines.data_out[0]

    def _recalibrate(
        self, m: Module, walk: _Walk, kept: _Kept, detections: EventBanks
    ) -> Recalibration | None:
        """The recalibration beside the steps, and where its δp and δd go; None where it is not enabled."""
        if not self.config.recalibration.enabled:
            return None
        request, told = self.access.payload, self.recalibrated
        m.submodules.recalibration = recalibration = Recalibration(self.config, self.channels)
        m.d.comb += [
            # It follows the walk,
            recalibration.begin_step.eq(walk.start),
            recalibration.fetch.eq(walk.fetch),
            recalibration.learn.eq(walk.learn),
            recalibration.scale.eq(walk.scale),
            recalibration.store.eq(walk.store),
            recalibration.channel.eq(walk.channel),
            recalibration.io.eq(detections.io),
            recalibration.blanked.eq(detections.blanked),
            # answers accesses,
            recalibration.accessed.eq(request.channel),
            recalibration.row.eq(request.parameter),
            recalibration.write_data.eq(request.word),
            recalibration.read.eq(walk.look),
            recalibration.clear.eq(walk.initialise),
            recalibration.clear_row.eq(walk.cleared),
            # and tells how a channel's recalibration ended.
            told.valid.eq(recalibration.ended),
            told.channel.eq(walk.channel),
            told.status.eq(recalibration.status),
            told.rate.eq(recalibration.rate),
        ]
        for parameter, renewed, shown in (
            (Parameter.POTENTIATION, recalibration.potentiation, told.potentiation),
            (Parameter.DEPRESSION, recalibration.depression, told.depression),
        ):
            # The step has its δ in the cycle that replaces them; `store` sees what is kept then.
            read, write = kept.ports[parameter]
            m.d.comb += [
                shown.eq(kept.raw[parameter]),
                read.en.eq(walk.fetch | walk.look | walk.scale),
            ]
            with m.If(recalibration.renew):
                m.d.comb += [kept.written[parameter].eq(renewed), write.en.eq(1)]
        return recalibration

    def _keep_tick(self, m: Module, walk: _Walk) -> Signal:
        """A tick that cannot start a step at once waits; there is room for one."""
        waiting = Signal()
        with m.If(walk.start):
            m.d.sync += waiting.eq(waiting & self.tick)
        with m.Elif(self.tick):
            m.d.sync += [waiting.eq(1), self.overrun.eq(self.overrun | waiting)]
        return waiting

    def _sequence(self, m: Module, walk: _Walk, kept: _Kept, port: _AccessPort, waiting: Signal) -> None:
        """What is done in which cycle: after a reset all is cleared, then steps and accesses take turns."""
        words, now, request = self.config.quantised, self.commit, self.access.payload
        channel = walk.channel
        m.d.comb += [self.busy.eq(1), walk.address.eq(channel)]
        with m.FSM():
            with m.State("INITIALISE"):
                m.d.comb += [walk.initialise.eq(1), walk.address.eq(walk.cleared)]
                for parameter, word in (
                    (Parameter.POTENTIATION, words.potentiation),
                    (Parameter.DEPRESSION, words.depression),
                ):
                    m.d.comb += [kept.written[parameter].eq(word), kept.ports[parameter][1].en.eq(1)]
                m.d.sync += walk.cleared.eq(walk.cleared + 1)
                with m.If(walk.cleared == self.initialise_cycles - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.tick | waiting):
                    m.d.comb += walk.start.eq(1)
                    m.d.sync += channel.eq(0)
                    m.next = "FETCH"
                with m.Elif(self.access.valid & (request.write | ~self.readback.valid)):
                    m.d.comb += [walk.look.eq(1), walk.address.eq(request.channel)]
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), walk.address.eq(request.channel)]
                port.serve(m)
                m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += walk.fetch.eq(1)
                m.next = "LEARN"
            with m.State("LEARN"):
                m.d.comb += walk.learn.eq(1)
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += walk.scale.eq(1)
                m.next = "THRESHOLD"
            with m.State("THRESHOLD"):
                m.d.comb += [
                    self.responses.valid.eq(now.cr),
                    self.responses.payload.channel.eq(channel),
                    self.responses.payload.kind.eq(EventKind.CR),
                ]
                with m.If(~now.cr | self.responses.ready):
                    m.d.comb += walk.store.eq(1)
                    m.d.sync += channel.eq(channel + 1)
                    m.next = "FETCH"
                    with m.If(channel == self.channels - 1):
                        m.next = "IDLE"


class _Walk:
    """Where the sequencer is: which cycle this is, and whose. All other parts follow it.

    Attributes
    ----------
    initialise : Signal
        After a reset: `cleared` counts through the rows of the memories.
    start : Signal
        A step starts, in the cycle before the first channel's `fetch`.
    look : Signal
        The row of an access is read.
    fetch, learn, scale, store : Signal
        The cycles of `channel` in a step; `store` may come later than right after `scale`.
    address : Signal
        The row that is read and written: `channel`, but in an access or the initialisation.
    """

    def __init__(self, core: Microcircuit) -> None:
        self.channel = Signal(channel_shape(core.channels))
        self.address = Signal(channel_shape(core.channels))
        self.cleared = Signal(range(core.initialise_cycles))
        self.initialise = Signal()
        self.start = Signal()
        self.look = Signal()
        self.fetch = Signal()
        self.learn = Signal()
        self.scale = Signal()
        self.store = Signal()


class _Kept:
    """What a channel keeps from step to step, in memories of a row a channel.

    After a reset the registers of a step have what is written to each channel then.

    Attributes
    ----------
    before, after : View
        State of the channel before this step, valid from the cycle after `fetch` on; and after it.
    raw : dict
        w, δp and δd of the channel, valid from the cycle after `fetch` or `look` on.
    written : dict
        What is written to them: the word of an access, unless another is assigned.
    ports : dict
        Read and write port of each of the three.
    """

    def __init__(self, m: Module, core: Microcircuit, walk: _Walk) -> None:
        config, now = core.config, core.commit
        rows = max(core.channels, 2)  # an address needs a bit
        in_block_ram = {"ram_style": "block"}

        # Age and T of the trace, what is left of the inhibitory pulse, and whether w·T was below θ.
        layout = data.StructLayout(
            {"age": now.age.shape(), "trace": now.trace.shape(), "pulse_left": now.age.shape(), "below": 1}
        )
        states: memory.Memory[data.StructLayout, Any] = memory.Memory(
            shape=layout, depth=rows, init=[], attrs=in_block_ram
        )
        m.submodules.state = states
        state_read, state_write = states.read_port(), states.write_port()
        self.before, self.after = state_read.data, state_write.data

        # w, δp and δd. δd is kept inverted: to subtract it then takes no inverters.
        self.ports: dict[Parameter, tuple[memory.ReadPort[Any, Any], memory.WritePort[Any, Any]]] = {}
        self.raw: dict[Parameter, Value] = {}
        self.written: dict[Parameter, Signal] = {}
        for parameter in PLASTIC:
            kept: memory.Memory[Shape, Value] = memory.Memory(
                shape=parameter_formats(config)[parameter].as_shape(), depth=rows, init=[], attrs=in_block_ram
            )
            m.submodules[parameter.name.lower()] = kept
            self.ports[parameter] = read, write = kept.read_port(), kept.write_port()
            written = Signal.like(write.data, name=f"written_{parameter.name.lower()}")
            inverted = parameter is Parameter.DEPRESSION
            self.raw[parameter] = ~read.data if inverted else read.data
            self.written[parameter] = written
            m.d.comb += [
                written.eq(core.access.payload.word),
                write.data.eq(~written if inverted else written),
                read.addr.eq(walk.address),
                read.en.eq(walk.fetch | walk.look),
                write.addr.eq(walk.address),
            ]

        # A step ends: all of the channel is written, but δp and δd.
        m.d.comb += [
            state_read.addr.eq(walk.address),
            state_read.en.eq(walk.fetch),
            state_write.addr.eq(walk.address),
            state_write.en.eq(walk.store | walk.initialise),
            self.after.age.eq(now.age),
            self.after.trace.eq(now.trace),
            self.after.below.eq(now.below),
        ]
        with m.If(walk.store | walk.initialise):
            m.d.comb += self.written[Parameter.WEIGHT].eq(now.weight)
            m.d.comb += self.ports[Parameter.WEIGHT][1].en.eq(1)


class _AccessPort:
    """Reads and writes of parameters, between steps.

    Parameters
    ----------
    m : Module
    core : Microcircuit
    kept : _Kept
    detections : EventBanks
        Tells of events that are not for the banks: both kinds of mistake set `rejected`.
    recalibration : Recalibration or None
        Has the coefficients and the status, where it is enabled.
    """

    def __init__(
        self,
        m: Module,
        core: Microcircuit,
        kept: _Kept,
        detections: EventBanks,
        recalibration: Recalibration | None,
    ) -> None:
        self.core, self.kept, self.recalibration = core, kept, recalibration
        request = core.access.payload

        # Whether it names what there is, and may be.
        exists = Cat(request.parameter == p for p in parameter_formats(core.config)).any()
        writable = ~(request.write & (request.parameter == Parameter.STATUS))
        self.reaches = (request.channel < core.channels) & exists & writable
        self.is_row = request.parameter >= FIRST_ROW

        # The answer to a read, which stays until it is taken.
        answer = Signal.like(core.readback.payload, reset_less=True)
        self.answers = Signal()
        refused = ~self.reaches
        m.d.comb += core.readback.payload.eq(answer)
        asked: Value = Mux(
            request.parameter[1],
            kept.raw[Parameter.DEPRESSION],
            Mux(request.parameter[0], kept.raw[Parameter.POTENTIATION], kept.raw[Parameter.WEIGHT]),
        )
        if recalibration is not None:
            asked = Mux(self.is_row, recalibration.read_data, asked)
            # A choice of 0 costs a word nothing, and then three bits more cost little.
            is_status = request.parameter == Parameter.STATUS
            refused = refused | is_status
        with m.If(self.answers):
            m.d.sync += answer.eq(Mux(refused, 0, asked))
            if recalibration is not None:
                status = Mux(self.reaches & is_status, recalibration.read_status, 0)
                low = len(status)
                m.d.sync += answer[:low].eq(Mux(is_status, status, Mux(refused, 0, asked[:low])))
        with m.If(core.readback.ready):
            m.d.sync += core.readback.valid.eq(0)

        with m.If(detections.unknown | (core.access.ready & ~self.reaches)):
            m.d.sync += core.rejected.eq(1)

    def serve(self, m: Module) -> None:
        """The cycle of an access, the one after `look`."""
        core, request = self.core, self.core.access.payload
        m.d.comb += core.access.ready.eq(1)
        for parameter, (_, write) in self.kept.ports.items():
            with m.If(self.reaches & (request.parameter == parameter)):
                m.d.comb += write.en.eq(request.write)
        with m.If(~request.write):
            m.d.comb += self.answers.eq(1)
            m.d.sync += core.readback.valid.eq(1)
        if self.recalibration is not None:
            m.d.comb += self.recalibration.write.eq(request.write & self.reaches & self.is_row)
