"""How settings of the stimulation are judged: a short program, for one adder that works on rows of a memory.

The adder knows one operation, ``sum = sum + row``; a step may clear the sum before it and invert it after it,
and ``a - b`` is ``~(~a + b)``. So ``~a + b`` carries where ``b > a``, and with the complement of a limit in
the memory a mere sum carries where the limit is exceeded. :func:`execute` is what the gateware makes of it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from amaranth.hdl import Const
from amaranth.lib import data

from ...golden_model.stimulation import StimulationTiming

__all__ = [
    "ADDRESS_BITS",
    "FLAGS",
    "PROGRAM",
    "ROW_BITS",
    "START_OF_COPY",
    "Bank",
    "Constant",
    "Flag",
    "Row",
    "Step",
    "Verdict",
    "address_of",
    "execute",
    "judging_cycles",
    "memory_image",
    "step_layout",
]


class Row(enum.Enum):
    """Of a bank of settings: one each of the registers, by its number, then what follows from them."""

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
    LENGTH = 16  # of a blanking window: from the cycle after a pulse, or after that of the first edge
    # Durations less 1, as the pulse generator counts them.
    PHASE = 17
    BETWEEN = 18  # the phases
    NEAR = 19  # the next pulse: GUARD_BEFORE
    PAUSE = 20  # from the end of a pulse until NEAR or, where that is not shorter, until the next


SETTINGS = tuple(row for row in Row if row.value < Row.LENGTH.value)
ROW_BITS = 5


class Constant(enum.Enum):
    """Rows that nothing writes. BEYOND: a sum with it carries where the other exceeds the limit."""

    ZERO = 0
    ONE = 1
    MINUS_ONE = 2
    LEAST_PERIOD = 3
    BEYOND_PULSE = 4
    BEYOND_WIDTH = 5
    BEYOND_DURATION = 6
    BEYOND_BLANK = 7
    BEYOND_GUARD = 8


class Bank(enum.Enum):
    """Which bank of rows a step reads."""

    WRITTEN = 0  # what the registers were told
    CONSTANTS = 1
    USED = 2  # the settings in effect


class Flag(enum.Enum):
    """What a judgement finds out, in the order of its steps; the last one is bit 0."""

    LASTS = 6  # BLANK_FIXED is not 0
    BLANKS = 5  # BLANK_MODE is not NONE
    BY_PULSE = 4  # beyond FIXED, if it blanks
    GAPPED = 3  # GAP is not 0
    NEARS = 2  # GUARD_BEFORE is not 0: some of a pause is blanked by pulse
    BIPHASIC = 1
    APART = 0  # the pause is longer than that


FLAGS = len(Flag)


@dataclass(frozen=True)
class Step:
    """One step of the program: what it does with the row that it adds.

    Attributes
    ----------
    row : Row or Constant
    copied : bool
        The row is that of the settings in effect, not of those written.
    store : Row, optional
        Write the sum there first.
    clear, invert : bool
        The sum before, and after.
    refuse : bool
        The settings are not good if it carries.
    keep : bool
        The carry is the next :class:`Flag`.
    needs : bool
        Do nothing unless the flag that was kept last is set.
    count : bool
        Take the row as the number of rounds, too.
    repeat : bool
        Once less than there are rounds; none once the settings are not good.
    park : bool
        Then wait, until the settings can take effect or are written. What it adds is of no account.
    """

    row: Row | Constant = Constant.ZERO
    copied: bool = field(default=False, kw_only=True)
    store: Row | None = field(default=None, kw_only=True)
    clear: bool = field(default=False, kw_only=True)
    invert: bool = field(default=False, kw_only=True)
    refuse: bool = field(default=False, kw_only=True)
    keep: bool = field(default=False, kw_only=True)
    needs: bool = field(default=False, kw_only=True)
    count: bool = field(default=False, kw_only=True)
    repeat: bool = field(default=False, kw_only=True)
    park: bool = field(default=False, kw_only=True)

    @property
    def bank(self) -> Bank:
        """Where its row is."""
        if isinstance(self.row, Constant):
            return Bank.CONSTANTS
        return Bank.USED if self.copied else Bank.WRITTEN


# Of the flags, the shape is found last but one: what only a biphasic pulse has `needs` it.
_JUDGE = (
    Step(Row.BLANK_FIXED, clear=True),
    Step(Constant.MINUS_ONE, keep=True),  # LASTS
    Step(Row.BLANK_MODE, clear=True, store=Row.LENGTH),
    Step(Constant.MINUS_ONE, keep=True),  # BLANKS
    Step(Constant.MINUS_ONE, keep=True),  # BY_PULSE
    Step(Row.GUARD_AFTER, clear=True),
    Step(needs=True, store=Row.LENGTH),
    Step(Row.GAP, clear=True),
    Step(Constant.MINUS_ONE, keep=True),  # GAPPED
    Step(Row.GUARD_BEFORE, clear=True, store=Row.BETWEEN),
    Step(Constant.MINUS_ONE, keep=True),  # NEARS
    Step(Row.SHAPE, clear=True, store=Row.NEAR),
    Step(Constant.MINUS_ONE, keep=True),  # BIPHASIC
    Step(Row.WIDTH, clear=True),
    Step(Constant.MINUS_ONE),
    # Each by itself: not 0, or within a limit.
    Step(Row.WIDTH, clear=True, invert=True, store=Row.PHASE),
    Step(Constant.ONE, refuse=True),
    Step(Row.WIDTH, clear=True),
    Step(Constant.BEYOND_WIDTH, refuse=True),
    Step(Row.PERIOD, clear=True, invert=True),
    Step(Constant.LEAST_PERIOD, refuse=True),
    Step(Row.PERIOD, clear=True),
    Step(Constant.BEYOND_DURATION, refuse=True),
    Step(Row.BLANK_FIXED, clear=True),
    Step(Constant.BEYOND_BLANK, refuse=True),
    Step(Row.GUARD_BEFORE, clear=True),
    Step(Constant.BEYOND_GUARD, refuse=True),
    Step(Row.GUARD_AFTER, clear=True),
    Step(Constant.BEYOND_GUARD, refuse=True),
    # The phases of a biphasic pulse: neither longer than the other.
    Step(Row.WIDTH, clear=True, invert=True),
    Step(Row.WIDTH_ANODIC, needs=True, refuse=True),
    Step(Row.WIDTH_ANODIC, clear=True, invert=True),
    Step(Row.WIDTH, needs=True, refuse=True),
    # The pulse.
    Step(Row.WIDTH, clear=True),
    Step(Row.GAP, needs=True, refuse=True),
    Step(Row.WIDTH_ANODIC, needs=True, refuse=True),
    Step(Constant.BEYOND_PULSE, refuse=True),
    # The train. No pulses at all are so many, of at least the least period, that it is too long.
    Step(Row.PULSES, count=True),
    Step(Row.WIDTH, clear=True),
    Step(Row.GAP, needs=True),
    Step(Row.WIDTH_ANODIC, needs=True),
    Step(Row.PERIOD, repeat=True, refuse=True),
    Step(Constant.BEYOND_DURATION, refuse=True),
    # The pause. Without GUARD_BEFORE it is one piece, too.
    Step(clear=True),
    Step(Row.GAP, needs=True),
    Step(Row.WIDTH_ANODIC, needs=True),
    Step(Row.WIDTH, invert=True),
    Step(Row.PERIOD),
    Step(Row.NEAR, clear=True, invert=True, store=Row.PAUSE),
    Step(Row.PAUSE, keep=True),  # APART
    Step(needs=True, store=Row.PAUSE),
    Step(Row.PULSES, count=True, park=True),
)
# What is in effect, into the bank that is written next.
_COPY = (
    *(
        Step(row, clear=True, copied=True, store=before)
        for row, before in zip(SETTINGS, (None, *SETTINGS), strict=False)
    ),
    Step(store=SETTINGS[-1], park=True),
)
PROGRAM = _JUDGE + _COPY
START_OF_COPY = len(_JUDGE)
_PROGRAM_BITS = (len(PROGRAM) - 1).bit_length()
_BANK_BITS = 2
ADDRESS_BITS = max(_BANK_BITS + ROW_BITS, _PROGRAM_BITS) + 1
"""The program is in the upper half, below it four banks: as configured, two in turn, the constants."""
CONFIGURED_BANK, CONSTANT_BANK = 0, 3
CYCLES_PER_STEP = 2
_SWITCHES = ("clear", "invert", "refuse", "keep", "needs", "count", "repeat", "park")


def address_of(bank: int, row: int) -> int:
    """Where a row of a bank is."""
    return bank << ROW_BITS | row


def judging_cycles(pulses_bits: int) -> int:
    """Clock cycles of the steps of the longest judgement, with registers for PULSES of that many bits."""
    rounds = (1 << pulses_bits) - 1
    return CYCLES_PER_STEP * (len(_JUDGE) + rounds)


def step_layout() -> data.StructLayout:
    """Layout of a step in the memory."""
    switches = dict.fromkeys(("writes", *_SWITCHES), 1)
    return data.StructLayout({"row": ROW_BITS, "bank": Bank, "target": ROW_BITS, **switches})


def _constants(timing: StimulationTiming, bits: int) -> dict[Constant, int]:
    modulus = 1 << bits
    return {
        Constant.ZERO: 0,
        Constant.ONE: 1,
        Constant.MINUS_ONE: modulus - 1,
        Constant.LEAST_PERIOD: timing.period_limit,
        Constant.BEYOND_PULSE: modulus - timing.period_limit,  # a pulse is shorter than the least period
        Constant.BEYOND_WIDTH: modulus - 1 - timing.width_limit,
        Constant.BEYOND_DURATION: modulus - 1 - timing.duration_limit,
        Constant.BEYOND_BLANK: modulus - 1 - timing.blank_limit,
        Constant.BEYOND_GUARD: modulus - 1 - timing.guard_limit,
    }


@dataclass(frozen=True)
class Verdict:
    """What came of judging settings.

    Attributes
    ----------
    good : bool
    flags : int
        By :class:`Flag`.
    pulses : int
    rows : mapping of Row to int
        The settings, and what follows from them.
    cycles : int
        Of the steps.
    """

    good: bool
    flags: int
    pulses: int
    rows: Mapping[Row, int]
    cycles: int


def execute(timing: StimulationTiming, words: Mapping[Row, int], bits: int, pulses_bits: int) -> Verdict:
    """Judge settings as the gateware does.

    Parameters
    ----------
    timing : StimulationTiming
        The limits.
    words : mapping of Row to int
        The words in the registers.
    bits, pulses_bits : int
        Of the sum, and of the number of rounds.

    Returns
    -------
    Verdict
    """
    rows: dict[Row | Constant, int] = {row: words.get(row, 0) for row in Row}
    for constant, word in _constants(timing, bits).items():
        rows[constant] = word
    total = flags = rounds = cycles = at = 0
    good, modulus = True, 1 << bits
    while at < START_OF_COPY:
        step = PROGRAM[at]
        cycles += CYCLES_PER_STEP
        if (step.needs and not flags & 1) or (step.repeat and (rounds == 1 or not good)):
            at += 1
            continue
        if step.store is not None:
            rows[step.store] = total
        total = (0 if step.clear else total) + rows[step.row]
        carry, total = total >= modulus, total % modulus
        total = modulus - 1 - total if step.invert else total
        good = good and not (step.refuse and carry)
        if step.keep:
            flags = (flags << 1 | carry) % (1 << FLAGS)
        if step.count:
            rounds = rows[step.row] % (1 << pulses_bits)
        if step.repeat:
            rounds = (rounds - 1) % (1 << pulses_bits)
        else:
            at += 1
    kept = {row: rows[row] for row in Row}
    return Verdict(good, flags, rounds, kept, cycles)


def memory_image(timing: StimulationTiming, configured: Verdict, bits: int) -> list[int]:
    """The memory as it is made: the configured settings, judged, the constants, and the program."""
    image = [0] * (1 << ADDRESS_BITS)
    for row, word in configured.rows.items():
        image[address_of(CONFIGURED_BANK, row.value)] = word
    for constant, word in _constants(timing, bits).items():
        image[address_of(CONSTANT_BANK, constant.value)] = word
    layout = step_layout()
    for number, step in enumerate(PROGRAM):
        fields: dict[int | str, object] = {name: int(getattr(step, name)) for name in _SWITCHES}
        fields |= {
            "row": step.row.value,
            "bank": step.bank,
            "target": step.store.value if step.store is not None else 0,
            "writes": int(step.store is not None),
        }
        image[(1 << ADDRESS_BITS - 1) + number] = Const.cast(layout.const(fields)).value
    return image
