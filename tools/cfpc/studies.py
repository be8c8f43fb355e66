"""The studies of CFPC as numbers and tables: robustness, word lengths; for the command line and for docs/."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from rich.console import Console

from ...golden_model.cfpc import robustness as robust
from ...golden_model.cfpc import word_lengths as words
from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.robustness import Change, Robustness, Verdict
from ...golden_model.cfpc.word_lengths import WordLength
from ...golden_model.fixed import Rounding
from ..report.output import progress_bar

__all__ = [
    "CFPC_STUDY_TABLES",
    "ROUNDINGS",
    "combined_words",
    "describe_limits",
    "robustness_columns",
    "robustness_facts",
    "robustness_row",
    "study_robustness",
    "study_word_lengths",
    "word_length_facts",
    "word_length_rows",
]  # fmt: skip

ROUNDINGS = {Rounding.HALF_UP: "rounded", Rounding.FLOOR: "truncated"}
_TRIALS = 200
_SHOWN = 50
"""Beside the last trial."""
_SLOW = 2.0**-10
"""η of the second table."""


def study_robustness(config: CfpcConfig, trials: int, where: Console) -> list[Robustness]:
    """Every rule on every loop, with a progress bar; see ``robustness.study``."""
    total = len(robust.STUDIED) * len(robust.CHANGES)
    with progress_bar("robustness", total, where) as advance:
        return robust.study(config, trials, progress=advance)


def study_word_lengths(config: CfpcConfig, trials: int, where: Console) -> list[WordLength]:
    """Every format in turn, with a progress bar; see ``word_lengths.study``."""
    with progress_bar("word lengths", sum(1 for _ in words.points(config)), where) as advance:
        return words.study(config, trials, progress=advance)


# --- as numbers -------------------------------------------------------------------------------


def robustness_facts(config: CfpcConfig, found: Sequence[Robustness]) -> dict[str, Any]:
    """For JSON; null where an error is no number."""
    return {
        "task": config.task.name,
        "rate": config.learning.rate,
        "reactive_limits": {key: _number(x) for key, x in robust.reactive_limits(config).items()},
        "rules": [
            {
                "change": one.change.name,
                "rule": one.rule,
                "reactive_spectral_radius": one.reactive_radius,
                "optimum": one.optimum,
                "relative": [_number(share) for share in one.relative],
                "smallest_eigenvalue": one.smallest_eigenvalue,
                "highest_batch_rate": one.highest_rate,
                "growth": one.growth,
                "verdict": str(one.verdict),
            }
            for one in found
        ],
    }


def word_length_facts(config: CfpcConfig, found: Sequence[WordLength], trials: int) -> dict[str, Any]:
    """For JSON; null where the coefficients do not fit."""
    best = _narrowest(found)
    return {
        "task": config.task.name,
        "trials": trials,
        "tolerance": words.TOLERANCE,
        "points": [
            {
                "word": one.word,
                "format": str(one.format),
                "weight_rounding": one.rounding.value,
                "coefficient": str(one.coefficient),
                "deviation": _number(one.deviation),
                "trial": one.trial,
                "final": _number(one.final),
            }
            for one in found
        ],
        "smallest": {
            f"{word}, {ROUNDINGS[rounding]}": None if point is None else str(point.format)
            for (word, rounding), point in best.items()
        },
    }


def describe_limits(limits: Mapping[str, float]) -> str:
    """Where the reactive loop ceases to be stable by itself, in a sentence."""
    ends = {
        f"time constant × {limits['time_constant']:.3f}": limits["time_constant"] > 0,
        f"gain × {limits['gain']:.3f}": np.isfinite(limits["gain"]),
        f"delay + {1000 * limits['delay_s']:g} ms": np.isfinite(limits["delay_s"]),
    }
    met = ", ".join(text for text, is_met in ends.items() if is_met)
    return f"without learning, the reactive loop becomes unstable at {met or 'no change that was tried'}"


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _narrowest(found: Sequence[WordLength]) -> dict[tuple[str, Rounding], WordLength | None]:
    studied = dict.fromkeys((point.word, point.rounding) for point in found)
    return {key: words.smallest(found, *key) for key in studied}


def combined_words(
    config: CfpcConfig, found: Sequence[WordLength], spare: int, trials: int
) -> WordLength | None:
    """All the narrowest words at once, with some bits more each; None if a word has none."""
    best = {word: point for (word, way), point in _narrowest(found).items() if way is Rounding.HALF_UP}
    bits = {word: point.format.fraction_bits + spare for word, point in best.items() if point is not None}
    return words.together(config, bits, trials) if len(bits) == len(best) else None


# --- as tables --------------------------------------------------------------------------------


def robustness_columns(trials: int) -> list[str]:
    """Titles of the cells of :func:`robustness_row`."""
    return ["rule", *(f"trial {n}" for n in _shown(trials)), "eigenvalue", "growth", "verdict"]


def robustness_row(one: Robustness) -> list[str]:
    """Rule, rRMSE of some trials, smallest eigenvalue, growth, verdict."""
    shares = [_share(one.relative[n - 1]) for n in _shown(len(one.relative))]
    return [one.rule, *shares, f"{one.smallest_eigenvalue:.3g}", f"{one.growth:.3f}", str(one.verdict)]


def _shown(trials: int) -> list[int]:
    return sorted({min(_SHOWN, trials), trials})


def _share(share: float) -> str:
    if not share < 1000:
        return "> 1000"
    return f"{share:.0f}" if share >= 100 else f"{share:.2g}" if share >= 1 else f"{share:.3f}"


def word_length_rows(found: Sequence[WordLength]) -> tuple[list[str], list[list[str]]]:
    """Header, and a row for each number of fraction bits: the deviation in percent, word by word."""
    columns = list(dict.fromkeys((point.word, point.rounding) for point in found))
    cells = {(point.word, point.rounding, point.format.fraction_bits): point for point in found}
    bits = sorted({point.format.fraction_bits for point in found})
    rows = [[str(n), *(_percent(cells.get((*column, n))) for column in columns)] for n in bits]
    titles = [f"{word}, {ROUNDINGS[way]}" if word == "weight" else word for word, way in columns]
    return ["fraction bits", *titles], rows


def _percent(point: WordLength | None) -> str:
    if point is None:
        return ""
    if not np.isfinite(point.deviation):
        return "does not fit"
    percent = 100 * point.deviation
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}" if percent >= 1 else f"{percent:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _markdown_robustness() -> str:
    rows: list[list[str]] = []
    for change, ones in groupby(robust.study(CfpcConfig.make(), _TRIALS), key=lambda one: one.change):
        loop = None
        for one in ones:
            loop = [change.name, f"{one.optimum:.3f}"] if loop is None else ["", ""]
            *cells, verdict = robustness_row(one)
            rows.append([*loop, *cells, verdict if one.verdict is Verdict.LEARNS else f"**{verdict}**"])
    return _table(["really there", "optimum", *robustness_columns(_TRIALS)], rows)


def _markdown_slow() -> str:
    """The same at a lower rate: a row a loop, a column a rule."""
    rows = []
    found = robust.study(CfpcConfig.make(learning={"rate": _SLOW}), _TRIALS)
    for change, ones in groupby(found, key=lambda one: one.change):
        cells = [_share(one.relative[-1]) if one.growth < 1 else f"**{one.verdict}**" for one in ones]
        rows.append([change.name, *cells])
    return _table([f"trial {_TRIALS} at η = 2^-10", *robust.STUDIED], rows)


def _markdown_reactive() -> str:
    config = CfpcConfig.make()
    limits = robust.reactive_limits(config)
    changes = (
        *robust.CHANGES,
        Change(f"time constant × {limits['time_constant']:.3f}", time_constant=limits["time_constant"]),
        Change(f"gain × {limits['gain']:.3f}", gain=limits["gain"]),
        Change(f"delay + {1000 * limits['delay_s']:.0f} ms", delay_s=limits["delay_s"]),
    )
    rows = []
    for change in changes:
        radius = robust.changed_loop(config, change).spectral_radius()
        fades = f"{config.time.step_s / -np.log(radius):.2g} s" if radius < 1 else "**unstable**"
        rows.append([change.name, f"{radius:.5f}", fades])
    return _table(["really there", "spectral radius a step", "its slowest mode falls to 1/e in"], rows)


@cache
def _default_words(task: str) -> tuple[CfpcConfig, list[WordLength]]:
    config = CfpcConfig.blink() if task == "blink" else CfpcConfig.make()
    return config, words.study(config)


def _markdown_words() -> str:
    config, found = _default_words("pursuit")
    header, rows = word_length_rows(found)
    for row in rows:
        for column, (word, _) in enumerate(_narrowest(found), start=1):
            if row[0] == str(getattr(config.formats, word).fraction_bits):
                row[column] = f"**{row[column]}**"
    return _table(header, rows)


def _markdown_narrowest() -> str:
    rows: list[list[str]] = []
    header: list[str] = []
    for task in ("pursuit", "blink"):
        config, found = _default_words(task)
        best = _narrowest(found)
        header = [
            "task",
            *(f"{word}, {ROUNDINGS[way]}" if word == "weight" else word for word, way in best),
            "all at once, rounded",
            "all with a bit more",
        ]
        at_once = (combined_words(config, found, spare, 50) for spare in (0, 1))
        rows.append(
            [
                task,
                *("none" if point is None else f"`{point.format}`" for point in best.values()),
                *("" if point is None else f"{_percent(point)} %" for point in at_once),
            ]
        )
    return _table(header, rows)


CFPC_STUDY_TABLES: Mapping[str, Callable[[], str]] = {
    "cfpc-robustness": _markdown_robustness,
    "cfpc-robustness-slow": _markdown_slow,
    "cfpc-reactive": _markdown_reactive,
    "cfpc-word-lengths": _markdown_words,
    "cfpc-narrowest": _markdown_narrowest,
}
"""What a marker can name."""
