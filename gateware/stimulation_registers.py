"""Registers of the stimulation: the settings of a train, judged and put into effect together."""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden_model import config as chip_config
from ..golden_model.config import BlankingMode, ChipConfig
from ..golden_model.fixed import UQ
from ..golden_model.stimulation import StimulationTiming, TrainSettings
from .fixed import resize
from .interlock import InterlockFault

__all__ = [
    "BLANK_MODES",
    "SETTINGS",
    "SHAPES",
    "StimulationRegister",
    "StimulationRegisters",
    "setting_widths",
    "settings_words",
    "stimulation_layout",
]

SHAPES = (chip_config.Shape.MONOPHASIC, chip_config.Shape.BIPHASIC)
"""By their word in register SHAPE."""
BLANK_MODES = (BlankingMode.NONE, BlankingMode.FIXED, BlankingMode.PULSE)
"""By their word in register BLANK_MODE."""


class StimulationRegister(enum.Enum):
    """What the access port of the stimulation reaches; durations in clock cycles."""

    PERIOD = 0
    WIDTH = 1
    WIDTH_ANODIC = 2
    GAP = 3
    PULSES = 4
    SHAPE = 5
    BLANK_MODE = 6
    BLANK_FIXED = 7
    GUARD_BEFORE = 8
    GUARD_AFTER = 9
    STATUS = 10  # read only; from bit 0: armed, train, resting, blank
    FAULT = 11  # read only, InterlockFault

    @property
    def field(self) -> str:
        """Its name in ``StimulationRegisters.settings``."""
        return "biphasic" if self is StimulationRegister.SHAPE else self.name.lower()


STATUS_BITS = 4
"""Of register STATUS."""
READ_ONLY = (StimulationRegister.STATUS, StimulationRegister.FAULT)
SETTINGS = tuple(register for register in StimulationRegister if register not in READ_ONLY)


def setting_widths(timing: StimulationTiming) -> dict[StimulationRegister, int]:
    """Bits of each setting: enough for its limit and for something beyond it."""
    most = {
        StimulationRegister.PERIOD: timing.duration_limit,
        StimulationRegister.WIDTH: timing.width_limit,
        StimulationRegister.WIDTH_ANODIC: timing.width_limit,
        StimulationRegister.GAP: timing.period_limit,
        StimulationRegister.PULSES: timing.pulses_limit,
        StimulationRegister.BLANK_FIXED: timing.blank_limit,
        StimulationRegister.GUARD_BEFORE: timing.guard_limit,
        StimulationRegister.GUARD_AFTER: timing.guard_limit,
    }
    widths = {register: bits_for(limit + 1) for register, limit in most.items()}
    widths[StimulationRegister.SHAPE] = bits_for(len(SHAPES) - 1)
    widths[StimulationRegister.BLANK_MODE] = bits_for(len(BLANK_MODES) - 1)
    return widths


def settings_words(settings: TrainSettings) -> dict[StimulationRegister, int]:
    """The word of each register that makes these settings."""
    words: dict[StimulationRegister, int] = {
        register: getattr(settings, register.name.lower())
        for register in SETTINGS
        if register not in (StimulationRegister.SHAPE, StimulationRegister.BLANK_MODE)
    }
    words[StimulationRegister.SHAPE] = SHAPES.index(settings.shape)
    words[StimulationRegister.BLANK_MODE] = BLANK_MODES.index(settings.blank_mode)
    return words


def stimulation_layout(config: ChipConfig) -> data.StructLayout:
    """Layout of one access: ``register``, ``write``, and the ``word`` to write."""
    widths = setting_widths(StimulationTiming(config))
    word = max(*widths.values(), Shape.cast(InterlockFault).width)
    return data.StructLayout({"register": StimulationRegister, "write": 1, "word": word})


