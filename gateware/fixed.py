"""The hardware of ``microzone.golden_model.fixed``: narrowing a raw word, explicitly.

Amaranth's ``.eq()`` floors and wraps in silence, so no arithmetic relies on it: a number is narrowed by
:func:`resize` with a rounding and an overflow mode, the enums of the golden model.
"""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value, ValueLike

from ..golden_model.fixed import Overflow, QFormat, Rounding

__all__ = ["resize"]


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
        half = word[drop - 1]
        if rounding is Rounding.HALF_UP:
            rounded = kept + half
        elif rounding is Rounding.HALF_EVEN:
            odd = word[drop] if len(word) > drop else Const(0)
            rounded = kept + (half & (word[: drop - 1].any() | odd))
        else:
            rounded = kept
    else:
        rounded = word.shift_left(-drop)
    if overflow is Overflow.SATURATE:
        rounded = _saturate(rounded, target)
    bits = (rounded | Const(0, target.width))[: target.width]  # extended by its sign, then cut
    return bits.as_signed() if target.signed else bits


def _saturate(word: Value, target: QFormat) -> Value:
    """Hold `word` at the limits of `target`, testing only the limits that it can pass."""
    shape = word.shape()
    highest = (1 << shape.width - shape.signed) - 1
    lowest = -(1 << shape.width - 1) if shape.signed else 0
    if highest > target.raw_max:
        word = Mux(word > target.raw_max, Const(target.raw_max, target.as_shape()), word)
    if lowest < target.raw_min:
        word = Mux(word < target.raw_min, Const(target.raw_min, target.as_shape()), word)
    return word
