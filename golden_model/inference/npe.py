"""Neural posterior estimation: from a behaviour that was seen to the parameters of the chip that may show it.

A thin layer over the package ``sbi``, whose flow (masked autoregressive) and training it uses. Added here are
the choice of statistics, the box as prior, a file to keep a posterior in, and the gates that it passes before
it is used: coverage, simulation-based calibration (SBC) and regions about random points (TARP).

The flow is trained on the logit of the parameters' share of the box, so that no sample falls outside.

Source: inference plan (Lueckmann et al. 2017, Tejero-Cantero et al. 2020); Talts et al. 2018 (SBC); Lemos et
al. 2023 (TARP).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import kstest

from ..config import ChipConfig, ConfigError
from ..files import FileError, atomic_write
from ..inputs import open_input
from .behaviour import NAMES, STATISTICS
from .parameters import ParameterSpace
from .simulations import Table

__all__ = ["Gates", "Posterior", "gates", "train"]

Reals = npt.NDArray[np.float64]

_KIND, _VERSION = "microzone posterior", 1
_LEAST = 100
_HIDDEN, _TRANSFORMS = 64, 6
_PATIENCE = 20
"""Epochs without a better validation loss after which training stops."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """A trained posterior of a space's parameters, for any behaviour.

    Attributes
    ----------
    space : ParameterSpace
    used : tuple of str
        Names of the statistics that it looks at.
    estimator : object
        Conditional flow of ``sbi``, in units of `centre` and `spread`.
    centre, spread : ndarray, shape (len(used),)
        Mean and standard deviation of the statistics that it was trained on.
    low, high : ndarray, shape (len(used),)
        The least and the most of these.
    """

    space: ParameterSpace
    used: tuple[str, ...]
    estimator: Any
    centre: Reals
    spread: Reals
    low: Reals
    high: Reals

    def sample(self, statistics: Reals, count: int, seed: int) -> Reals:
        """Parameters for a behaviour: shape (count, parameters), or (n, count, parameters) for n of them.

        Parameters
        ----------
        statistics : ndarray, shape (len(STATISTICS),) or (n, len(STATISTICS))
        count, seed : int

        Raises
        ------
        ValueError
            If a statistic that it looks at is not finite, or they are of another number.
        """
        x = self.seen(np.atleast_2d(statistics))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            drawn = self.estimator.sample((count,), condition=x)
        shares = torch.sigmoid(drawn.double()).numpy().swapaxes(0, 1)
        low, high, whole = _edges(self.space)
        found = low + (high - low) * shares
        found = np.where(whole, np.clip(np.rint(found), self.space.low, self.space.high), found)
        return np.asarray(found[0] if np.ndim(statistics) == 1 else found)

    def seen(self, statistics: Reals) -> torch.Tensor:
        """What the estimator is given of these statistics, shape (n, len(STATISTICS))."""
        chosen = _columns(statistics, self.used)
        if not np.isfinite(chosen).all():
            name = self.used[int(np.argmin(np.isfinite(chosen).all(axis=0)))]
            raise ValueError(f"statistic {name!r}: not finite")
        return torch.as_tensor((chosen - self.centre) / self.spread, dtype=torch.float32)

    def outside(self, statistics: Reals) -> list[str]:
        """Statistics of a behaviour that lie beyond all simulations: there the posterior is a guess.

        Parameters
        ----------
        statistics : ndarray, shape (len(STATISTICS),)
        """
        chosen = _columns(np.atleast_2d(statistics), self.used)[0]
        return [
            f"{name} = {value:g}: the simulations have {low:g} to {high:g}"
            for name, value, low, high in zip(self.used, chosen, self.low, self.high, strict=True)
            if not low <= value <= high
        ]

    def save(self, path: Path) -> None:
        """Keep it in a file: whole or not at all."""
        with atomic_write(path) as file:
            torch.save(
                {
                    "kind": _KIND,
                    "version": _VERSION,
                    "parameters": self.space.names,
                    "limits": [self.space.low.tolist(), self.space.high.tolist()],
                    "config": self.space.config.to_toml(),
                    "statistics": list(self.used),
                    "scaling": [getattr(self, name).tolist() for name in _SCALING],
                    "estimator": self.estimator.state_dict(),
                },
                file,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one back; nothing in the file is executed.

        Raises
        ------
        FileError
            If it is none, or of another version.
        """
        try:
            with open_input(path) as file:
                kept = torch.load(file, weights_only=True)
        except FileError:
            raise
        except Exception:  # whatever its reader stumbles over in a file that is none
            raise FileError(f"{path}: not a posterior") from None
        if not isinstance(kept, dict) or kept.get("kind") != _KIND:
            raise FileError(f"{path}: not a posterior")
        if kept.get("version") != _VERSION:
            raise FileError(f"{path}: version = {kept.get('version')}: this program reads version {_VERSION}")
        try:
            used = tuple(kept["statistics"])
            _columns(np.zeros((1, len(STATISTICS))), used)
            names = kept["parameters"]
            limits = dict(zip(names, zip(*kept["limits"], strict=True), strict=True))
            space = ParameterSpace(names, ChipConfig.from_toml(kept["config"]), limits)
            scaling = [np.array(values, np.float64) for values in kept["scaling"]]
            if any(values.shape != (len(used),) for values in scaling):
                raise ValueError(f"scaling: of other than {len(used)} statistics")
            estimator = _flow(len(names), len(used))
            estimator.load_state_dict(kept["estimator"])
            return cls(space, used, estimator, *scaling)
        except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
            first = str(error).splitlines()[0]
            raise FileError(f"{path}: no posterior of this version ({first})") from None


