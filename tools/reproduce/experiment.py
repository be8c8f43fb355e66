"""The bio-hybrid experiment: one session in closed loop, and many like it.

Source: Herreros et al. 2014, "Evaluation of the bio-hybrid experiment". The paper's session is one draw; so
is ours. What the paper reports of its own is placed among the values of many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events
from ...golden_model.experiment.protocol import Score
from ...golden_model.experiment.sessions import Sessions
from .recorded import BLANKED, PAIRED, SESSION, recorded_draw
from .setting import Setting, Shown
from .statements import PERCENTILES, Statement, percentile

__all__ = [
    "QUANTITIES", "SESSIONS", "distribution", "drawn_events", "experiment_config", "many_sessions", "placed",
    "quantities", "shown_session", "single",
]  # fmt: skip

SESSIONS = 2500
_ISI_S = SESSION.isi_s


@dataclass(frozen=True)
class Quantity:
    """A number that the paper reports of its session.

    Attributes
    ----------
    name : str
    paper : float
    form : str
        Format of its values.
    missing : float
        What a session counts as that has none; NaN leaves it out.
    """

    name: str
    paper: float
    form: str
    missing: float = math.nan


QUANTITIES = {
    "first_cr": Quantity("first CR (trial)", 29, "{:.0f}", math.inf),
    "first_well_timed": Quantity("first well-timed CR (trial)", 118, "{:.0f}", math.inf),
    "last_well_timed": Quantity("last well-timed CR (trial)", 220, "{:.0f}", -math.inf),
    "extinction_well_timed": Quantity("well-timed CRs in extinction", 4, "{:.0f}"),
    "last_cr": Quantity("CRs in the last 60 trials", 0, "{:.0f}"),
    "ahead_ms": Quantity("well-timed CRs ahead of the US (ms)", 50, "{:.0f}"),
    "weight_60": Quantity("w after 60 trials", 0.29, "{:.3f}"),
    "weight_well_timed": Quantity("mean w of well-timed CRs", 0.25, "{:.3f}"),
}


def quantities(found: Sessions) -> dict[str, npt.NDArray[np.float64]]:
    """Each of :data:`QUANTITIES` of each session; NaN where a session has none. w is that at the CS."""
    timed = found.well_timed
    count = timed.sum(axis=1)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = np.where(timed, values, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return {
        "first_cr": found.first(found.responded),
        "first_well_timed": found.first(timed),
        "last_well_timed": found.last(timed),
        "extinction_well_timed": timed[:, PAIRED:].sum(axis=1).astype(np.float64),
        "last_cr": found.responded[:, -60:].sum(axis=1).astype(np.float64),
        "ahead_ms": 1000 * (_ISI_S - mean(found.latency_s)),
        "weight_60": found.weight[:, 59],
        "weight_well_timed": mean(found.weight),
    }


def experiment_config(setting: Setting) -> ChipConfig:
    """The configuration of the experiment."""
    return setting.config.replace(**BLANKED)


def drawn_events(setting: Setting) -> Events:
    """The session that stands for the paper's, nothing blanked."""
    return recorded_draw(setting.config)(setting.seed)


def shown_session(setting: Setting) -> Shown:
    """That session in closed loop."""
    return setting.once(
        "experiment",
        lambda: setting.show("experiment", drawn_events(setting), experiment_config(setting), masked=True),
    )


def many_sessions(setting: Setting) -> dict[str, Sessions]:
    """Sessions like it, by model."""
    config = experiment_config(setting)
    draw, seeds = recorded_draw(config), setting.seeds(SESSIONS)
    return setting.once(
        "experiments", lambda: setting.simulate("experiments", draw, config, seeds, masked=True)
    )


def single(score: Score) -> Sessions:
    """The trials of one session, as many of one."""
    return Sessions(
        np.zeros(1, np.int64), score.well_timed[None], score.late[None], score.latency_s[None],
        score.weight[None], score.weight[-1:], np.zeros(1, np.int64),
    )  # fmt: skip


def _central(column: npt.NDArray[np.float64], missing: float) -> list[float]:
    """The 5th, 50th and 95th percentile, each the value of a session."""
    values = np.where(np.isnan(column), missing, column)
    values = np.sort(values[~np.isnan(values)])
    if not values.size:
        return [math.nan] * 3
    return [float(values[round(share * (values.size - 1))]) for share in (0.05, 0.5, 0.95)]


def _told(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "none"


def placed(setting: Setting, name: str, text: str, reason: str = "") -> Statement:
    """Where the paper's number lies among our sessions; beside it, their median and central 90 %."""
    quantity = QUANTITIES[name]
    values, details = {}, {}
    for model, found in many_sessions(setting).items():
        column = quantities(found)[name]
        values[model] = percentile(quantity.paper, column, missing=quantity.missing)
        low, middle, high = (_told(edge, quantity.form) for edge in _central(column, quantity.missing))
        details[model] = f"ours {middle}, {low} to {high}"
    one = single(shown_session(setting).comparison.scores["fixed"])
    return Statement(
        f"{text} (percentile of the paper's among ours; seed {setting.seed}: "
        f"{_told(float(quantities(one)[name][0]), quantity.form)})",
        _told(quantity.paper, quantity.form), values, PERCENTILES, "{:.1f} %", details, reason,
    )  # fmt: skip


def distribution(setting: Setting) -> dict[str, Any]:
    """Every quantity of our sessions, for JSON."""
    return {
        model: {
            name: {
                "paper": QUANTITIES[name].paper,
                "percentile_of_paper": percentile(
                    QUANTITIES[name].paper, column, missing=QUANTITIES[name].missing
                ),
                "percentiles_5_50_95": _central(column, QUANTITIES[name].missing),
                "sessions_without": int(np.isnan(column).sum()),
            }
            for name, column in quantities(found).items()
        }
        for model, found in many_sessions(setting).items()
    }
