"""The whole chip: amplifier front end, event detection, microcircuits and stimulation.

What happens when, in clock cycles, is in ``microzone.golden_model.chip``; this is ``ChipFixed`` bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.chip import ChipTiming, electrode_settings
from ..golden_model.config import ChipConfig, ConfigError
from .amplifier.amplifier import Amplifier
from .amplifier.spi import SpiPins
from .component import Component
from .detection.detection import Detection
from .events import EventKind, channel_shape
from .microcircuit.microcircuit import Microcircuit
from .microcircuit.ports import Commit, Recalibrated
from .stimulation.stimulation import Stimulation

__all__ = ["Chip", "Delivered", "Detected", "delivered_signature", "detected_signature"]


class Detected(Protocol):
    """An interface of :func:`detected_signature`."""

    valid: Signal
    electrode: Signal
    event: Signal


def detected_signature(electrodes: int) -> wiring.Signature:
    """What the detection found in a sample, in the cycle of ``valid``."""
    return wiring.Signature({"valid": Out(1), "electrode": Out(channel_shape(electrodes)), "event": Out(1)})


class Delivered(Protocol):
    """An interface of :func:`delivered_signature`."""

    valid: Signal
    channel: Signal
    kind: Signal


def delivered_signature(circuits: int) -> wiring.Signature:
    """An event that a microcircuit takes, in the cycle of ``valid``."""
    return wiring.Signature(
        {"valid": Out(1), "channel": Out(channel_shape(circuits)), "kind": Out(EventKind)}
    )


@dataclass(frozen=True)
class _StepClock:
    """Where in a step the chip is.

    Attributes
    ----------
    ending : Signal
        The step's last frame has begun, its tick has not yet come.
    since : Signal
        While `ending`: clock cycles since that frame began.
    outage : Signal
        The front end does not run, but did: steps are made without it.
    idle : Signal
        During an outage: clock cycles of its present step.
    step_cycles : int
        Clock cycles of a step.
    """

    ending: Signal
    since: Signal
    outage: Signal
    idle: Signal
    step_cycles: int


class Chip(Component):
    """From the wires of the amplifier chips to those of the stimulator.

    The front end gives the time: it counts the frames, and the frames make the steps. Before it first runs no
    step is made. While it does not run later on the steps go on, all of them blanked and without events, and
    the stimulation is disarmed; w stays, traces and inhibition come to their end.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    timing : ChipTiming
        When, within a frame, what happens.
    pulse_latency : int
        Clock cycles from the result of a step's last sample to the first edge of a pulse, for microcircuit
        0; ``cycles_per_channel`` more for each further one.

    Members
    -------
    enable : In(1)
        Let the front end run. A fall ends a fault of the amplifier; a rise begins again, from set-up.
    arm, disarm, heartbeat, emergency_stop : In(1)
        See :class:`Stimulation`.
    spi : Out(spi_signature(chips))
        To the amplifier chips, see :class:`Amplifier`.
    cathodic, anodic, stimulate : Out(1)
        To the stimulator: the two phases, and its enable.
    armed : Out(1)
    stimulation_fault : Out(InterlockFault)
    amplifier_fault : Out(AmplifierFault)
    faulty_chip : Out(range(chips))
        What went wrong, latched.
    running : Out(1)
        Frames are being taken.
    frame : Out(1)
        The first cycle of a frame.
    tick : Out(1)
        The microcircuits start a step.
    train : Out(1)
        A pulse train is in progress.
    blanked : Out(1)
        Samples of the IO that come now are blanked.
    first_sample : Out(1)
        The first sample of a frame comes now, which counts as blanked if `blanked` is up.
    detected : Out(detected_signature(electrodes))
        ``valid`` for one cycle a sample, with ``electrode`` and ``event``: a detection.
    delivered : Out(delivered_signature(circuits))
        ``valid`` for one cycle an event that a microcircuit gets, with ``channel`` and ``kind``.
    commit : Out(commit_signature(config, circuits))
    recalibrated : Out(recalibrated_signature(config, circuits))
        See :class:`Microcircuit`.
    circuit_access, detection_access, stimulation_access : In(stream of the block's access)
        Parameters of the blocks. Those of the microcircuits wait for the step when a tick is near.
    circuit_readback, detection_readback, stimulation_readback : Out(stream of the block's word)
        Answers to what was read.
    overrun, rejected : Out(1)
        A step was lost; an access named nothing. Held until reset.

    Raises
    ------
    ConfigError
        If rates, clock and durations do not fit together.
    """

    enable: Signal
    arm: Signal
    disarm: Signal
    heartbeat: Signal
    emergency_stop: Signal
    spi: SpiPins
    cathodic: Signal
    anodic: Signal
    stimulate: Signal
    armed: Signal
    stimulation_fault: Signal
    amplifier_fault: Signal
    faulty_chip: Signal
    running: Signal
    frame: Signal
    tick: Signal
    train: Signal
    blanked: Signal
    first_sample: Signal
    detected: Detected
    delivered: Delivered
    commit: Commit
    recalibrated: Recalibrated
    circuit_access: stream.Interface
    circuit_readback: stream.Interface
    detection_access: stream.Interface
    detection_readback: stream.Interface
    stimulation_access: stream.Interface
    stimulation_readback: stream.Interface
    overrun: Signal
    rejected: Signal

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.timing = ChipTiming(config)
        self.circuits = len(config.electrodes.pn)
        self._amplifier = Amplifier(config)
        self._detection = Detection(config, electrode_settings(config), config.amplifier.rate_hz)
        self._microcircuit = Microcircuit(config, self.circuits)
        self._stimulation = Stimulation(config)
        self._check_detection()
        self.pulse_latency = self.timing.decision_cycles + self._stimulation.latency
        amplifier = self._amplifier.signature.members
        detection = self._detection.signature.members
        microcircuit = self._microcircuit.signature.members
        stimulation = self._stimulation.signature.members
        super().__init__(
            {
                "enable": In(1),
                "arm": In(1),
                "disarm": In(1),
                "heartbeat": In(1),
                "emergency_stop": In(1),
                "spi": amplifier["spi"],
                "cathodic": Out(1),
                "anodic": Out(1),
                "stimulate": Out(1),
                "armed": Out(1),
                "stimulation_fault": stimulation["fault"],
                "amplifier_fault": amplifier["fault"],
                "faulty_chip": amplifier["faulty_chip"],
                "running": Out(1),
                "frame": Out(1),
                "tick": Out(1),
                "train": Out(1),
                "blanked": Out(1),
                "first_sample": Out(1),
                "detected": Out(detected_signature(config.amplifier.electrodes)),
                "delivered": Out(delivered_signature(self.circuits)),
                "commit": microcircuit["commit"],
                "recalibrated": microcircuit["recalibrated"],
                "circuit_access": microcircuit["access"],
                "circuit_readback": microcircuit["readback"],
                "detection_access": detection["access"],
                "detection_readback": detection["readback"],
                "stimulation_access": stimulation["access"],
                "stimulation_readback": stimulation["readback"],
                "overrun": Out(1),
                "rejected": Out(1),
            }
        )

    def _check_detection(self) -> None:
        """ConfigError unless the detection keeps to what ``ChipTiming`` counts on."""
        gain, timing, detection = self.config.formats.detection_gain, self.timing, self._detection
        if detection.latency >= timing.detection_cycles:
            raise ConfigError(
                f"formats.detection_gain = {gain}: an event comes {detection.latency} cycles after its "
                f"sample, limit is {timing.detection_cycles - 1} for it to count in its step"
            )
        if detection.cycles_per_sample > timing.sample_cycles:
            raise ConfigError(
                f"formats.detection_gain = {gain}: detection takes {detection.cycles_per_sample} cycles for "
                f"a sample, limit is {timing.sample_cycles} for the samples of a frame to follow one another"
            )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.amplifier = amplifier = self._amplifier
        m.submodules.detection = detection = self._detection
        m.submodules.microcircuit = microcircuit = self._microcircuit
        m.submodules.stimulation = stimulation = self._stimulation
        wiring.connect(m, amplifier.spi, wiring.flipped(self.spi))
        m.d.comb += [
            amplifier.enable.eq(self.enable),
            self.amplifier_fault.eq(amplifier.fault),
            self.faulty_chip.eq(amplifier.faulty_chip),
            self.running.eq(amplifier.running),
            self.frame.eq(amplifier.frame),
            self.tick.eq(microcircuit.tick),
            self.overrun.eq(microcircuit.overrun),
            self.rejected.eq(microcircuit.rejected | detection.rejected | stimulation.rejected),
        ]
        clock = self._step_clock(m)
        mostly_hidden = self._blanking(m)
        self._samples(m)
        self._events(m, clock, mostly_hidden)
        self._accesses(m, clock)
        self._stimulate(m)
        return m

    def _step_clock(self, m: Module) -> _StepClock:
        """Make steps of the frames, and tick for each; without frames by counting cycles."""
        amplifier, microcircuit, timing = self._amplifier, self._microcircuit, self.timing
        # Frames done of the step; whether its last one has begun, and cycles since.
        frames = Signal(range(timing.frames_per_step))
        last_frame = amplifier.frame & (frames == timing.frames_per_step - 1)
        since, ending = Signal(range(timing.tick_cycle + 1)), Signal()
        with m.If(~amplifier.running):
            m.d.sync += [frames.eq(0), ending.eq(0)]
        with m.Else():
            with m.If(amplifier.frame):
                m.d.sync += frames.eq(Mux(last_frame, 0, frames + 1))
            with m.If(last_frame):
                m.d.sync += [since.eq(1), ending.eq(1)]
            with m.Elif(ending):
                m.d.sync += since.eq(since + 1)
            with m.If(microcircuit.tick):
                m.d.sync += ending.eq(0)
        # Without frames time goes on, unheard, once it has begun: no trace or pulse outlasts an outage.
        begun, outage = Signal(), Signal()
        step_cycles = timing.frame_cycles * timing.frames_per_step
        idle = Signal(range(step_cycles))
        last_idle = idle == step_cycles - 1
        m.d.comb += outage.eq(begun & ~amplifier.running)
        with m.If(amplifier.running):
            m.d.sync += begun.eq(1)
        m.d.sync += idle.eq(Mux(outage & ~last_idle, idle + 1, 0))
        m.d.comb += microcircuit.tick.eq(
            Mux(amplifier.running, ending & (since == timing.tick_cycle), outage & last_idle)
        )
        return _StepClock(ending, since, outage, idle, step_cycles)

    def _blanking(self, m: Module) -> Value:
        """Decide which samples are blanked; whether more than half of the step's frames are."""
        amplifier, stimulation, timing = self._amplifier, self._stimulation, self.timing
        source = amplifier.samples
        # For all answers to a command when the first of them comes, that of the first chip; kept in `hidden`.
        stalled, hidden = Signal(), Signal()
        first_chip = source.payload.electrode < self.config.amplifier.channels
        decided = source.valid & ~stalled & first_chip
        # A frame counts by its first sample.
        first_sample = decided & (source.payload.electrode == 0)
        hidden_frames = Signal(range(timing.frames_per_step + 1))
        m.d.sync += stalled.eq(source.valid & ~source.ready)
        m.d.comb += [
            self.blanked.eq(Mux(decided, stimulation.blank, hidden)),
            self._detection.frame.eq(first_sample),
            self.first_sample.eq(first_sample),
        ]
        with m.If(decided):
            m.d.sync += hidden.eq(stimulation.blank)
        with m.If(self._microcircuit.tick | ~amplifier.running):
            m.d.sync += hidden_frames.eq(0)
        with m.Elif(first_sample):
            m.d.sync += hidden_frames.eq(hidden_frames + stimulation.blank)
        return (hidden_frames << 1) > timing.frames_per_step

    def _samples(self, m: Module) -> None:
        """Samples of the electrodes in use go on to detection; what it finds is shown."""
        source, detection, electrodes = self._amplifier.samples, self._detection, self.config.electrodes
        sink = detection.samples
        used = _is_one_of(source.payload.electrode, (*electrodes.pn, *electrodes.io))
        m.d.comb += [
            sink.payload.electrode.eq(source.payload.electrode),
            sink.payload.sample.eq(source.payload.sample),
            sink.payload.blanked.eq(self.blanked & _is_one_of(source.payload.electrode, electrodes.io)),
            sink.valid.eq(source.valid & used),
            source.ready.eq(sink.ready | ~used),
            self.detected.valid.eq(detection.commit.valid),
            self.detected.electrode.eq(detection.commit.electrode),
            self.detected.event.eq(detection.commit.event),
        ]

    def _events(self, m: Module, clock: _StepClock, mostly_hidden: Value) -> None:
        """Events go on to the microcircuits; before a tick each is told whether the step was blanked."""
        amplifier, timing, electrodes = self._amplifier, self.timing, self.config.electrodes
        found, events = self._detection.events, self._microcircuit.events
        # While `telling`, events of the detection wait, and the microcircuits get BLANKED, one after the
        # other; `told` is whose turn it is.
        telling = Signal()
        told = Signal(channel_shape(self.circuits))
        begins = Mux(
            amplifier.running,
            clock.ending & (clock.since == timing.blanked_cycle) & mostly_hidden,
            clock.outage & (clock.idle == clock.step_cycles - self.circuits - 4),
        )
        m.d.comb += [
            self.delivered.valid.eq(events.valid & events.ready),
            self.delivered.channel.eq(events.payload.channel),
            self.delivered.kind.eq(events.payload.kind),
        ]
        with m.If(begins):
            m.d.sync += [telling.eq(1), told.eq(0)]
        with m.If(telling):
            m.d.comb += [
                events.valid.eq(1),
                events.payload.channel.eq(told),
                events.payload.kind.eq(EventKind.BLANKED),
            ]
            with m.If(events.ready):
                m.d.sync += told.eq(told + 1)
                with m.If(told == self.circuits - 1):
                    m.d.sync += telling.eq(0)
        with m.Else():
            m.d.comb += [events.valid.eq(found.valid), found.ready.eq(events.ready)]
            with m.Switch(found.payload.electrode):
                for kind, owned in ((EventKind.PN, electrodes.pn), (EventKind.IO, electrodes.io)):
                    for circuit, electrode in enumerate(owned):
                        with m.Case(electrode):
                            m.d.comb += [
                                events.payload.channel.eq(circuit),
                                events.payload.kind.eq(kind),
                            ]

    def _accesses(self, m: Module, clock: _StepClock) -> None:
        """Lead the blocks' parameters and results out."""
        microcircuit, detection, stimulation = self._microcircuit, self._detection, self._stimulation
        # An access that is being served when the tick comes would hold the step up.
        imminent = clock.ending & (clock.since == self.timing.tick_cycle - 1)
        request = microcircuit.access
        m.d.comb += [
            request.payload.eq(self.circuit_access.payload),
            request.valid.eq(self.circuit_access.valid & ~imminent),
            self.circuit_access.ready.eq(request.ready),
        ]
        inner: Any  # streams and other interfaces
        outer: Any
        for inner, outer in (
            (microcircuit.readback, self.circuit_readback),
            (detection.readback, self.detection_readback),
            (stimulation.readback, self.stimulation_readback),
            (microcircuit.commit, self.commit),
            (microcircuit.recalibrated, self.recalibrated),
        ):
            wiring.connect(m, inner, wiring.flipped(outer))
        for inner, outer in (
            (detection.access, self.detection_access),
            (stimulation.access, self.stimulation_access),
        ):
            wiring.connect(m, wiring.flipped(outer), inner)

    def _stimulate(self, m: Module) -> None:
        """Each response is a trigger. Arming, what disarms, and the wires of the stimulator."""
        amplifier, microcircuit, stimulation = self._amplifier, self._microcircuit, self._stimulation
        responses = microcircuit.responses
        m.d.comb += [
            responses.ready.eq(1),
            stimulation.trigger.eq(responses.valid),
            stimulation.arm.eq(self.arm),
            stimulation.disarm.eq(self.disarm),
            stimulation.heartbeat.eq(self.heartbeat),
            stimulation.emergency_stop.eq(self.emergency_stop),
            stimulation.amplifier_fault.eq(~amplifier.running),
            stimulation.tick.eq(microcircuit.tick),
            self.cathodic.eq(stimulation.cathodic),
            self.anodic.eq(stimulation.anodic),
            self.stimulate.eq(stimulation.enable),
            self.train.eq(stimulation.train),
            self.armed.eq(stimulation.armed),
            self.stimulation_fault.eq(stimulation.fault),
        ]


def _is_one_of(electrode: Value, electrodes: Iterable[int]) -> Value:
    """Whether a number is one of some, by a table of bits."""
    table = sum(1 << number for number in electrodes)
    return Const(table, 1 << len(electrode)).bit_select(electrode, 1)
