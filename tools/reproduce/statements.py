"""A statement of the paper, what the models make of it, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..report.output import as_json

__all__ = ["MODELS", "PERCENTILES", "Limits", "Reproduction", "Statement", "percentile", "plain", "ratio"]

MODELS = ("float", "fixed", "rtl")
"""Columns of a table, in order."""


@dataclass(frozen=True)
class Limits:
    """Values that bear a statement out: from `low` to `high`, both included. NaN never is."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def describe(self, form: Callable[[float], str]) -> str:
        """For a reader, each limit in the form of the values."""
        if self.low == self.high:
            return form(self.low)
        if math.isinf(self.low):
            return f"at most {form(self.high)}"
        if math.isinf(self.high):
            return f"at least {form(self.low)}"
        return f"{form(self.low)} to {form(self.high)}"


PERCENTILES = Limits(2.5, 97.5)
"""Where a value of the paper's one session must lie among many of ours."""


@dataclass(frozen=True)
class Statement:
    """One statement of the source, tested.

    Parameters
    ----------
    text : str
        What is stated.
    paper : str
        What the paper reports, in its own numbers where it has any.
    values : mapping of str to float
        What each model gives, by name; NaN where a model gives nothing, which bears nothing out.
    limits : Limits
        What it must be for the statement to hold, with every model.
    form : str
        Format of a value: ``{:.0%}``.
    details : mapping of str to str
        Beside the value of a model, for the reader.
    reason : str
        Why it does not hold; told only where it does not.
    """

    text: str
    paper: str
    values: Mapping[str, float]
    limits: Limits
    form: str = "{:.3f}"
    details: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether every model bears it out."""
        return bool(self.values) and all(value in self.limits for value in self.values.values())

    def value(self, model: str) -> str:
        """The value of a model, for a table; empty where it has none."""
        if model not in self.values:
            return ""
        value = self.values[model]
        return "none" if math.isnan(value) else self.form.format(value).replace("inf", "∞")

    def cell(self, model: str) -> str:
        """The same with what is told beside it."""
        shown = self.value(model)
        return f"{shown} ({self.details[model]})" if model in self.details else shown

    @property
    def needs(self) -> str:
        """The limits, for a table."""
        return self.limits.describe(self.form.format)

    def row(self) -> list[str]:
        """Text, paper, limits, a cell a model, verdict."""
        cells = [self.cell(model) for model in MODELS]
        return [self.text, self.paper, self.needs, *cells, self.verdict]

    @property
    def verdict(self) -> str:
        """In a word."""
        return "holds" if self.holds else "does not hold"

    def facts(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        facts: dict[str, Any] = {
            "statement": self.text,
            "paper": self.paper,
            "limits": [self.limits.low, self.limits.high],
            "values": dict(self.values),
            "holds": self.holds,
        }
        if self.details:
            facts["details"] = dict(self.details)
        if not self.holds and self.reason:
            facts["reason"] = self.reason
        return facts


@dataclass(frozen=True)
class Reproduction:
    """One figure, reproduced.

    Attributes
    ----------
    figure : str
        Its number, ``savings``, or ``cfpc-`` and its number in the CFPC paper; ``dsn-`` and its number or
        name in the DSN paper.
    title : str
        What it shows.
    basis : str
        What ours rests on: protocol, number of sessions, seeds.
    assumptions : sequence of str
        In place of what the paper does not say.
    statements : sequence of Statement
    numbers : mapping of str to object
        What is in the picture, and more.
    draw : callable
        Writes the picture (PNG) to a path.
    source : str
        The paper.
    config_sha256 : str or None
        Digest of the configuration, where it is not the setting's.
    """

    figure: str
    title: str
    basis: str
    assumptions: Sequence[str]
    statements: Sequence[Statement]
    numbers: Mapping[str, Any]
    draw: Callable[[Path], None]
    source: str = "Herreros et al. 2014, doi 10.3389/fbioe.2014.00014"
    config_sha256: str | None = None

    @property
    def name(self) -> str:
        """Of its files, without their ending."""
        return self.figure if self.figure == "savings" else f"figure-{self.figure}"

    @property
    def heading(self) -> str:
        """Number and title."""
        paper, _, number = self.figure.partition("-")
        if not number:
            name = self.name.replace("-", " ").capitalize()
        else:
            name = f"{paper.upper()}, figure {number}" if number.isdecimal() else paper.upper()
        return f"{name}: {self.title}"

    @property
    def reasons(self) -> list[str]:
        """Why what does not hold does not."""
        return [f"{s.text}: {s.reason}" for s in self.statements if not s.holds and s.reason]

    def facts(self) -> dict[str, Any]:
        """All of it as plain numbers, for JSON."""
        return {
            "figure": self.figure,
            "title": self.title,
            "source": self.source,
            "basis": self.basis,
            "assumptions": list(self.assumptions),
            "statements": [statement.facts() for statement in self.statements],
            "numbers": dict(self.numbers),
        }

    def markdown(self) -> str:
        """Picture, table, reasons and assumptions as a page."""
        head = ["statement", "paper", "needs", *MODELS, ""]
        rows = [head, ["---"] * len(head), *(statement.row() for statement in self.statements)]
        lines = [
            f"## {self.heading}",
            "",
            f"![{self.heading}]({self.name}.png)",
            "",
            self.basis,
            "",
            f"{self.source}.",
            "",
        ]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        for title, items in (("Why not", self.reasons), ("Assumed", self.assumptions)):
            if items:
                lines += ["", f"{title}:", "", *(f"- {item}" for item in items)]
        return "\n".join(lines) + "\n"


def ratio(above: float, below: float) -> float:
    """`above` over `below`; infinite where only `below` is 0, NaN where both are."""
    if below:
        return above / below
    return math.inf if above else math.nan


def percentile(value: float, found: Any, *, missing: float = math.nan) -> float:
    """Percent of `found` below a value, those equal to it counted by half.

    Parameters
    ----------
    value : float
    found : array_like of float
        NaN where a session has none.
    missing : float
        What NaN counts as; where it is NaN itself, they are left out.

    Returns
    -------
    float
        NaN if nothing is left.
    """
    values = np.asarray(found, np.float64)
    values = np.where(np.isnan(values), missing, values)
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan
    return float(100 * ((values < value).mean() + (values == value).mean() / 2))


def plain(value: Any) -> Any:
    """What ``json`` can write strictly, to nine digits after the point."""
    return as_json(value, digits=9)
