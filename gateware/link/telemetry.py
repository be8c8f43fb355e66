"""What the chip tells its host by itself: a record for each thing that happens, with the step of it."""

from __future__ import annotations

from typing import Any, Protocol

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.chip import ChipTiming
from ...golden_model.config import ChipConfig, ConfigError
from ..amplifier.amplifier import AmplifierFault
from ..component import Component
from ..events import channel_shape
from ..microcircuit.rational import STATUS_FORMAT
from ..stimulation.interlock import InterlockFault
from .frames import RecordKind, record_layout

__all__ = [
    "COUNT_BITS",
    "STEP_BITS",
    "TIME_STEPS",
    "W_CHANGES",
    "Committed",
    "RecordPort",
    "Telemetry",
    "committed_signature",
]

COUNT_BITS = 16
"""Of the number of words that a commit has put into effect."""

STEP_BITS = 16
"""Of the number of steps in a record."""
TIME_STEPS = 1 << 14
"""A record TIME comes each so many steps: often enough for a host to know all bits of every number."""
W_CHANGES = 0
"""Bit of the mask that lets records STEP through in which nothing but w changes."""
_WORD = Shape(32)


class Committed(Protocol):
    """The parts of :func:`committed_signature`."""

    valid: Signal
    words: Signal
    late: Signal


def committed_signature() -> wiring.Signature:
    """The end of a commit: ``valid`` for a cycle, with the number of its ``words``, and if it is ``late``."""
    return wiring.Signature({"valid": Out(1), "words": Out(COUNT_BITS), "late": Out(1)})


class StepTold(Protocol):
    """Of a microcircuit's step, what a record STEP tells."""

    valid: Signal
    channel: Signal
    weight: Signal
    plasticity_trace: Signal
    cr: Signal
    pn: Signal
    io: Signal
    blanked: Signal


class DetectionTold(Protocol):
    """Of an electrode's sample, what a record DETECTION tells."""

    valid: Signal
    electrode: Signal
    event: Signal


class RecalibrationTold(Protocol):
    """What a record RECALIBRATION tells."""

    valid: Signal
    channel: Signal
    status: Signal
    rate: Signal


class RecordPort(Protocol):
    """A record, for the one cycle in which ``valid`` is up."""

    valid: Signal
    payload: data.View[data.StructLayout]


