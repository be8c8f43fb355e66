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
from ..events import EventKind, channel_shape, event_stream
from ..fixed import below, resize
from .delay_line import DelayLines
from .event_banks import EventBanks
from .parameters import FIRST_ROW, PLASTIC, Parameter, access_layout, parameter_formats, word_width
from .rational import ROW_BITS, STATUS_FORMAT
from .recalibration import Recalibration

__all__ = ["Microcircuit", "Timing", "commit_shapes"]


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


class Microcircuit(Timing, wiring.Component):
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
    readback : Out(stream of the word)
        Answer to each read, in order. A further read waits until it is taken; writes and steps do not.
    commit : Out
        Every signal of a channel's step, valid for the one cycle that ends it: for benches and telemetry;
        ``pn``, ``io`` and ``blanked`` are what was detected in it, IO outside blanked steps only.
    recalibrated : Out
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

    def __init__(self, config: ChipConfig, channels: int = 1) -> None:
        Timing.__init__(self, config, channels)
        commit = {"valid": Out(1), "channel": Out(channel_shape(channels))}
        commit |= {name: Out(1) for name in ("pn", "io", "blanked")}
        at_rest = {"age": config.trace_steps, "weight": config.quantised.weight_initial}
        commit |= {name: Out(shape, init=at_rest.get(name)) for name, shape in commit_shapes(config).items()}
        recalibrated = {
            "valid": Out(1),
            "channel": Out(channel_shape(channels)),
            "status": Out(STATUS_FORMAT.as_shape()),
            "rate": Out(config.formats.rate.as_shape()),
            "potentiation": Out(config.formats.potentiation.as_shape()),
            "depression": Out(config.formats.depression.as_shape()),
        }
        wiring.Component.__init__(
            self,
            {
                "tick": In(1),
                "events": In(event_stream(channels)),
                "responses": Out(event_stream(channels)),
                "access": In(stream.Signature(access_layout(config, channels))),
                "readback": Out(stream.Signature(word_width(config))),
                "commit": Out(wiring.Signature(commit)),
                "recalibrated": Out(wiring.Signature(recalibrated)),
                "busy": Out(1),
                "overrun": Out(1),
                "rejected": Out(1),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, words, now = self.config, self.config.quantised, self.commit
        in_memory = {"init": [], "attrs": {"ram_style": "block"}}
        rows = max(self.channels, 2)  # an address needs a bit
        channel, address = Signal(channel_shape(self.channels)), Signal(channel_shape(self.channels))
        cleared = Signal(range(self.initialise_cycles))
        initialise, start, look, fetch, learn, scale, store = (
            Signal(name=name) for name in ("initialise", "start", "look", "fetch", "learn", "scale", "store")
        )

        # What a channel keeps from step to step. After a reset the registers of a step have what is written
        # to each channel then.
        state_layout = data.StructLayout(
            {"age": now.age.shape(), "trace": now.trace.shape(), "pulse_left": now.age.shape(), "below": 1}
        )
        m.submodules.state = states = memory.Memory(shape=state_layout, depth=rows, **in_memory)
        state_read, state_write = states.read_port(), states.write_port()
        before, after = state_read.data, state_write.data
        # δd is kept inverted: to subtract it then takes no inverters.
        ports, raw, written = {}, {}, {}
        for parameter in PLASTIC:
            kept = memory.Memory(
                shape=parameter_formats(config)[parameter].as_shape(), depth=rows, **in_memory
            )
            m.submodules[parameter.name.lower()] = kept
            ports[parameter] = read, write = kept.read_port(), kept.write_port()
            written[parameter] = Signal.like(write.data, name=f"written_{parameter.name.lower()}")
            inverted = parameter is Parameter.DEPRESSION
            raw[parameter] = ~read.data if inverted else read.data
            m.d.comb += [
                written[parameter].eq(self.access.payload.word),
                write.data.eq(~written[parameter] if inverted else written[parameter]),
                read.addr.eq(address),
                read.en.eq(fetch | look),
                write.addr.eq(address),
            ]
        before_weight = raw[Parameter.WEIGHT]
        m.d.comb += [
            state_read.addr.eq(address),
            state_read.en.eq(fetch),
            state_write.addr.eq(address),
            state_write.en.eq(store | initialise),
            after.age.eq(now.age),
            after.trace.eq(now.trace),
            after.below.eq(now.below),
        ]
        with m.If(store | initialise):
            m.d.comb += written[Parameter.WEIGHT].eq(now.weight)
            m.d.comb += ports[Parameter.WEIGHT][1].en.eq(1)

        m.submodules.detections = detections = EventBanks(self.channels)
        wiring.connect(m, wiring.flipped(self.events), detections.events)
        m.d.comb += [
            detections.swap.eq(start),
            detections.channel.eq(channel),
            detections.fetch.eq(fetch),
            detections.consume.eq(learn),
            detections.clear.eq(initialise),
            detections.clear_row.eq(cleared),
        ]

        # 1 trace: T = τ0 - age·slope, by one subtraction a step.
        idle = config.trace_steps
        active = Signal()
        falling = (before.trace - words.trace_slope)[: config.formats.trace.width]  # never below 0
        m.d.comb += active.eq(detections.pn | below(before.age, idle - 1))
        with m.If(learn):
            m.d.sync += [
                now.active.eq(active),
                now.age.eq(Mux(detections.pn, 0, before.age + (before.age != idle))),
                now.trace.eq(Mux(detections.pn, words.trace_start, Mux(active, falling, 0))),
            ]
        # 7 plasticity trace, 5 delayed inhibition
        eligible, inhibited = self._delayed(m, active, now.inhibition, fetch, learn, store, initialise)
        # 6 gate
        gated = detections.io & ~inhibited
        # 8 coincidence: first C·δd, then w, so that the choice is in the logic cells of the first sum
        potentiation, depression = (
            raw[parameter].shift_left(shift)
            for parameter, shift in (
                (Parameter.POTENTIATION, words.potentiation_shift),
                (Parameter.DEPRESSION, words.depression_shift),
            )
        )
        learnt = before_weight + Mux(gated, potentiation - depression, potentiation)
        target = config.formats.weight
        learnt_format = QFormat(True, len(learnt) - target.fraction_bits, target.fraction_bits)
        with m.If(learn):
            m.d.sync += [
                now.plasticity_trace.eq(eligible),
                now.delayed_inhibition.eq(inhibited),
                now.gated_io.eq(gated),
                now.weight.eq(Mux(eligible, resize(learnt, learnt_format, target), before_weight)),
            ]
        # 2 scaling
        with m.If(scale):
            m.d.sync += now.scaled.eq(now.weight * now.trace)
        # 3 threshold, on the scale of θ: the bits of S below θ's last one cannot decide S < θ
        under = below(now.scaled.shift_right(words.threshold_shift), words.threshold)
        m.d.comb += [now.below.eq(now.active & under), now.cr.eq(now.below & ~before.below)]
        # 4 inhibitory pulse
        pulse_left = Mux(now.cr, config.trace_steps, before.pulse_left)
        m.d.comb += [
            now.inhibition.eq((pulse_left != 0) & ~initialise),
            after.pulse_left.eq(Mux(now.inhibition, pulse_left - 1, 0)),
        ]

        request = self.access.payload
        recalibration = None
        if config.recalibration.enabled:
            m.submodules.recalibration = recalibration = Recalibration(config, self.channels)
            m.d.comb += [
                recalibration.begin_step.eq(start),
                recalibration.fetch.eq(fetch),
                recalibration.learn.eq(learn),
                recalibration.scale.eq(scale),
                recalibration.store.eq(store),
                recalibration.channel.eq(channel),
                recalibration.io.eq(detections.io),
                recalibration.blanked.eq(detections.blanked),
                recalibration.accessed.eq(request.channel),
                recalibration.row.eq(request.parameter),
                recalibration.write_data.eq(request.word),
                recalibration.read.eq(look),
                recalibration.clear.eq(initialise),
                recalibration.clear_row.eq(cleared),
                self.recalibrated.valid.eq(recalibration.ended),
                self.recalibrated.channel.eq(channel),
                self.recalibrated.status.eq(recalibration.status),
                self.recalibrated.rate.eq(recalibration.rate),
            ]
            for parameter, renewed, shown in (
                (Parameter.POTENTIATION, recalibration.potentiation, self.recalibrated.potentiation),
                (Parameter.DEPRESSION, recalibration.depression, self.recalibrated.depression),
            ):
                # The step has its δ in the cycle that replaces them; `store` sees what is kept then.
                read, write = ports[parameter]
                m.d.comb += [shown.eq(raw[parameter]), read.en.eq(fetch | look | scale)]
                with m.If(recalibration.renew):
                    m.d.comb += [written[parameter].eq(renewed), write.en.eq(1)]

        # A tick that cannot start a step at once waits; there is room for one.
        waiting = Signal()
        with m.If(start):
            m.d.sync += waiting.eq(waiting & self.tick)
        with m.Elif(self.tick):
            m.d.sync += [waiting.eq(1), self.overrun.eq(self.overrun | waiting)]

        exists = Cat(request.parameter == p for p in parameter_formats(config)).any()
        writable = ~(request.write & (request.parameter == Parameter.STATUS))
        reaches = (request.channel < self.channels) & exists & writable
        is_row = request.parameter >= FIRST_ROW
        answer, answers = Signal.like(self.readback.payload, reset_less=True), Signal()
        refused = ~reaches
        m.d.comb += self.readback.payload.eq(answer)
        asked = Mux(
            request.parameter[1],
            raw[Parameter.DEPRESSION],
            Mux(request.parameter[0], raw[Parameter.POTENTIATION], raw[Parameter.WEIGHT]),
        )
        if recalibration is not None:
            asked = Mux(is_row, recalibration.read_data, asked)
            # A choice of 0 costs a word nothing, and then three bits more cost little.
            is_status = request.parameter == Parameter.STATUS
            refused = refused | is_status
        with m.If(answers):
            m.d.sync += answer.eq(Mux(refused, 0, asked))
            if recalibration is not None:
                status = Mux(reaches & is_status, recalibration.read_status, 0)
                low = len(status)
                m.d.sync += answer[:low].eq(Mux(is_status, status, Mux(refused, 0, asked[:low])))
        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)
        with m.If(detections.unknown | (self.access.ready & ~reaches)):
            m.d.sync += self.rejected.eq(1)

        m.d.comb += [self.busy.eq(1), address.eq(channel), now.channel.eq(channel), now.valid.eq(store)]
        m.d.comb += [now.pn.eq(detections.pn), now.io.eq(detections.io), now.blanked.eq(detections.blanked)]
        with m.FSM():
            with m.State("INITIALISE"):
                m.d.comb += [initialise.eq(1), address.eq(cleared)]
                for parameter, word in (
                    (Parameter.POTENTIATION, words.potentiation),
                    (Parameter.DEPRESSION, words.depression),
                ):
                    m.d.comb += [written[parameter].eq(word), ports[parameter][1].en.eq(1)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.tick | waiting):
                    m.d.comb += start.eq(1)
                    m.d.sync += channel.eq(0)
                    m.next = "FETCH"
                with m.Elif(self.access.valid & (request.write | ~self.readback.valid)):
                    m.d.comb += [look.eq(1), address.eq(request.channel)]
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), self.access.ready.eq(1), address.eq(request.channel)]
                for parameter, (_, write) in ports.items():
                    with m.If(reaches & (request.parameter == parameter)):
                        m.d.comb += write.en.eq(request.write)
                with m.If(~request.write):
                    m.d.comb += answers.eq(1)
                    m.d.sync += self.readback.valid.eq(1)
                if recalibration is not None:
                    m.d.comb += recalibration.write.eq(request.write & reaches & is_row)
                m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.next = "LEARN"
            with m.State("LEARN"):
                m.d.comb += learn.eq(1)
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += scale.eq(1)
                m.next = "THRESHOLD"
            with m.State("THRESHOLD"):
                m.d.comb += [
                    self.responses.valid.eq(now.cr),
                    self.responses.payload.channel.eq(channel),
                    self.responses.payload.kind.eq(EventKind.CR),
                ]
                with m.If(~now.cr | self.responses.ready):
                    m.d.comb += store.eq(1)
                    m.d.sync += channel.eq(channel + 1)
                    m.next = "FETCH"
                    with m.If(channel == self.channels - 1):
                        m.next = "IDLE"
        return m

    def _delayed(
        self,
        m: Module,
        active: Value,
        inhibition: Value,
        fetch: Value,
        learn: Value,
        store: Value,
        initialise: Value,
    ) -> tuple[Value, Value]:
        """`active` and `inhibition`, their delays ago in this channel; `active` itself for a delay of 0."""
        config = self.config
        delayed = [(config.noi_delay_steps, inhibition, store)]
        if config.eligibility_delay_steps:
            delayed.append((config.eligibility_delay_steps, active, learn))
        m.submodules.lines = lines = DelayLines([delay for delay, _, _ in delayed], self.channels)
        m.d.comb += [
            lines.fetch.eq(fetch),
            lines.data_in.eq(Cat(signal for _, signal, _ in delayed)),
            lines.store.eq(Cat(when for _, _, when in delayed)),
            lines.advance.eq(store),
            lines.clear.eq(initialise),
        ]
        return (lines.data_out[1] if config.eligibility_delay_steps else active), lines.data_out[0]
