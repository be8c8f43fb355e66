"""From the place of a register, its byte address without the last two bits, to what it names."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Shape, Value
from amaranth.utils import ceil_log2, exact_log2

from .map import BLOCKS, LEVEL_HIGH, Register, RegisterMap

__all__ = ["CONTROL_BITS", "BlockDecoder", "is_asked", "is_writable"]

CONTROL_BITS = 5
"""Of the number of a control register."""


class BlockDecoder:
    """Where the registers of a block are among the places.

    Parameters
    ----------
    known : RegisterMap
    block : str
    place : Value

    Attributes
    ----------
    number : Value
        Of a register in its part of the block.
    index : Value
        Of the part.
    hit : Value
        The place is in a part that there is.
    owns : Value
        The place is in this block, if it is one of any.

    Raises
    ------
    ValueError
        If a block does not begin at a power of two, or its parts are not next to each other.
    """

    def __init__(self, known: RegisterMap, block: str, place: Value) -> None:
        bits = Shape.cast(BLOCKS[block]).width if block in BLOCKS else CONTROL_BITS
        self._registers = known.block(block)
        self.number, page = place[:bits], place[bits:]
        pages = sorted({register.address >> 2 + bits for register in self._registers})
        starts = sorted(min(r.address for r in known.block(name)) for name in ("control", *BLOCKS))
        if pages != list(range(pages[0], pages[0] + len(pages))) or any(at & (at - 1) for at in starts):
            raise ValueError(
                f"blocks at {starts}, parts of {block} at {[page << 2 + bits for page in pages]}: must begin "
                f"at a power of two, {4 << bits} bytes a part"
            )
        self.index = (page - pages[0])[: max(ceil_log2(len(pages)), 1)]
        self.hit = Cat(page == one for one in pages).any()
        # The highest bit that is set says which block it is.
        own = starts.index(self._registers[0].address)
        self.owns: Value = place[exact_log2(starts[own]) - 2 :].any() if own else Const(1)
        if own + 1 < len(starts):
            self.owns &= ~place[exact_log2(starts[own + 1]) - 2 :].any()

    def names(self, which: Callable[[Register], bool]) -> Value:
        """The place is that of such a register."""
        places = {register.address >> 2 for register in self._registers if which(register)}
        numbers = sorted({place % (1 << len(self.number)) for place in places})
        return self.hit & Cat(self.number == one for one in numbers).any()

    def named(self, name: str) -> Value:
        """The place is that of the register of this name, in any part."""
        return self.names(lambda register: register.name == name)


def is_asked(register: Register) -> bool:
    """It is read by asking its block."""
    return register.readable and register.name != LEVEL_HIGH


def is_writable(register: Register) -> bool:
    """It may be written."""
    return register.writable
