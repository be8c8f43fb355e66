"""What is to be learnt: a configuration with the rule, reference and bases that the user gave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...golden_model.cfpc.config import CfpcConfig, Trace
from ...golden_model.cfpc.filter import rms
from ...golden_model.cfpc.learning import Problem, Stability, rule
from ...golden_model.cfpc.systems import Reals
from ...golden_model.files import FileError
from ...golden_model.inputs import load_array
from ...golden_model.sections import ConfigError
from ..errors import UserError

__all__ = ["Task", "rule_name"]

_LARGEST = 1e12
"""Of a reference and of bases, as of the numbers of a configuration."""


def rule_name(config: CfpcConfig) -> str:
    """The rule of a configuration, as ``golden_model.cfpc.rule`` takes it."""
    eligibility = config.eligibility
    if eligibility.trace is not Trace.DELAY:
        return {Trace.FORWARD_MODEL: "FM-ET", Trace.LOW_ORDER: "low-order"}[eligibility.trace]
    return f"WH+{1000 * eligibility.delay_s:g} ms" if eligibility.delay_s else "WH"


@dataclass(frozen=True, eq=False)
class Task:
    """A task of CFPC.

    Attributes
    ----------
    config : CfpcConfig
        Trial and bases are as long and as many as those that were given.
    reference : ndarray, shape (steps,)
        r of a trial.
    inputs : ndarray, shape (steps, 1) for shifted bases, else (steps, G)
        What is streamed in a trial.

    Raises
    ------
    UserError
        If the reactive loop follows the reference without error.
    ConfigError
        If the eligibility trace comes after the trial, or the loop has no answer to fit it to.
    """

    config: CfpcConfig
    reference: Reals
    inputs: Reals

    def __post_init__(self) -> None:
        eligibility, length_s = self.config.eligibility, self.config.task.trial_s
        if (eligibility.delay_s or 0) >= length_s:
            raise ConfigError(
                f"eligibility.delay_s = {eligibility.delay_s:g}: less than a trial of {length_s:g} s"
            )
        try:
            _ = self.config.eligibility_model
        except ValueError as error:  # no low-order model
            raise ConfigError(f"eligibility: {error}") from None
        if not self.reactive_rmse:
            raise UserError(
                "reference: the reactive loop follows it without error, there is nothing to learn"
            )

    @classmethod
    def of(
        cls,
        config: CfpcConfig,
        *,
        rule_of: str | None = None,
        reference: Path | None = None,
        bases: Path | None = None,
    ) -> Task:
        """The configured task, or another rule, reference or bases in it.

        Parameters
        ----------
        config : CfpcConfig
        rule_of : str, optional
            As ``golden_model.cfpc.rule`` takes it.
        reference : Path, optional
            ``.npy``, shape (steps,).
        bases : Path, optional
            ``.npy``, shape (steps, G).

        Raises
        ------
        FileError
            If a file cannot be used, or the two are not of the same length; the message names it.
        UserError, ConfigError
            See :class:`Task`; or there is no such rule.
        """
        if rule_of is not None:
            try:
                config = rule(rule_of, config)
            except ConfigError:
                raise
            except ValueError as error:
                raise UserError(str(error)) from None
        given = None if reference is None else _read(reference, 1, "(steps,)")
        matrix = None if bases is None else _read(bases, 2, "(steps, bases)")
        if given is None and matrix is not None:
            steps, transposed = config.trial_steps, matrix.shape[::-1]
            if len(matrix) != steps and transposed[0] == steps:
                raise FileError(f"{bases}: has shape {matrix.shape}, needs (steps, bases) {transposed}")
        lengths = [len(array) for array in (given, matrix) if array is not None]
        if len(set(lengths)) > 1:
            raise FileError(f"{bases}: {lengths[1]} steps, {reference} has {lengths[0]}")
        if lengths:
            # From the steps to the seconds and back again is exact: they are rounded.
            config = _replaced(config, bases or reference, task={"trial_s": lengths[0] * config.time.step_s})
        if matrix is not None:
            amplitude = max(config.bases.amplitude, float(np.abs(matrix).max()))
            signal = config.formats.signal
            if amplitude > signal.max:
                raise FileError(
                    f"{bases}: up to {amplitude:g}, formats.signal = {signal} ends at {signal.max:g}"
                )
            changes = {"shifted": False, "count": matrix.shape[1], "amplitude": amplitude}
            config = _replaced(config, bases, bases=changes)
        return cls(
            config,
            config.reference if given is None else given,
            config.basis_inputs if matrix is None else matrix,
        )

    @cached_property
    def problem(self) -> Problem:
        """The task from trial to trial."""
        bases = self.config.spread(self.inputs)
        return Problem.of(self.config, reference=self.reference, bases=bases)

    @cached_property
    def reactive_rmse(self) -> float:
        """Root mean square of ``r - y`` without the filter."""
        return rms(self.problem.initial_error)

    @property
    def reactive(self) -> Reals:
        """The output without the filter, shape (steps,)."""
        return self.reference - self.problem.initial_error

    @cached_property
    def stability(self) -> Stability:
        """Of the rule at the rate on-line."""
        traces = self.config.eligibility_model.respond(self.config.spread(self.inputs))
        return self.problem.stability(traces, self.config.learning.rate)

    @cached_property
    def optimum_rmse(self) -> float:
        """Root mean square of ``r - y`` with the weights of the pseudo-inverse."""
        return rms(self.problem.error(self.problem.optimum))


def _replaced(config: CfpcConfig, path: Path | None, **sections: dict[str, object]) -> CfpcConfig:
    """A copy with what a file asks for; the message names the file."""
    try:
        return config.replace(**sections)
    except ConfigError as error:
        raise FileError(f"{path}: {error}") from None


def _read(path: Path, dimensions: int, shape: str) -> Reals:
    """The array of a ``.npy`` file, real and finite."""
    array = load_array(path)
    if array.dtype.kind not in "fiu":
        raise FileError(f"{path}: of {array.dtype}, needs real numbers")
    if array.ndim != dimensions or not array.size:
        raise FileError(f"{path}: has shape {array.shape}, needs {shape}")
    values = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(values).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise FileError(f"{path}: entry {where[0] if dimensions == 1 else where} is not finite")
    if np.abs(values).max() > _LARGEST:
        raise FileError(f"{path}: has an entry of {np.abs(values).max():g}, limit is {_LARGEST:g}")
    return values
