"""Registers of the stimulation: the settings of a train, judged and put into effect together."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ...golden_model.config import BlankingMode, ChipConfig, ConfigError, PulseShape
from ...golden_model.stimulation import StimulationTiming, TrainSettings
from ..component import Component
from .interlock import InterlockFault
from .program import (
    ADDRESS_BITS,
    CONFIGURED_BANK,
    CONSTANT_BANK,
    FLAGS,
    ROW_BITS,
    START_OF_COPY,
    Bank,
    Flag,
    Row,
    Verdict,
    execute,
    judging_cycles,
    memory_image,
    step_layout,
)

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

SHAPES = (PulseShape.MONOPHASIC, PulseShape.BIPHASIC)
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


_DOING = data.StructLayout(dict.fromkeys(("invert", "refuse", "keep", "count"), 1))
"""Of a step of the program: what it does with the row that it adds, once that has been read."""


class _Judgement:
    """The registers of the program that judges settings.

    Parameters
    ----------
    bits, pulses_bits : int
        Of a word, and of the number of rounds.
    configured : Verdict
        Of the settings after a reset. Nobody writes these: they are about to take effect.

    Attributes
    ----------
    total, rounds : Signal
        The sum, and what is left to do of a step that is repeated.
    found, sound : Signal
        Flags that were kept, and whether nothing was refused.
    at : Signal
        The next step.
    parked, pending : Signal
        It waits; settings that were written are to take effect.
    steps, adds, answering, ripe : Signal
        What the memory shows, read in the cycle before: a step, the row that a step adds, the register that
        an access reads, or the length of a blanking window. With the last the settings can take effect.
    doing : View
        With `adds`: what is done with the row.
    written, used : Signal
        Banks: of what registers were told, and in effect.
    reads, writes, ripens : Signal
        In this cycle: an access reads, or writes, its register; the length of the blanking may be read.
    """

    def __init__(self, bits: int, pulses_bits: int, configured: Verdict) -> None:
        self.total = Signal(bits)
        self.found = Signal(FLAGS, init=configured.flags)
        self.sound = Signal(init=1)
        self.rounds = Signal(pulses_bits, init=configured.pulses)
        self.at = Signal(ADDRESS_BITS - 1, init=START_OF_COPY)
        self.steps = Signal()
        self.adds = Signal()
        self.answering = Signal()
        self.ripe = Signal()
        self.parked = Signal(init=1)
        self.pending = Signal(init=1)
        self.doing = data.View(_DOING, Signal(_DOING, name="doing"))
        self.written = Signal(2, init=CONFIGURED_BANK)
        self.used = Signal(2)
        self.reads = Signal()
        self.writes = Signal()
        self.ripens = Signal()


class StimulationRegisters(Component):
    """The settings: written one by one, judged together, in effect together.

    All of them are in one memory, in three banks: as configured, and two of which one is in effect while the
    other is written. A write has the program of :mod:`.program` judge the bank that it is in; this is
    ``StimulationTiming.refusal``. Then the banks change places, in a cycle without `hold`, and what is in
    effect is copied to the bank that is written next. Written again before that, the bank is judged again.

    The memory has one read port. The pulse generator goes first; the program, and reads of registers, take
    the cycles that it leaves.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    check_cycles : int
        Most clock cycles from a write until it is in effect, without `hold` and `fetch`.
    make_memory : callable
        What the rows are kept in; a search of a proof takes a table instead.

    Members
    -------
    access : In(stream of stimulation_layout(config))
    readback : Out(stream of the word)
    rejected : Out(1)
        See :class:`Stimulation`.
    status : In(STATUS_BITS)
    fault : In(InterlockFault)
        What registers STATUS and FAULT read.
    hold : In(1)
        Keep the settings in effect.
    fetch : In(1)
        Read `row` of the settings in effect, or about to be in the cycle of `applied`.
    row : In(Row)
    word : Out(a word's bits)
        It, in the next cycle.
    applied : Out(1)
        Other settings take effect, from the next cycle on.
    flags : Out(FLAGS)
        Of the settings in effect, by :class:`Flag`.
    pulses : Out(the bits of PULSES)
        PULSES in effect.
    unlength : Out(a word's bits)
        Complement of the length of a blanking window.
    good : Out(1)
        The settings in effect are within the limits, and balanced.
    """

    access: stream.Interface
    readback: stream.Interface
    rejected: Signal
    status: Signal
    fault: Signal
    hold: Signal
    fetch: Signal
    row: Signal
    word: Signal
    applied: Signal
    flags: Signal
    pulses: Signal
    unlength: Signal
    good: Signal

    def __init__(self, config: ChipConfig) -> None:
        self.make_memory: Callable[..., Any] = memory.Memory
        self.timing = timing = StimulationTiming(config)
        self._widths = widths = setting_widths(timing)
        # Beyond the steps: one to begin, and two to read the length of the blanking and take effect.
        self.check_cycles = judging_cycles(widths[StimulationRegister.PULSES]) + 3
        layout = stimulation_layout(config)
        bits, pulses = layout["word"].width, widths[StimulationRegister.PULSES]
        words = {Row[r.name]: word for r, word in settings_words(timing.settings).items()}
        self._configured = execute(timing, words, bits, pulses)
        if not self._configured.good:
            raise ConfigError(
                "stimulation: the configured train breaks a limit that StimulationTiming missed"
            )
        super().__init__(
            {
                "access": In(stream.Signature(layout)),
                "readback": Out(stream.Signature(layout["word"].shape)),
                "rejected": Out(1),
                "status": In(STATUS_BITS),
                "fault": In(InterlockFault),
                "hold": In(1),
                "fetch": In(1),
                "row": In(Row),
                "word": Out(bits),
                "applied": Out(1),
                "flags": Out(FLAGS),
                "pulses": Out(pulses),
                "unlength": Out(bits),
                "good": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = len(self.word)
        m.submodules.rows = rows = self.make_memory(
            shape=max(bits, step_layout().size),
            depth=1 << ADDRESS_BITS,
            init=memory_image(self.timing, self._configured, bits),
            attrs={"ram_style": "block"},
        )
        read, write = rows.read_port(), rows.write_port()
        now = _Judgement(bits, len(self.pulses), self._configured)
        word, special = self._accesses(m, now)

        # The step that the memory shows, and whether it does something; whether the port is the program's.
        step = data.View(step_layout(), read.data[: step_layout().size])
        free = ~self.fetch & ~now.writes
        repeats = (now.rounds != 1) & now.sound
        does = now.steps & ~(step.needs & ~now.found[Flag.APART.value]) & ~(step.repeat & ~repeats)

        # The memory: read for the first who wants it, written by an access or else by the program.
        target = Mux(now.writes, self.access.payload.register, step.target)
        m.d.comb += [
            now.ripens.eq(now.parked & now.pending & ~self.hold),
            read.addr.eq(self._address(now, step)),
            self.word.eq(read.data),
            write.en.eq(now.writes | (does & step.writes)),
            write.addr.eq(_row_address(now.written, target)),
            write.data.eq(word),
            self.applied.eq(now.ripe & ~self.hold),
        ]
        # What it shows in the next cycle.
        runs = ~now.parked & ~now.steps & ~now.answering & ~self.readback.valid
        m.d.sync += [
            now.steps.eq(runs & free),
            now.adds.eq(does & free),
            now.answering.eq(now.reads),
            now.ripe.eq(now.ripens & free & ~now.ripe),
            now.doing.eq(Mux(does & free, Cat(step.invert, step.refuse, step.keep, step.count), 0)),
        ]
        self._judge(m, now, read.data, step, does, free, special)
        self._take_effect(m, now, read.data)
        return m

    def _accesses(self, m: Module, now: _Judgement) -> tuple[Value, Value]:
        """Take accesses and answer them; what is written, and what a read-only register reads."""
        request, answers = self.access.payload, self.readback
        # Those that write wait while settings are copied; those that read, for a free sum, too.
        free_to_read = now.parked & ~self.fetch & ~now.ripens & ~now.adds & ~now.answering & ~answers.valid
        m.d.comb += now.reads.eq(self.access.valid & ~request.write & free_to_read)
        writable = (now.parked | now.pending) & ~now.ripens & ~now.ripe & now.written.any()
        word, special = self._serve(m, writable, now.reads, now.writes, now.total)
        # The answer is a sum: of 0 and the row of a setting, or of what a read-only register reads and a row
        # that nobody writes.
        with m.If(answers.ready):
            m.d.sync += answers.valid.eq(0)
        with m.If(now.answering):
            m.d.sync += answers.valid.eq(1)
        m.d.comb += answers.payload.eq(now.total)
        return word, special

    def _address(self, now: _Judgement, step: data.View[data.StructLayout]) -> Value:
        """What the memory shows next: the first of the reasons to read it, in their order.

        A row that is read while it is written is not used: a write begins the judgement anew.
        """
        of_generator = _row_address(Mux(self.applied, now.written, now.used), self.row)
        settings = Mux(step.bank == Bank.USED, now.used, now.written)
        of_step = _row_address(Mux(step.bank == Bank.CONSTANTS, CONSTANT_BANK, settings), step.row)
        asked = Mux(now.ripens, Row.LENGTH.value, self.access.payload.register)
        of_access = _row_address(now.written, asked)
        next_step = Cat(now.at, Const(1, 1))
        return Mux(self.fetch, of_generator, Mux(now.steps, of_step, Mux(now.parked, of_access, next_step)))

    def _judge(
        self,
        m: Module,
        now: _Judgement,
        row: Value,
        step: data.View[data.StructLayout],
        does: Value,
        free: Value,
        special: Value,
    ) -> None:
        """The adder, and what becomes of its carry."""
        total, doing, bits = now.total, now.doing, len(now.total)
        sums = (total + row[:bits])[: bits + 1]
        carry = sums[bits]
        with m.If(now.adds | now.answering):
            m.d.sync += total.eq(sums[:bits] ^ doing.invert.replicate(bits))
        with m.If(now.reads | (does & step.clear)):
            m.d.sync += total.eq(Mux(now.reads, special, 0))
        with m.If(doing.refuse & carry):
            m.d.sync += now.sound.eq(0)
        with m.If(doing.keep):
            m.d.sync += now.found.eq(Cat(carry, now.found))
        with m.If(does & step.repeat & free):
            m.d.sync += now.rounds.eq(now.rounds - 1)
        with m.Elif(doing.count):
            m.d.sync += now.rounds.eq(row)
        with m.If(now.steps & (free | ~does) & ~(does & step.repeat)):
            m.d.sync += [now.at.eq(now.at + 1), now.parked.eq(step.park)]

    def _take_effect(self, m: Module, now: _Judgement, row: Value) -> None:
        """The banks change places, and the program goes on to copy; a write has it judge from the start."""
        used, written = now.used, now.written
        with m.If(self.applied):
            m.d.sync += [
                self.flags.eq(now.found),
                self.pulses.eq(now.rounds),
                self.unlength.eq(~row),
                self.good.eq(now.sound),
                used.eq(written),
                written.eq(Cat(~written[0], written[0])),
                now.parked.eq(0),
                now.pending.eq(0),
            ]
        with m.If(now.writes):
            m.d.sync += [now.at.eq(0), now.parked.eq(0), now.pending.eq(1), now.sound.eq(1)]

    def _serve(
        self, m: Module, writable: Value, reads: Signal, writes: Signal, total: Signal
    ) -> tuple[Value, Value]:
        """What is written, in a cycle with `writes`, else `total`; and what a read-only register reads."""
        request = self.access.payload
        asked = Value.cast(request.register)
        bits = len(request.word)
        # A write takes two cycles, so that each bit of the memory's input has one choice of two registers
        # before it. In the first it `begins`; it goes `beyond` a register with a word that is too wide, and
        # `has_effect` unless it is refused. In the second one of `writes` and `refuses` is up, and with it
        # `saturates` where all bits of the register are to be 1.
        begins, beyond, has_effect, saturates, refuses = (
            Signal(name=name) for name in ("begins", "beyond", "has_effect", "saturates", "refuses")
        )
        # Bits that the register has; those of them that are written, in the second cycle. Registers come in
        # a few widths: from one to the next wider all bits have the same.
        fits, picks = Signal(bits), Signal(bits)
        below = 0
        for width in sorted(set(self._widths.values())):
            wide = [register.value for register, other in self._widths.items() if other >= width]
            there, pick = Signal(name=f"from_{below}"), Signal(name=f"pick_{below}")
            m.d.comb += [
                there.eq(_is_one_of(asked, wide)),
                fits[below:width].eq(there.replicate(width - below)),
                picks[below:width].eq(pick.replicate(width - below)),
            ]
            m.d.sync += pick.eq(begins & has_effect & (~beyond | there))
            below = width
        written = Cat(
            Mux(saturates, pick, Mux(pick, given, kept))
            for pick, given, kept in zip(picks, request.word, total, strict=True)
        )
        # Words that name no shape, or no mode of blanking, are refused.
        named = {
            StimulationRegister.SHAPE: len(SHAPES),
            StimulationRegister.BLANK_MODE: len(BLANK_MODES),
        }
        unnamed = Cat(
            (asked == register.value) & (beyond | (request.word[: self._widths[register]] >= names))
            for register, names in named.items()
        ).any()
        m.d.comb += [
            has_effect.eq((asked < len(SETTINGS)) & ~unnamed),
            beyond.eq((request.word & ~fits).any()),
            begins.eq(self.access.valid & request.write & writable & ~writes & ~refuses),
            self.access.ready.eq(reads | writes | refuses),
        ]
        m.d.sync += [
            writes.eq(begins & has_effect),
            refuses.eq(begins & ~has_effect),
            saturates.eq(begins & has_effect & beyond),
        ]
        with m.If(refuses | (reads & (asked >= len(StimulationRegister)))):
            m.d.sync += self.rejected.eq(1)
        special = Mux(
            asked == StimulationRegister.STATUS.value,
            self.status,
            Mux(asked == StimulationRegister.FAULT.value, Value.cast(self.fault), 0),
        )
        return written, special


def _row_address(bank: ValueLike, row: ValueLike) -> Value:
    return Cat(Value.cast(row), Const(0, ROW_BITS))[:ROW_BITS] | (Value.cast(bank) << ROW_BITS)


def _is_one_of(value: Value, numbers: list[int]) -> Value:
    """Whether a value is one of some, by a table of bits."""
    return Const(sum(1 << number for number in numbers), 1 << len(value)).bit_select(value, 1)