_SCALING = ("centre", "spread", "low", "high")


def _columns(statistics: Reals, used: Sequence[str]) -> Reals:
    for name in used:
        if name not in NAMES:
            raise ValueError(f"statistic {name!r}: choose from {', '.join(NAMES)}")
    if not used or len(set(used)) < len(used):
        raise ValueError(f"statistics {', '.join(used)}: each once, at least one")
    if statistics.ndim != 2 or statistics.shape[1] != len(NAMES):
        raise ValueError(f"statistics of shape {statistics.shape}: needs {len(NAMES)} columns")
    return statistics[:, [NAMES.index(name) for name in used]]


def _builder(parameters: int) -> Any:
    from sbi.neural_nets import posterior_nn

    model = "maf" if parameters > 1 else "nsf"  # of one parameter, an affine flow is a Gaussian
    # Statistics are scaled here already, parameters by the flow itself.
    return posterior_nn(model, z_score_x="none", hidden_features=_HIDDEN, num_transforms=_TRANSFORMS)


def _flow(parameters: int, statistics: int) -> Any:
    """A flow of these dimensions, for a state to be loaded into."""
    with torch.random.fork_rng():
        return _builder(parameters)(torch.randn(10, parameters), torch.randn(10, statistics)).eval()


class _NoTracker:
    """In place of sbi's own, which leaves a folder of TensorBoard logs where it is run."""

    log_dir = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_params(self, params: dict[str, Any]) -> None: ...

    def add_figure(self, name: str, figure: Any, step: int | None = None) -> None: ...

    def flush(self) -> None: ...


def _edges(space: ParameterSpace) -> tuple[Reals, Reals, npt.NDArray[np.bool_]]:
    """The box that the flow sees, and which parameters are whole numbers: cells of width 1 in it."""
    whole = np.array([parameter.integer for parameter in space.parameters])
    return space.low - 0.5 * whole, space.high + 0.5 * whole, whole


def _logits(z: Reals, space: ParameterSpace, rng: np.random.Generator) -> torch.Tensor:
    """Without limits; a whole number is anywhere in its cell, so that the flow has a density to learn.

    Raises
    ------
    ValueError
        If a draw is not of the box: the flow would learn its edge.
    """
    inside = (space.low <= z) & (z <= space.high)
    if not inside.all():
        row, column = np.argwhere(~inside)[0]
        limits = f"{space.low[column]:g} and {space.high[column]:g}"
        raise ValueError(
            f"{space.names[column]} = {z[row, column]:g} in the table: limits of the box are {limits}"
        )
    low, high, whole = _edges(space)
    spread = z + np.where(whole, rng.uniform(-0.5, 0.5, size=z.shape), 0.0)
    share = np.clip((spread - low) / (high - low), 1e-6, 1 - 1e-6)
    return torch.as_tensor(np.log(share / (1 - share)), dtype=torch.float32)


def _check_same(table: Table, space: ParameterSpace) -> None:
    """ValueError if a table is of other parameters."""
    if tuple(space.names) != table.names:
        raise ValueError(f"parameters {', '.join(space.names)}: the table has {', '.join(table.names)}")


