"""Fixed-point number formats and the two operations that lose bits: quantise and resize.

A fixed-point number is an integer, the *raw word*, and a :class:`QFormat` that says where its binary
point lies: ``value = raw * 2**-fraction_bits``. Everything else in the golden model is exact integer
arithmetic on raw words, so bits are lost in :func:`quantize` and :func:`resize` and nowhere else.
``microzone.gateware.fixed`` holds the same ``resize`` in hardware, with the same enums.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from amaranth.hdl import Shape

__all__ = ["SQ", "UQ", "WIDEST", "Overflow", "QFormat", "Rounding", "quantize", "resize", "to_real"]

WIDEST = 62
"""Widest raw word in bits: 64-bit integers then hold it with room for the half LSB of rounding."""

_PATTERN = re.compile(r"\s*([SU])Q\(\s*(\d+)\s*,\s*(\d+)\s*\)\s*")


class Rounding(enum.Enum):
    """What becomes of the bits below the new LSB.

    ========= ====== ===== ===== ====== ======
    mode       -1.5   -0.5   0.5   1.5    2.25
    ========= ====== ===== ===== ====== ======
    HALF_UP    -1      0     1     2      2
    HALF_EVEN  -2      0     0     2      2
    FLOOR      -2     -1     0     1      2
    ========= ====== ===== ===== ====== ======
    """

    HALF_UP = "half-up"
    HALF_EVEN = "half-even"
    FLOOR = "floor"


class Overflow(enum.Enum):
    """What becomes of a value outside the new range: held at the limit, or its top bits dropped."""

    SATURATE = "saturate"
    WRAP = "wrap"


@dataclass(frozen=True)
class QFormat:
    """A fixed-point format; the integer bits of a signed one count its sign bit (Amaranth RFC 41).

    Parameters
    ----------
    signed : bool
        Two's complement if true.
    integer_bits, fraction_bits : int
        Bits left and right of the binary point. Their sum is from 1 to 62.

    Raises
    ------
    ValueError
        If a count is negative, a signed format has no sign bit, or the width is out of range.
    """

    signed: bool
    integer_bits: int
    fraction_bits: int

    def __post_init__(self) -> None:
        if self.integer_bits < int(self.signed) or self.fraction_bits < 0:
            raise ValueError(f"{self}: needs integer bits >= {int(self.signed)}, fraction bits >= 0")
        if not 1 <= self.width <= WIDEST:
            raise ValueError(f"{self}: width {self.width} is outside 1 to {WIDEST} bits")

    @classmethod
    def parse(cls, text: str) -> QFormat:
        """Read ``"UQ(0,24)"`` or ``"SQ(16,8)"``; ValueError if it is neither."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a format such as 'UQ(0,24)' or 'SQ(16,8)'")
        return cls(match[1] == "S", int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{'SU'[not self.signed]}Q({self.integer_bits},{self.fraction_bits})"

    @property
    def width(self) -> int:
        """Bits of the raw word."""
        return self.integer_bits + self.fraction_bits

    @property
    def raw_min(self) -> int:
        """Smallest raw word."""
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def raw_max(self) -> int:
        """Largest raw word."""
        return (1 << self.width - self.signed) - 1

    @property
    def lsb(self) -> float:
        """Value of the least significant bit."""
        return 2.0**-self.fraction_bits

    @property
    def min(self) -> float:
        """Smallest value."""
        return self.raw_min * self.lsb

    @property
    def max(self) -> float:
        """Largest value."""
        return self.raw_max * self.lsb

    def as_shape(self) -> Shape:
        """The Amaranth shape of the raw word."""
        from amaranth.hdl import Shape  # the golden model runs without Amaranth

        return Shape(self.width, signed=self.signed)


def SQ(integer_bits: int, fraction_bits: int) -> QFormat:  # noqa: N802 - the name of RFC 41
    """A signed format; ``integer_bits`` counts the sign."""
    return QFormat(True, integer_bits, fraction_bits)


def UQ(integer_bits: int, fraction_bits: int) -> QFormat:  # noqa: N802 - the name of RFC 41
    """An unsigned format."""
    return QFormat(False, integer_bits, fraction_bits)


def quantize(
    x: npt.ArrayLike,
    fmt: QFormat,
    *,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> Any:
    """Real values to raw words: round, then saturate or wrap.

    Parameters
    ----------
    x : array_like of float
        Real values of any shape.
    fmt : QFormat
        Target format.

    Returns
    -------
    int or ndarray of int64
        Raw words, of the shape of `x`; a Python int for a scalar.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or too large to wrap exactly (2**62 LSBs or more).
    """
    scaled = np.ldexp(np.asarray(x, np.float64), fmt.fraction_bits)
    if not np.isfinite(scaled).all():
        raise ValueError(f"cannot quantise {x!r} to {fmt}: not a finite number")
    whole = np.floor(scaled)
    rest = scaled - whole  # exact: floor and the difference are representable
    if rounding is Rounding.HALF_UP:
        whole += rest >= 0.5
    elif rounding is Rounding.HALF_EVEN:
        whole += (rest > 0.5) | ((rest == 0.5) & (np.mod(whole, 2.0) == 1.0))
    if overflow is Overflow.SATURATE:
        # Above 53 bits the float limit rounds up to one past raw_max, hence the second clip.
        whole = np.clip(whole, float(fmt.raw_min), float(fmt.raw_max))
        raw = np.clip(whole.astype(np.int64), fmt.raw_min, fmt.raw_max)
    else:
        if (np.abs(whole) >= 2.0**WIDEST).any():
            raise ValueError(f"cannot wrap {x!r} into {fmt}: beyond 2**{WIDEST} LSBs")
        raw = _wrap(whole.astype(np.int64), fmt)
    return int(raw) if raw.ndim == 0 else raw


def resize(
    raw: npt.ArrayLike,
    source: QFormat,
    target: QFormat,
    *,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> Any:
    """Raw words of one format to raw words of another: round, then saturate or wrap.

    Parameters
    ----------
    raw : array_like of int
        Raw words in `source`, of any shape.
    source, target : QFormat
        Formats before and after.

    Returns
    -------
    int or ndarray of int64
        Raw words in `target`, of the shape of `raw`; a Python int for a scalar.

    Raises
    ------
    ValueError
        If a raw word lies outside `source`, or the widened word would exceed 62 bits.
    """
    words = np.asarray(raw)
    if words.dtype.kind not in "iub":
        raise ValueError(f"raw words are integers, got {words.dtype}")
    if words.size and (words.min() < source.raw_min or words.max() > source.raw_max):
        raise ValueError(f"raw word outside {source}: {words.min()} to {words.max()}")
    words = words.astype(np.int64)
    drop = source.fraction_bits - target.fraction_bits
    if drop > 0:
        if rounding is Rounding.HALF_UP:
            words = (words + (1 << drop - 1)) >> drop
        elif rounding is Rounding.HALF_EVEN:
            # Half less one LSB, plus the kept part's last bit: a tie moves up only from an odd word.
            words = (words + (1 << drop - 1) - 1 + ((words >> drop) & 1)) >> drop
        else:
            words = words >> drop
    elif drop < 0:
        if source.width - drop > WIDEST:
            raise ValueError(f"{source} to {target}: more than {WIDEST} bits in between")
        words = words << -drop
    if overflow is Overflow.SATURATE:
        words = np.clip(words, target.raw_min, target.raw_max)
    else:
        words = _wrap(words, target)
    return int(words) if words.ndim == 0 else words


def to_real(raw: npt.ArrayLike, fmt: QFormat) -> Any:
    """Raw words to real values (float64, exact up to 53 bits); a Python float for a scalar."""
    value = np.asarray(raw).astype(np.float64)
    np.ldexp(value, -fmt.fraction_bits, out=value)
    return float(value) if value.ndim == 0 else value


def _wrap(words: npt.NDArray[np.int64], fmt: QFormat) -> npt.NDArray[np.int64]:
    """Keep the low ``fmt.width`` bits, read in two's complement if `fmt` is signed."""
    kept = words & ((1 << fmt.width) - 1)
    if fmt.signed:
        kept = kept - ((kept >> fmt.width - 1) << fmt.width)
    return np.asarray(kept, np.int64)
