"""The whole chip: amplifier front end, event detection, microcircuits and stimulation.

What happens when, in clock cycles, is in ``microzone.golden_model.chip``; this is ``ChipFixed`` bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.chip import ChipTiming, electrode_settings
from ..golden_model.config import ChipConfig
from .amplifier.amplifier import Amplifier
from .detection.detection import Detection
from .events import EventKind, channel_shape
from .microcircuit.microcircuit import Microcircuit
from .stimulation.stimulation import Stimulation

__all__ = ["Chip"]


class Chip(wiring.Component):
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
        0;
        ``cycles_per_channel`` more for each further one.

    Members
    -------
    enable : In(1)
        Let the front end run. A fall ends a fault of the amplifier; a rise begins again, from set-up.
    arm, disarm, heartbeat, emergency_stop : In(1)
        See :class:`Stimulation`.
    spi : Out
        To the amplifier chips, see :class:`Amplifier`.
    cathodic, anodic, stimulate : Out(1)
        To the stimulator: the two phases, and its enable.
    armed : Out(1)
    stimulation_fault, amplifier_fault, faulty_chip : Out
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
    detected : Out
        ``valid`` for one cycle a sample, with ``electrode`` and ``event``: a detection.
    delivered : Out
        ``valid`` for one cycle an event that a microcircuit gets, with ``channel`` and ``kind``.
    commit, recalibrated : Out
        See :class:`Microcircuit`.
    circuit_access, detection_access, stimulation_access : In(stream)
        Parameters of the blocks; ``..._readback`` : Out(stream) answer. Those of the microcircuits wait for
        the step when a tick is near.
    overrun, rejected : Out(1)
        A step was lost; an access named nothing. Held until reset.

    Raises
    ------
    ConfigError
        If rates, clock and durations do not fit together.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.timing = ChipTiming(config)
        self.circuits = len(config.electrodes.pn)
        self._amplifier = Amplifier(config)
        self._detection = Detection(config, electrode_settings(config), config.amplifier.rate_hz)
        self._microcircuit = Microcircuit(config, self.circuits)
        self._stimulation = Stimulation(config)
        assert self._detection.latency < self.timing.detection_cycles
        assert self._detection.cycles_per_sample <= self.timing.sample_cycles
        self.pulse_latency = self.timing.decision_cycles + self._stimulation.latency

        def member(block: wiring.Component, name: str) -> Any:
            return block.signature.members[name]

        super().__init__(
            {
                "enable": In(1),
                "arm": In(1),
                "disarm": In(1),
                "heartbeat": In(1),
                "emergency_stop": In(1),
                "spi": member(self._amplifier, "spi"),
                "cathodic": Out(1),
                "anodic": Out(1),
                "stimulate": Out(1),
                "armed": Out(1),
                "stimulation_fault": member(self._stimulation, "fault"),
                "amplifier_fault": member(self._amplifier, "fault"),
                "faulty_chip": member(self._amplifier, "faulty_chip"),
                "running": Out(1),
                "frame": Out(1),
                "tick": Out(1),
                "train": Out(1),
                "blanked": Out(1),
                "first_sample": Out(1),
                "detected": Out(
                    wiring.Signature(
                        {
                            "valid": Out(1),
                            "electrode": Out(channel_shape(config.amplifier.electrodes)),
                            "event": Out(1),
                        }
                    )
                ),
                "delivered": Out(
                    wiring.Signature(
                        {
                            "valid": Out(1),
                            "channel": Out(channel_shape(self.circuits)),
                            "kind": Out(EventKind),
                        }
                    )
                ),
                "commit": member(self._microcircuit, "commit"),
                "recalibrated": member(self._microcircuit, "recalibrated"),
                "circuit_access": member(self._microcircuit, "access"),
                "circuit_readback": member(self._microcircuit, "readback"),
                "detection_access": member(self._detection, "access"),
                "detection_readback": member(self._detection, "readback"),
                "stimulation_access": member(self._stimulation, "access"),
                "stimulation_readback": member(self._stimulation, "readback"),
                "overrun": Out(1),
                "rejected": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing, electrodes = self.timing, self.config.electrodes
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

        # Where in the step the chip is: frames done, and cycles since its last frame began.
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

        # Blanking: for all answers to a command when the first of them comes; a frame counts by its first.
        source, sink = amplifier.samples, detection.samples
        stalled, hidden = Signal(), Signal()
        first_chip = source.payload.electrode < self.config.amplifier.channels
        decided = source.valid & ~stalled & first_chip
        first_sample = decided & (source.payload.electrode == 0)
        hidden_frames = Signal(range(timing.frames_per_step + 1))
        m.d.sync += stalled.eq(source.valid & ~source.ready)
        m.d.comb += [
            self.blanked.eq(Mux(decided, stimulation.blank, hidden)),
            detection.frame.eq(first_sample),
            self.first_sample.eq(first_sample),
        ]
        with m.If(decided):
            m.d.sync += hidden.eq(stimulation.blank)
        with m.If(microcircuit.tick | ~amplifier.running):
            m.d.sync += hidden_frames.eq(0)
        with m.Elif(first_sample):
            m.d.sync += hidden_frames.eq(hidden_frames + stimulation.blank)
        mostly_hidden = (hidden_frames << 1) > timing.frames_per_step

        # Samples of the electrodes in use go on to detection.
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

        # Events go on to the microcircuits; before a tick each is told whether the step was blanked.
        telling = Signal()
        told = Signal(channel_shape(self.circuits))
        begins = Mux(
            amplifier.running,
            ending & (since == timing.blanked_cycle) & mostly_hidden,
            outage & (idle == step_cycles - self.circuits - 4),
        )
        events = microcircuit.events
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
            m.d.comb += [events.valid.eq(detection.events.valid), detection.events.ready.eq(events.ready)]
            with m.Switch(detection.events.payload.electrode):
                for kind, owned in ((EventKind.PN, electrodes.pn), (EventKind.IO, electrodes.io)):
                    for circuit, electrode in enumerate(owned):
                        with m.Case(electrode):
                            m.d.comb += [
                                events.payload.channel.eq(circuit),
                                events.payload.kind.eq(kind),
                            ]

        # An access that is being served when the tick comes would hold the step up.
        imminent = ending & (since == timing.tick_cycle - 1)
        request = microcircuit.access
        m.d.comb += [
            request.payload.eq(self.circuit_access.payload),
            request.valid.eq(self.circuit_access.valid & ~imminent),
            self.circuit_access.ready.eq(request.ready),
        ]
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
        return m


def _is_one_of(electrode: Value, electrodes: Iterable[int]) -> Value:
    """Whether a number is one of some, by a table of bits."""
    table = sum(1 << number for number in electrodes)
    return Const(table, 1 << len(electrode)).bit_select(electrode, 1)
