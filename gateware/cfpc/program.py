"""The forward model of CFPC as a program of products, one a clock cycle, and the cycles that a step takes.

A slot is fetched in the cycle after that in which it is issued; then it is multiplied, added, and in the
fourth cycle the sum of its row is narrowed. One input's program is issued straight after the other's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from amaranth.utils import ceil_log2

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.words import FilterWords, Raw
from ..events import channel_shape

__all__ = ["CfpcTiming", "Slot", "Source", "forward_program"]

# Cycles after a slot is issued.
_FETCH, _MULTIPLY, _NARROW = 1, 2, 4
_KEEP = _NARROW + 1
"""The trace is in its register, and goes with its basis to the line; u is made."""
_FED = _KEEP + 1
"""u is in its register."""


class Source(enum.Enum):
    """What a slot's coefficient multiplies."""

    NOTHING = 0
    STATE = 1
    INPUT = 2
    """u as long ago as the forward model has delay."""
    BASIS = 3
    """The basis itself, in a forward model without delay."""


@dataclass(frozen=True)
class Slot:
    """A product of the forward model.

    Attributes
    ----------
    source : Source
    coefficient : int
        Raw; 0 where there is nothing to multiply.
    state : int
        Which one, for ``Source.STATE``.
    first, last : bool
        Of the row: of h, then of each state after the step.
    trace : bool
        The row is that of h.
    store : bool
        While this slot is fetched u takes the place of the delayed one.
    """

    source: Source = Source.NOTHING
    coefficient: int = 0
    state: int = 0
    first: bool = False
    last: bool = False
    trace: bool = False
    store: bool = False


def forward_program(words: FilterWords) -> tuple[Slot, ...]:
    """The slots for one input, coefficients of 0 left out; with pauses where a result is waited for.

    Parameters
    ----------
    words : FilterWords
    """
    order, delayed = words.order, words.delay > 0
    slots = _row(words, words.c, words.d, Source.INPUT if delayed else Source.BASIS, trace=True)
    trace_ends = len(slots) - 1
    for i in range(order):
        for slot in _row(words, words.a[i], int(words.b[i]), Source.INPUT):
            # Without a delay it multiplies what the trace has a part in.
            while not delayed and slot.source is Source.INPUT and len(slots) + _MULTIPLY < trace_ends + _FED:
                slots.append(Slot(first=slot.first))
                slot = replace(slot, first=False)
            slots.append(slot)
    # The next basis takes the place of this one in the cycle after the last slot's fetch.
    _pause(slots, trace_ends + _KEEP - _FETCH + 1)
    if delayed:
        inputs = [n for n, slot in enumerate(slots) if slot.source is Source.INPUT]
        store = max(trace_ends + _FED - _FETCH, *(n + 1 for n in inputs), 0)
        results = {n + _NARROW for n, slot in enumerate(slots) if slot.last and not slot.trace}
        while store + _FETCH in results:  # the memory is taken: states are in it too
            store += 1
        _pause(slots, store + 1)
        slots[store] = replace(slots[store], store=True)
    return tuple(slots)


def _row(
    words: FilterWords, of_states: Raw, of_input: int, source: Source, *, trace: bool = False
) -> list[Slot]:
    terms = [Slot(Source.STATE, int(word), state) for state, word in enumerate(of_states) if word]
    if of_input:
        # A delayed input first, so that its place is soon free; u of the same step last.
        terms.insert(0 if words.delay else len(terms), Slot(source, of_input))
    terms = [replace(slot, trace=trace) for slot in terms or [Slot()]]
    terms[0] = replace(terms[0], first=True)
    terms[-1] = replace(terms[-1], last=True)
    return terms


def _pause(slots: list[Slot], count: int) -> None:
    slots.extend([Slot()] * (count - len(slots)))


class CfpcTiming:
    """Clock cycles of the adaptive filter, known without making it.

    Parameters
    ----------
    config : CfpcConfig

    Attributes
    ----------
    words : FilterWords
    program : tuple of Slot
        Of the forward model, for one input.
    cycles_per_step : int
        From the acceptance of a step's last sample to the cycle in which `outputs` is valid.
    step_cycles : int
        From the acceptance of a step's first sample until the next step's first can be accepted, where
        samples are offered and the output is taken at once.
    initialise_cycles : int
        After reset, before the first sample or access is served.
    state_rows, operand_rows, weight_rows : int
        Of the memories: both banks of states; these and the delayed u; the weights.

    Raises
    ------
    ConfigError
        As ``FilterWords.of``.
    """

    def __init__(self, config: CfpcConfig) -> None:
        self.config = config
        self.words = words = FilterWords.of(config)
        self.program = forward_program(words)
        # A pass takes two cycles a synapse, and four for the last one to go through.
        self.cycles_per_step = len(self.program) + 2 * words.count + 3
        self.step_cycles = len(self.program) * (words.inputs - 1) + self.cycles_per_step + 1
        # Rows of each memory that is cleared, all of them at the same time.
        bits = channel_shape(words.order).width + ceil_log2(words.inputs) + 1
        self.state_rows = 1 << bits if words.order else 0
        self.operand_rows = max(self.state_rows + words.delay * words.inputs, 2)
        self.weight_rows = 1 << max(ceil_log2(words.count), 1)
        self.initialise_cycles = max(words.line_words, self.operand_rows, self.weight_rows)

    def fits(self, clock_hz: float) -> bool:
        """Whether a step is over before the next one of ``time.step_s`` begins."""
        return self.step_cycles <= clock_hz * self.config.time.step_s

    def most_bases(self, clock_hz: float) -> int:
        """So many synapses have the time in a step, with the forward model of this configuration."""
        own = 0 if self.words.spacing else len(self.program)
        once = self.step_cycles - self.words.count * (2 + own)
        return max(int((clock_hz * self.config.time.step_s - once) / (2 + own)), 0)