def train(
    space: ParameterSpace, table: Table, used: Sequence[str], *, seed: int, epochs: int = 100
) -> Posterior:
    """Train on a table of simulations.

    Parameters
    ----------
    space : ParameterSpace
        That the table was drawn from.
    table : Table
    used : sequence of str
        Names of statistics; one that never varies is an error.
    seed : int
    epochs : int
        At most; training stops where the validation loss does not improve.

    Raises
    ------
    ValueError
        If the table has other parameters or is not of the box, too few simulations are finite, or a
        statistic is unknown or never varies.
    """
    from sbi.inference import NPE

    rng = np.random.default_rng(seed)
    torch.set_num_threads(1)  # twenty times as fast as two on a shared machine
    _check_same(table, space)
    chosen = _columns(table.statistics, used)
    valid = np.isfinite(chosen).all(axis=1)
    if valid.sum() < _LEAST:
        raise ValueError(f"{valid.sum()} simulations with finite statistics: at least {_LEAST}")
    z, chosen = table.z[valid], chosen[valid]
    centre, spread = chosen.mean(axis=0), chosen.std(axis=0)
    for name, width in zip(used, spread, strict=True):
        if not width > 0:
            raise ValueError(f"statistic {name!r}: the same in all simulations")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Maximum number of epochs", UserWarning)
        torch.manual_seed(seed)
        inference = NPE(
            density_estimator=_builder(len(space.names)), show_progress_bars=False, tracker=_NoTracker()
        )
        inference.append_simulations(
            _logits(z, space, rng), torch.as_tensor((chosen - centre) / spread, dtype=torch.float32)
        )
        with redirect_stdout(StringIO()):  # it prints its number of epochs
            estimator = inference.train(
                training_batch_size=min(500, len(z) // 20),
                learning_rate=1e-3,
                max_num_epochs=epochs,
                stop_after_epochs=_PATIENCE,
            )
    return Posterior(
        space, tuple(used), estimator.eval(), centre, spread, chosen.min(axis=0), chosen.max(axis=0)
    )


@dataclass(frozen=True)
class Gates:
    """Whether a posterior can be trusted, on simulations that it was not trained on.

    Attributes
    ----------
    held_out : int
        Simulations.
    covered : int
        Of these, with the true parameters within the 90 % region of highest density.
    sbc : tuple of float
        For each parameter, the probability of ranks so uneven if the posterior is right (Kolmogorov-Smirnov).
    tarp : float
        The same of the true parameters' ranks by distance from a random point.
    tarp_spread : float
        Mean distance of these ranks, as shares, from a half, less a quarter: above 0 too narrow, below 0 too
        wide.
    """

    held_out: int
    covered: int
    sbc: tuple[float, ...]
    tarp: float
    tarp_spread: float

    @property
    def passed(self) -> bool:
        """At least 80 % within the 90 % region, and no test under 1 % (shared among the parameters)."""
        return (
            self.covered >= _COVERED * self.held_out
            and min(self.sbc) > _LEVEL / len(self.sbc)
            and self.tarp > _LEVEL
        )


_REGION, _COVERED = 0.9, 0.8
_LEVEL = 0.01
_AT_ONCE = 50


def gates(posterior: Posterior, table: Table, *, seed: int, count: int = 1000) -> Gates:
    """Coverage, simulation-based calibration and TARP.

    All three compare the true parameters of a simulation with the same samples of its posterior. In a right
    posterior the truth is as any sample of it, so its rank among them is uniform: by density, by each
    parameter, and by distance from a point that has nothing to do with either.

    Parameters
    ----------
    posterior : Posterior
    table : Table
        Of simulations that it has not seen.
    seed : int
    count : int
        Samples of each posterior.

    Raises
    ------
    ValueError
        If the table has other parameters or is not of the box, or no simulation is finite.
    """
    _check_same(table, posterior.space)
    valid = np.isfinite(_columns(table.statistics, posterior.used)).all(axis=1)
    if not valid.any():
        raise ValueError("no simulation held out has finite statistics")
    rng = np.random.default_rng(seed)
    true = _logits(table.z[valid], posterior.space, rng)
    x = posterior.seen(table.statistics[valid])
    points = torch.logit(torch.as_tensor(rng.uniform(size=tuple(true.shape)), dtype=torch.float32))
    below, denser, nearer = [], [], []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        parts = (range(start, min(start + _AT_ONCE, len(x))) for start in range(0, len(x), _AT_ONCE))
        for rows in map(list, parts):  # a part's samples fit in memory
            drawn = posterior.estimator.sample((count,), condition=x[rows])
            density = posterior.estimator.log_prob(drawn, condition=x[rows])
            own = posterior.estimator.log_prob(true[None, rows], condition=x[rows])
            denser.append((density > own).float().mean(0))
            below.append((drawn < true[rows]).sum(0))
            distance = (drawn - points[rows]).norm(dim=-1)
            nearer.append((distance < (true[rows] - points[rows]).norm(dim=-1)).sum(0))
    covered = int((torch.cat(denser) < _REGION).sum())

    def share(ranks: list[torch.Tensor]) -> Reals:
        """Uniform between 0 and 1 where the ranks are uniform from 0 to count."""
        whole = torch.cat(ranks).numpy()
        return np.asarray((whole + rng.uniform(size=whole.shape)) / (count + 1))

    distances = share(nearer)
    return Gates(
        held_out=len(true),
        covered=covered,
        sbc=tuple(float(kstest(ranks, "uniform").pvalue) for ranks in share(below).T),
        tarp=float(kstest(distances, "uniform").pvalue),
        tarp_spread=float(np.abs(distances - 0.5).mean() - 0.25),
    )