class StimulationRegisters(wiring.Component):
    """The settings: written one by one, judged together, in effect together.

    ``good`` is ``StimulationTiming.refusal``: the length ``(pulses - 1)·period + pulse`` of a train by one
    shift-and-add multiplier, then comparisons. Settings take effect in a cycle without `hold`; those written
    meanwhile are judged first.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    check_cycles : int
        Clock cycles from a write until it is in effect, without `hold`.

    Members
    -------
    access, readback, rejected
        See :class:`Stimulation`.
    status, fault : In
        What registers STATUS and FAULT read.
    hold : In(1)
        Keep the settings in effect.
    settings : Out
        In effect, by ``StimulationRegister.field``.
    pause : Out
        Cycles from the end of a pulse to the next.
    good : Out(1)
        The settings in effect are within the limits, and balanced.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.timing = timing = StimulationTiming(config)
        self._widths = widths = setting_widths(timing)
        # One cycle each to begin, to judge and to take effect, and one a bit of the number of pulses.
        self.check_cycles = widths[StimulationRegister.PULSES] + 4
        layout = stimulation_layout(config)
        self._layout = data.StructLayout({r.field: width for r, width in widths.items()})
        super().__init__(
            {
                "access": In(stream.Signature(layout)),
                "readback": Out(stream.Signature(layout["word"].shape)),
                "rejected": Out(1),
                "status": In(STATUS_BITS),
                "fault": In(InterlockFault),
                "hold": In(1),
                "settings": Out(self._layout),
                "pause": Out(widths[StimulationRegister.PERIOD]),
                "good": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing, configured = self.timing, self.timing.settings
        initial = {register.field: word for register, word in settings_words(configured).items()}
        written, used = Signal(self._layout, init=initial), Signal(self._layout, init=initial)
        pause = Signal(self.pause.shape(), init=configured.period - configured.pulse)
        good = Signal(init=1)  # the configuration has been checked
        judging, writes = Signal(), Signal()
        m.d.comb += [self.settings.eq(used), self.pause.eq(pause), self.good.eq(good)]
        self._serve(m, written, judging, writes)

        single, both = written.width, written.width + written.gap + written.width_anodic
        pulse = Signal(both.shape())
        factor = Signal(written.pulses.shape())
        product = Signal(len(written.period) + len(factor))
        bit = Signal(range(len(factor)))
        sound = Signal()
        with m.FSM():
            with m.State("READY"), m.If(writes):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += judging.eq(1)
                m.d.sync += [
                    pulse.eq(Mux(written.biphasic, both, single)),
                    factor.eq((written.pulses - 1)[: len(factor)]),  # of 0 pulses: refused below
                    product.eq(0),
                    bit.eq(0),
                ]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += judging.eq(1)
                m.d.sync += [
                    # No bit is lost: there are as many rounds as bits of the factor.
                    product.eq((product.shift_left(1) + Mux(factor[-1], written.period, 0))[: len(product)]),
                    factor.eq(factor.shift_left(1)[: len(factor)]),
                    bit.eq(bit + 1),
                ]
                with m.If(bit == len(factor) - 1):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += judging.eq(1)
                m.d.sync += sound.eq(
                    (written.width >= 1)
                    & (written.width <= timing.width_limit)
                    & (~written.biphasic | (written.width_anodic == written.width))
                    & (pulse < timing.period_limit)
                    & (written.period >= timing.period_limit)
                    & (written.period <= timing.duration_limit)
                    & (written.pulses >= 1)
                    & (product + pulse <= timing.duration_limit)
                    & (written.blank_fixed <= timing.blank_limit)
                    & (written.guard_before <= timing.guard_limit)
                    & (written.guard_after <= timing.guard_limit)
                )
                m.next = "APPLY"
            with m.State("APPLY"):
                with m.If(writes):
                    m.next = "BEGIN"
                with m.Elif(~self.hold):
                    m.d.sync += [
                        used.eq(written),
                        good.eq(sound),
                        pause.eq((written.period - pulse)[: len(pause)]),  # below 0 only where not sound
                    ]
                    m.next = "READY"
        return m

    def _serve(self, m: Module, written: Any, judging: Signal, writes: Signal) -> None:
        """Accesses to `written`, none but reads while `judging`; `writes` in the cycle of a write."""
        request, answers = self.access.payload, self.readback
        word = UQ(len(request.word), 0)
        named = {
            StimulationRegister.SHAPE: len(SHAPES),
            StimulationRegister.BLANK_MODE: len(BLANK_MODES),
        }
        answer, has_effect, taken = Signal(len(request.word)), Signal(), Signal()
        m.d.comb += [
            self.access.ready.eq(Mux(request.write, ~judging, ~answers.valid)),
            taken.eq(self.access.valid & self.access.ready),
            writes.eq(taken & request.write & has_effect),
        ]
        with m.Switch(request.register):
            for register in SETTINGS:
                setting = written[register.field]
                with m.Case(register):
                    m.d.comb += answer.eq(setting)
                    exists = request.word < named[register] if register in named else Const(1)
                    m.d.comb += has_effect.eq(~request.write | exists)
                    with m.If(writes):
                        m.d.sync += setting.eq(resize(request.word, word, UQ(len(setting), 0)))
            for register, value in zip(READ_ONLY, (self.status, self.fault), strict=True):
                with m.Case(register):
                    m.d.comb += [answer.eq(value), has_effect.eq(~request.write)]
        with m.If(answers.ready):
            m.d.sync += answers.valid.eq(0)
        with m.If(taken & ~request.write):
            m.d.sync += [answers.valid.eq(1), answers.payload.eq(answer)]
        with m.If(taken & ~has_effect):
            m.d.sync += self.rejected.eq(1)
