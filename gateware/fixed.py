"""The hardware of ``microzone.golden_model.fixed``: narrowing a raw word, explicitly; and comparing it.

Amaranth's ``.eq()`` floors and wraps in silence, so no arithmetic relies on it: a number is narrowed by
:func:`resize` with a rounding and an overflow mode, the enums of the golden model.
"""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value, ValueLike

from ..golden_model.fixed import Overflow, QFormat, Rounding

__all__ = ["below", "resize"]


def resize(
    value: ValueLike,
    source: QFormat,
    target: QFormat,
    *,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> Value:
    """Raw words of `source` to raw words of `target`: round, then saturate or wrap. Combinational.

    Parameters
    ----------
    value : ValueLike
        Raw word in `source`.
    source, target : QFormat
        Formats before and after.

    Returns
    -------
    Value
        Of shape ``target.as_shape()``; equal to ``golden_model.fixed.resize`` for every input.

    Raises
    ------
    ValueError
        If the shape of `value` is not that of `source`.
    """
    word = Value.cast(value)
    if word.shape() != source.as_shape():
        raise ValueError(f"value has shape {word.shape()}, {source} needs {source.as_shape()}")
    drop = source.fraction_bits - target.fraction_bits
    if drop > 0:
        kept = word.shift_right(drop)
        first_dropped = word[drop - 1]  # half of what the last bit of `kept` counts
        if rounding is Rounding.HALF_UP:
            rounded = kept + first_dropped
        elif rounding is Rounding.HALF_EVEN:
            odd = word[drop] if len(word) > drop else Const(0)
            rounded = kept + (first_dropped & (word[: drop - 1].any() | odd))
        else:
            rounded = kept
    else:
        rounded = word.shift_left(-drop)
    if overflow is Overflow.SATURATE:
        rounded = _saturate(rounded, target)
    bits = (rounded | Const(0, target.width))[: target.width]  # extended by its sign, then cut
    return bits.as_signed() if target.signed else bits


def below(value: ValueLike, limit: int) -> Value:
    """``value < limit``, for a constant, as a chain of gates from the last bit to the first.

    A comparator made of carries takes a logic cell a bit, this a third of that; it is slower, and narrow
    enough here. Combinational.

    Parameters
    ----------
    value : ValueLike
        Of any shape.
    limit : int
        Any number, inside the range of `value` or not.

    Returns
    -------
    Value
        Of one bit.
    """
    word = Value.cast(value)
    shape = word.shape()
    lowest = -(1 << shape.width - 1) if shape.signed else 0
    if not lowest < limit <= lowest + (1 << shape.width) - 1:
        return Const(int(limit > lowest), 1)
    bits = list(word.as_unsigned())
    if shape.signed:  # counted from the lowest number
        bits[-1] = ~bits[-1]
    less: Value = Const(0, 1)
    for index, bit in enumerate(bits):
        less = (~bit | less) if (limit - lowest) >> index & 1 else (~bit & less)
    return less


def _saturate(word: Value, target: QFormat) -> Value:
    """Hold `word` at the limits of `target`, testing only the limits that it can pass.

    Both are all ones below the sign, or all zeros: a word is inside if the bits above are all its sign.
    """
    shape = word.shape()
    highest = (1 << shape.width - shape.signed) - 1
    lowest = -(1 << shape.width - 1) if shape.signed else 0
    beyond = word.as_unsigned()[target.width - target.signed :]
    negative = word[-1] if shape.signed else Const(0, 1)
    high = ~negative & beyond.any()
    low = negative & ~beyond.all() if target.signed else negative
    if highest > target.raw_max:
        word = Mux(high, Const(target.raw_max, target.as_shape()), word)
    if lowest < target.raw_min:
        word = Mux(low, Const(target.raw_min, target.as_shape()), word)
    return word
