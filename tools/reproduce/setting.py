"""What reproductions share: configuration, seeds, and how their sessions are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Result, Steps
from ...golden_model.experiment.engine import Engine, EngineModel
from ...golden_model.experiment.sessions import Draw, Sessions, run_sessions
from ...sim.build.simulators import Simulator
from ...sim.replay.replay import replay_design
from ..cluster import Run
from ..models import Comparison, ModelName, run_model
from ..report.output import progress_bar, working
from .statements import Limits, Statement

__all__ = ["ENGINES", "Setting", "Shown", "equal_statements"]

Made = TypeVar("Made")

_ENGINES: tuple[EngineModel, ...] = ("float", "fixed")
ENGINES: tuple[str, ...] = _ENGINES
_CHUNK = 250
"""Sessions that a worker of a cluster takes at a time."""


@dataclass(frozen=True)
class Shown:
    """One session, on every model.

    Attributes
    ----------
    comparison : Comparison
    heard : mapping of str to Events
        The session with what each model's CRs blanked.
    unequal : int or None
        0 if RTL equals fixed in each step, 1 if it does not; None without RTL.
    """

    comparison: Comparison
    heard: Mapping[str, Events]
    unequal: int | None


@dataclass
class Setting:
    """How to reproduce.

    Parameters
    ----------
    config : ChipConfig
        What a figure does not set otherwise. The recalibration is off in it, except in figures that need it.
    seed : int
        Of the session that is shown, and the first of many.
    sessions : int, optional
        In place of each figure's own number.
    simulator : Simulator, optional
        Where the gateware runs; without, RTL is left out.
    run : Run, optional
        Workers of a cluster; without, this process.
    console : Console
        For progress bars.
    """

    config: ChipConfig
    seed: int = 1
    sessions: int | None = None
    simulator: Simulator | None = None
    run: Run | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True))
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.given = self.config
        self.config = self.config.replace(recalibration={"enabled": False})

    def seeds(self, default: int) -> range:
        """Seeds of a figure that has `default` sessions of its own."""
        return range(self.seed, self.seed + (self.sessions or default))

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What several figures use, made by the first."""
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    def models_only(self) -> Setting:
        """The same without RTL, for pictures that need no more."""
        return replace(self, simulator=None)

    def simulate(
        self,
        label: str,
        draw: Draw,
        config: ChipConfig,
        seeds: range,
        *,
        masked: bool = False,
        isi_s: float = 0.3,
    ) -> dict[str, Sessions]:
        """The same sessions on float and fixed.

        Parameters
        ----------
        label : str
            Of the progress bar.
        draw : callable
            The session of a seed; for a cluster, picklable.
        config : ChipConfig
        seeds : range
        masked : bool
            A CR blanks the IO, as the chip's stimulation does.
        isi_s : float
            When the US is due after the CS.

        Returns
        -------
        dict of str to Sessions
            By model. The same here and on any cluster.
        """
        found: dict[str, Sessions] = {}
        for model in _ENGINES:
            with progress_bar(f"{label}, {model}", len(seeds), self.console) as advance:
                run = partial(run_sessions, draw, config, model=model, masked=masked, isi_s=isi_s, workers=1)
                if self.run is None:
                    found[model] = run(seeds, progress=advance)
                else:
                    found[model] = _spread(self.run, run, seeds, advance)
        return found

    def show(
        self, label: str, events: Events, config: ChipConfig, *, masked: bool = False, isi_s: float = 0.3
    ) -> Shown:
        """One session on float, fixed and, unless left out, RTL.

        With `masked`, what the CRs of a model blank is what it hears nothing in; RTL has the stretches of
        fixed, whose CRs must be its own.
        """
        models: list[ModelName] = [*_ENGINES]
        if self.simulator is not None:
            models.append("rtl")
            with working(f"{label}: building the simulation (once for each configuration)", self.console):
                self.simulator.build(replay_design(config, 1, compiled=self.simulator.compiles_programs))
        results: dict[str, Result] = {}
        heard: dict[str, Events] = dict.fromkeys(models, events)
        if masked:
            blanked: dict[str, Steps] = {
                model: Engine(config, model, masked=True).run(events).blanked for model in _ENGINES
            }
            heard = {model: replace(events, blanked=blanked.get(model, blanked["fixed"])) for model in models}
        for model in models:
            with progress_bar(f"{label}, {model}", events.n_steps, self.console) as advance:
                results[model] = run_model(
                    model, heard[model], config, simulator=self.simulator, progress=advance
                )
        comparison = Comparison(heard["fixed"], results, isi_s)
        unequal = None if "rtl" not in results else int(comparison.difference is not None)
        return Shown(comparison, heard, unequal)


def _spread(
    run: Run, work: Callable[..., Sessions], seeds: range, advance: Callable[[int], None]
) -> Sessions:
    """The sessions of all seeds on a cluster, in their order."""
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    parts: dict[int, Sessions] = {}
    for index, part in run.map(work, chunks):
        parts[index] = part
        advance(int(np.sum([part.seeds.size for part in parts.values()])))
    return Sessions.join([parts[index] for index in range(len(chunks))])


def equal_statements(shown: Sequence[Shown]) -> list[Statement]:
    """That RTL equals fixed in these sessions; none where RTL is left out."""
    unequal = [one.unequal for one in shown if one.unequal is not None]
    if not unequal:
        return []
    differences = [str(one.comparison.difference) for one in shown if one.unequal]
    return [
        Statement(
            "RTL equals fixed in w, CR and recalibration at every step (sessions in which it does not)", "",
            {"rtl": float(sum(unequal))}, Limits(0, 0), "{:.0f}", reason="; ".join(differences),
        )
    ]  # fmt: skip
