"""How far the fixed-point filter is from float, word by word: which bits learning needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..fixed import QFormat, Rounding
from ..sections import ConfigError
from .config import WIDEST, CfpcConfig
from .filter import AdaptiveFilterFloat, run_trials
from .fixed_filter import AdaptiveFilterFixed
from .systems import Reals
from .words import FilterWords

__all__ = [
    "RANGES", "TOLERANCE", "WordLength", "deviations", "points", "smallest", "study", "together", "with_word",
]  # fmt: skip

TOLERANCE = 0.002
"""Largest deviation of the error in any trial that counts as none."""

RANGES: Mapping[str, tuple[int, int]] = {
    "weight": (12, 24),
    "signal": (6, 18),
    "state": (9, 20),
    "coefficient": (8, 23),
}
"""Fraction bits that are tried of each word, lowest and highest."""


@dataclass(frozen=True)
class WordLength:
    """One point of the study.

    Attributes
    ----------
    word : str
        Field of ``[formats]``.
    format : QFormat
        Its format.
    rounding : Rounding
        Of the change of w.
    coefficient : QFormat
        With the integer bits that this format leaves it to need.
    deviation : float
        Largest ``|rmse_fixed / rmse_float - 1|`` of all trials; infinite where the format leaves
        ``coefficient`` to need more bits than there are.
    trial : int
        In which it is, counted from 1.
    final : float
        Signed, of the last trial.
    """

    word: str
    format: QFormat
    rounding: Rounding
    coefficient: QFormat
    deviation: float
    trial: int
    final: float

    @property
    def within(self) -> bool:
        """No further from float than the tolerance."""
        return self.deviation <= TOLERANCE


def deviations(config: CfpcConfig, reference: Reals) -> Reals:
    """``rmse_fixed / rmse_float - 1`` of each trial, on-line, shape (trials,).

    Parameters
    ----------
    config : CfpcConfig
    reference : ndarray, shape (trials,)
        Root mean square errors of the float filter.
    """
    fixed = run_trials(AdaptiveFilterFixed(config), config, len(reference)).rmse
    return np.asarray(fixed / reference - 1)


def with_word(
    config: CfpcConfig, word: str, fraction_bits: int, rounding: Rounding | None = None
) -> CfpcConfig:
    """The configuration with other fraction bits in one word.

    A narrow state or signal makes coefficients larger; ``coefficient`` gets the integer bits for that and
    keeps its fraction bits, so that nothing else is rounded differently.

    Raises
    ------
    ConfigError
        If there is no such format, or none wide enough for the coefficients.
    """
    formats = config.formats
    changed: dict[str, object] = {"weight_rounding": rounding or formats.weight_rounding}
    try:
        changed[word] = QFormat(True, getattr(formats, word).integer_bits, fraction_bits)
    except ValueError as error:
        raise ConfigError(f"formats.{word}: {error}") from None
    coefficient: QFormat = changed.get("coefficient", formats.coefficient)  # type: ignore[assignment]
    for integer_bits in range(coefficient.integer_bits, WIDEST - coefficient.fraction_bits + 1):
        changed["coefficient"] = QFormat(True, integer_bits, coefficient.fraction_bits)
        wider = config.replace(formats=changed)
        try:
            FilterWords.of(wider)
        except ConfigError as error:
            refusal = error
        else:
            return wider
    raise refusal


def study(
    config: CfpcConfig, trials: int = 50, *, progress: Callable[[int], None] = lambda done: None
) -> list[WordLength]:
    """Each word of the filter in turn, all others as configured; w rounded and truncated.

    Parameters
    ----------
    config : CfpcConfig
    trials : int
        At least 1.
    progress : callable
        Is told the number of points done, of :func:`points`.

    Raises
    ------
    ConfigError
        See :meth:`FilterWords.of`; or if learning makes the error of the float filter larger.
    """
    FilterWords.of(config)
    reference = _reference(config, trials)
    found = []
    for done, (word, bits, rounding) in enumerate(points(config), start=1):
        try:
            changed = with_word(config, word, bits, rounding)
        except ConfigError:  # the configured formats fit, so it is this one
            fmt = QFormat(True, getattr(config.formats, word).integer_bits, bits)
            found.append(WordLength(word, fmt, rounding, config.formats.coefficient, np.inf, 0, np.inf))
        else:
            found.append(_measure(changed, word, reference))
        progress(done)
    return found


def points(config: CfpcConfig) -> Iterator[tuple[str, int, Rounding]]:
    """Word, fraction bits and rounding of w of each point of the study."""
    for word, (low, high) in RANGES.items():
        widest = min(high, WIDEST - getattr(config.formats, word).integer_bits)
        ways = (Rounding.HALF_UP, Rounding.FLOOR) if word == "weight" else (Rounding.HALF_UP,)
        for rounding in ways:
            for bits in range(low, widest + 1):
                yield word, bits, rounding


def smallest(found: Sequence[WordLength], word: str, rounding: Rounding) -> WordLength | None:
    """The narrowest word that is within the tolerance, as all wider ones are; None if the widest is not."""
    kept = None
    of_word = [point for point in found if point.word == word and point.rounding is rounding]
    for point in sorted(of_word, key=lambda point: -point.format.fraction_bits):
        if not point.within:
            break
        kept = point
    return kept


def together(config: CfpcConfig, chosen: Mapping[str, int], trials: int = 50) -> WordLength:
    """All words at once at these fraction bits; the point is that of ``weight``.

    Raises
    ------
    ConfigError
        See :func:`with_word`.
    """
    reference = _reference(config, trials)
    for word, bits in chosen.items():
        config = with_word(config, word, bits)
    return _measure(config, "weight", reference)


def _reference(config: CfpcConfig, trials: int) -> Reals:
    """Errors of the float filter."""
    course = run_trials(AdaptiveFilterFloat(config), config, trials)
    if not course.relative[-1] <= 1:
        raise ConfigError(
            f"eligibility, learning.rate: after {trials} trials the error in float is "
            f"{course.relative[-1]:.3g} times the first one's; only a rule that learns can be compared"
        )
    return course.rmse


def _measure(config: CfpcConfig, word: str, reference: Reals) -> WordLength:
    off = deviations(config, reference)
    worst = int(np.argmax(np.abs(off)))
    return WordLength(
        word=word,
        format=getattr(config.formats, word),
        rounding=config.formats.weight_rounding,
        coefficient=config.formats.coefficient,
        deviation=float(abs(off[worst])),
        trial=worst + 1,
        final=float(off[-1]),
    )
