"""The question as the command line puts it, in texts and paths; what it asks for is a ``Request``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...golden_model.config import ChipConfig
from ...golden_model.inference.behaviour import NAMES, VARIANTS, Experiment
from ..errors import UserError
from .request import Method, Request, Seen, Wanted, parse_limits, read_seen

__all__ = ["Question"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What ``microzone infer`` was given.

    Attributes
    ----------
    method : str
        ``maxent``, ``dsn`` or ``npe``.
    want : sequence of str
        ``STATISTIC=VALUE`` or ``STATISTIC=VALUE+-SPREAD``.
    seen : (Path, Path) or None
        Events file and result file of a session, in place of what is wanted.
    parameters : str
        What may vary, separated by commas.
    limits : sequence of str
        ``PARAMETER=LOW:HIGH``.
    config : Path or None
        Else the configuration of the session that was seen, or the default one.
    trials : mapping of str to int
        Numbers of trials of ``Experiment`` that are not its own: ``paired``, ``cs_alone``, ``unpaired``.
    variant : str
        Model of the simulations.
    simulations, sessions, seed : int
        As of :class:`Request`.
    """

    method: str
    want: Sequence[str]
    seen: tuple[Path, Path] | None
    parameters: str
    limits: Sequence[str]
    config: Path | None
    trials: Mapping[str, Any]
    variant: str
    simulations: int
    sessions: int
    seed: int

    def request(self) -> Request:
        """The same, read and checked.

        Raises
        ------
        UserError
            If it cannot be asked so; the message names the option.
        ConfigError, FileError
            If a file cannot be used.
        """
        observed = self._observed()
        if observed is None:
            experiment, wanted = self._experiment(), [Wanted.parse(text) for text in self.want]
        else:
            experiment = observed.experiment
            wanted = [
                Wanted(name, float(value))
                for name, value in zip(NAMES, observed.statistics, strict=True)
                if value == value  # not one that the session does not show
            ]
        return Request(
            Method(self.method),
            tuple(wanted),
            tuple(self.parameters.split(",")),
            parse_limits(self.limits),
            self._config(observed),
            experiment,
            next(known for known in VARIANTS if known == self.variant),
            self.simulations,
            self.sessions,
            self.seed,
            observed,
        )

    def _observed(self) -> Seen | None:
        """The session that was seen; UserError if something is given beside it."""
        if self.seen is None:
            return None
        if self.method != Method.NPE:
            raise UserError(f"--seen: --method {self.method} takes what is wanted, by --want")
        if self.want or self.trials:
            option = "want" if self.want else next(iter(self.trials)).replace("_", "-")
            raise UserError(f"--seen: has its own statistics and trials, beside it there is no --{option}")
        return read_seen(*self.seen)

    def _experiment(self) -> Experiment:
        try:
            return replace(Experiment(), **self.trials)
        except ValueError as error:
            raise UserError(f"--{str(error).replace('cs_alone', 'cs-alone')}") from None

    def _config(self, observed: Seen | None) -> ChipConfig:
        if self.config is not None:
            return ChipConfig.load(self.config)
        return ChipConfig.make() if observed is None else observed.config