class Telemetry(Component):
    """Puts what happens into records, one a cycle at most, and holds up nothing.

    A record STEP goes out in the cycle of its commit. All else waits for a cycle without one; there are three
    in four, more than there are other sources. What does not last, that is what to say of it, is kept for as
    long as it waits. The state is reported as it is once it is its turn: of two changes within a few cycles
    only the outcome is told.

    Kinds and their fields are in ``frames.RecordKind``; `step` counts the ticks so far, so that what a step's
    tick started bears its number plus one.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    mask : In(16)
        A bit a ``RecordKind``: 0 for no records of it. Bit :data:`W_CHANGES` for records STEP in which
        nothing but the plasticity of w happened. LOST is not masked, nor made here.
    steps : In(32)
        Ticks so far, that of this cycle not included.
    tick, first_sample, train, armed, running : In(1)
        As of ``Chip``.
    stimulation_fault : In(InterlockFault)
        As of ``Chip``.
    amplifier_fault : In(AmplifierFault)
        As of ``Chip``.
    faulty_chip : In(a number of an amplifier chip)
        As of ``Chip``.
    commit : In(parts of :class:`StepTold`)
        As of ``Chip``.
    detected : In(parts of :class:`DetectionTold`)
        As of ``Chip``.
    recalibrated : In(parts of :class:`RecalibrationTold`)
        As of ``Chip``.
    committed : In(committed_signature())
        As of ``RegisterFile``.
    record : Out(parts of :class:`RecordPort`)
        ``valid`` for one cycle, with ``payload`` of ``frames.record_layout()``.

    Raises
    ------
    ConfigError
        If a raw word does not fit into a record.
    """

    mask: Signal
    steps: Signal
    tick: Signal
    first_sample: Signal
    train: Signal
    armed: Signal
    running: Signal
    stimulation_fault: Signal
    amplifier_fault: Signal
    faulty_chip: Signal
    commit: StepTold
    detected: DetectionTold
    recalibrated: RecalibrationTold
    committed: Committed
    record: RecordPort

    def __init__(self, config: ChipConfig) -> None:
        self.config, self._timing = config, ChipTiming(config)
        formats, circuits = config.formats, len(config.electrodes.pn)
        for name in ("weight", "rate"):
            if getattr(formats, name).width > _WORD.width:
                raise ConfigError(
                    f"formats.{name} = {getattr(formats, name)}: limit is the {_WORD.width} bits of a record"
                )
        circuit = channel_shape(circuits)

        def given(**members: ShapeLike) -> wiring.Member:
            return In(wiring.Signature({name: Out(shape) for name, shape in members.items()}))

        super().__init__(
            {
                "mask": In(16),
                "steps": In(32),
                "tick": In(1),
                "first_sample": In(1),
                "train": In(1),
                "armed": In(1),
                "running": In(1),
                "stimulation_fault": In(InterlockFault),
                "amplifier_fault": In(AmplifierFault),
                "faulty_chip": In(range(max(config.amplifier.chips, 2))),
                "commit": given(
                    valid=1, channel=circuit, weight=formats.weight.as_shape(), plasticity_trace=1, cr=1,
                    pn=1, io=1, blanked=1,
                ),
                "detected": given(valid=1, electrode=channel_shape(config.amplifier.electrodes), event=1),
                "recalibrated": given(
                    valid=1, channel=circuit, status=STATUS_FORMAT.as_shape(), rate=formats.rate.as_shape()
                ),
                "committed": In(committed_signature()),
                "record": Out(wiring.Signature({"valid": Out(1), "payload": Out(record_layout())})),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        commit, detected, done = self.commit, self.detected, self.recalibrated
        # A record of each kind that waits for its turn: whether there is one, and its fields.
        waiting: list[tuple[RecordKind, Signal, dict[str, Value]]] = []

        def waits(kind: RecordKind, happens: Value, **fields: Value) -> None:
            """A record of this kind, from the cycle after `happens` on until it has gone."""
            pending = Signal(name=f"pending_{kind.name.lower()}")
            with m.If(happens & self.mask.bit_select(kind, 1)):
                m.d.sync += pending.eq(1)
            waiting.append((kind, pending, fields))

        def kept(value: Value, when: Value, name: str) -> Signal:
            """What a value was in the last cycle of `when`."""
            held = Signal.like(value, name=name)
            with m.If(when):
                m.d.sync += held.eq(value)
            return held

        # DETECTION, with the number of the frame in the step.
        detects = detected.valid & detected.event
        frame = Signal(range(self._timing.frames_per_step + 1))  # of the step, from 1
        with m.If(self.tick):
            m.d.sync += frame.eq(0)
        with m.Elif(self.first_sample & (frame != self._timing.frames_per_step)):
            m.d.sync += frame.eq(frame + 1)
        electrode = kept(detected.electrode, detects, "electrode")
        waits(RecordKind.DETECTION, detects, index=electrode, data=kept(frame, detects, "frame_of_detection"))

        # BLANKING, where it changes. All microcircuits are told the same of a step's blanking.
        first = commit.valid & (commit.channel == 0)
        blanked = kept(commit.blanked, first, "blanked")
        waits(RecordKind.BLANKING, first & (commit.blanked != blanked), flags=blanked)

        if self.config.recalibration.enabled:
            # RECALIBRATION. Rate and status stay; the number of the channel does not.
            circuit = kept(done.channel, done.valid, "circuit")
            waits(RecordKind.RECALIBRATION, done.valid, index=circuit, flags=done.status, data=done.rate)

        # STATE, where something of it changes.
        levels = Cat(self.running, self.armed, self.train)
        faults = Cat(Value.cast(self.stimulation_fault), Const(0, 8))[:8]
        faults = Cat(faults, self.amplifier_fault)
        before = Signal(len(levels) + len(faults))
        m.d.sync += before.eq(Cat(levels, faults))
        waits(
            RecordKind.STATE,
            Cat(levels, faults) != before,
            index=Value.cast(self.faulty_chip),
            flags=levels,
            data=faults,
        )

        # COMMITTED, and TIME, with the bits of the number of steps that no other record has.
        words = kept(self.committed.words, self.committed.valid, "words")
        late = kept(self.committed.late, self.committed.valid, "late")
        waits(RecordKind.COMMITTED, self.committed.valid, flags=late, data=words)
        is_time = self.tick & (self.steps[: TIME_STEPS.bit_length() - 1] == 0)
        waits(RecordKind.TIME, is_time, data=self.steps[STEP_BITS:])

        # STEP, which does not wait.
        events = Cat(commit.pn, commit.io, commit.cr)
        changes = commit.plasticity_trace & self.mask.bit_select(W_CHANGES, 1)
        wanted = self.mask.bit_select(RecordKind.STEP, 1) & (events.any() | changes)
        step = {"index": commit.channel, "flags": Cat(events, commit.blanked), "data": commit.weight}

        # One record a cycle; of those that wait, the first.
        payload = self.record.payload
        chosen: dict[str, Value] = {"kind": Const(RecordKind.STEP, 4)} | step
        chosen = {name: Mux(commit.valid, value, 0) for name, value in chosen.items()}
        free: Value = ~commit.valid
        for kind, pending, fields in waiting:
            goes = Signal(name=f"goes_{kind.name.lower()}")
            m.d.comb += goes.eq(pending & free)
            free = free & ~pending
            for name, value in ({"kind": Const(kind, 4)} | fields).items():
                chosen[name] = chosen[name] | Mux(goes, value, 0)
            with m.If(goes):
                m.d.sync += pending.eq(0)
        m.d.comb += [
            self.record.valid.eq(Mux(commit.valid, wanted, ~free)),
            payload.step.eq(self.steps[:STEP_BITS]),
            *(payload[name].eq(value) for name, value in chosen.items()),
        ]
        return m
