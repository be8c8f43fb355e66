"""Variants of the microcircuit and its pathologies: what each changes in a configuration and its sessions.

A comparison is paired: every circuit gets the same parameters and the same sessions, so that what differs is
the circuit. Only where the inferior olive's own rate is changed, or the control asks for other sessions, are
detections drawn anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig, PrecisionWarning
from ..events import MAX_STEPS, Events, Steps
from ..fixed import QFormat
from .behaviour import Experiment, Variant
from .parameters import ParameterSpace

__all__ = ["CIRCUITS", "HEALTHY", "Circuit", "CircuitSpace", "CoarseExperiment", "Group"]

Group = Literal["variant", "control", "pathology", "words"]
_OTHER_SESSIONS = 1_000_003
"""Added to the seeds of the control: sessions that no other circuit has."""


class _Lesioned(ChipConfig):
    """A circuit whose nucleo-olivary inhibition never arrives.

    No field says so: a delay of the configuration is at most 131 s, and inhibition that late would still gate
    detections of later trials.
    """

    @property
    def noi_delay_steps(self) -> int:
        """More steps than a session may have."""
        return MAX_STEPS


@dataclass(frozen=True)
class CoarseExperiment(Experiment):
    """The same sessions as those of a finer step, with detections and triggers in coarser steps.

    Attributes
    ----------
    fine : ChipConfig
        Has the step that sessions are drawn in.
    """

    fine: ChipConfig = field(default_factory=ChipConfig.make)

    def sessions(self, config: ChipConfig, seed: int) -> tuple[Events, Events | None]:
        """Conditioning and unpaired session of a seed, in steps of `config`."""
        ratio = round(config.time.step_s / self.fine.time.step_s)
        first, second = super().sessions(self.fine, seed)
        return _coarsened(first, ratio), None if second is None else _coarsened(second, ratio)


def _coarsened(events: Events, ratio: int) -> Events:
    """Several detections in one coarse step are one."""

    def coarse(steps: Steps) -> Steps:
        return np.unique(steps // ratio)

    return Events(
        pn=coarse(events.pn),
        io=coarse(events.io),
        n_steps=-(-events.n_steps // ratio),
        cs=coarse(events.cs),
        us=coarse(events.us),
    )


@dataclass(frozen=True)
class Circuit:
    """One circuit of the comparison: the healthy chip, but for the fields that are set.

    Attributes
    ----------
    name : str
        In reports and file names.
    group : {"variant", "control", "pathology", "words"}
    text : str
        For a reader.
    variant, event_driven
        See ``behaviour``.
    step_s : float, optional
        The model's step; δp, which is added in each, grows along. A multiple of the configuration's.
    delay_unit_s : float, optional
        Λnoi and the eligibility's delay are rounded to multiples of it.
    noi_delay_s : float, optional
        Λnoi; the eligibility keeps its delay.
    lesioned : bool
        The nucleo-olivary inhibition never arrives.
    depression : float
        Factor of δd, and so of the ratio of δd to δp.
    io_rate : float
        Factor of the spontaneous rate of the inferior olive.
    fraction_bits : (int, int), optional
        Of w, δp and δd; of the trace.
    other_sessions : bool
        Sessions of other seeds: what chance alone makes of a comparison.
    """

    name: str
    group: Group
    text: str
    variant: Variant = "engine-fixed"
    event_driven: bool = False
    step_s: float | None = None
    delay_unit_s: float | None = None
    noi_delay_s: float | None = None
    lesioned: bool = False
    depression: float = 1.0
    io_rate: float = 1.0
    fraction_bits: tuple[int, int] | None = None
    other_sessions: bool = False

    def configure(self, config: ChipConfig) -> ChipConfig:
        """The healthy configuration with what this circuit changes.

        Raises
        ------
        ConfigError
            If its formats cannot represent that.
        """
        changes: dict[str, dict[str, Any]] = {}
        unit = self.delay_unit_s or self.step_s
        if unit is not None:
            for section, seconds in (
                ("noi", config.noi.delay_s),
                ("eligibility", config.eligibility.delay_s),
            ):
                changes[section] = {"delay_s": round(seconds / unit) * unit}
        if self.noi_delay_s is not None:
            changes.setdefault("noi", {})["delay_s"] = self.noi_delay_s
        plasticity = config.plasticity
        if self.step_s is not None:
            potentiation = plasticity.potentiation * self.step_s / config.time.step_s
            changes["time"] = {"step_s": self.step_s}
            changes["plasticity"] = {"potentiation": potentiation}
        if self.depression != 1:
            depression = plasticity.depression * self.depression
            changes.setdefault("plasticity", {})["depression"] = depression
        if self.fraction_bits is not None:
            changes["formats"] = _formats(config, *self.fraction_bits)
        changed = config.replace(**changes) if changes else config
        return _Lesioned.make(**changed.model_dump()) if self.lesioned else changed

    def experiment(self, experiment: Experiment, config: ChipConfig) -> Experiment:
        """The sessions that this circuit gets.

        Parameters
        ----------
        experiment : Experiment
            The healthy circuit's.
        config : ChipConfig
            The healthy configuration; gives the step that sessions are drawn in.

        Raises
        ------
        ValueError
            If this circuit's step is no multiple of that.
        """
        if self.io_rate != 1:
            experiment = replace(
                experiment, io=replace(experiment.io, far_hz=experiment.io.far_hz * self.io_rate)
            )
        if self.step_s is not None:
            ratio = self.step_s / config.time.step_s
            if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
                raise ValueError(
                    f"{self.name}: {self.step_s:g} s is no multiple of time.step_s = {config.time.step_s:g}"
                )
            same = {each.name: getattr(experiment, each.name) for each in fields(Experiment)}
            experiment = CoarseExperiment(**same, fine=config)
        return experiment

    def seeds(self, seeds: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Of the sessions that this circuit gets where the healthy one gets those of `seeds`."""
        return np.asarray(seeds, np.int64) + (_OTHER_SESSIONS if self.other_sessions else 0)


def _formats(config: ChipConfig, weight_bits: int, trace_bits: int) -> dict[str, str]:
    bits = {
        "weight": weight_bits,
        "potentiation": weight_bits,
        "depression": weight_bits,
        "trace": trace_bits,
    }
    found = {}
    for name, fraction_bits in bits.items():
        fmt: QFormat = getattr(config.formats, name)
        found[name] = str(QFormat(fmt.signed, fmt.integer_bits, fraction_bits))
    return found


class CircuitSpace(ParameterSpace):
    """The healthy chip's box of parameters, read by another circuit.

    Parameters
    ----------
    circuit : Circuit
    names, config, limits
        Of ``ParameterSpace``.
    """

    def __init__(
        self,
        circuit: Circuit,
        names: Sequence[str],
        config: ChipConfig | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        super().__init__(names, config, limits)
        self.circuit = circuit

    def apply(self, z: Sequence[float] | npt.NDArray[np.float64]) -> ChipConfig:
        """The circuit's configuration with these parameters; ConfigError where there is none such."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            return self.circuit.configure(super().apply(z))


HEALTHY = Circuit("fixed", "variant", "the chip: fixed point, every step computed")
CIRCUITS = {
    circuit.name: circuit
    for circuit in (
        HEALTHY,
        Circuit("float", "variant", "double precision", variant="engine-float"),
        Circuit("event-driven", "variant", "asleep without an active trace", event_driven=True),
        Circuit("step-10ms", "variant", "steps of 10 ms", step_s=0.01),
        Circuit("delay-100ms", "variant", "delays of 0, 100 or 200 ms", delay_unit_s=0.1),
        Circuit("again", "control", "the chip in other sessions", other_sessions=True),
        Circuit("noi-lesioned", "pathology", "inhibition never arrives", lesioned=True),
        Circuit("noi-0", "pathology", "Λnoi = 0, eligibility delayed", noi_delay_s=0.0),
        Circuit("ratio-x3", "pathology", "δd/δp times 3", depression=3.0),
        Circuit("ratio-div3", "pathology", "δd/δp over 3", depression=1 / 3),
        Circuit("io-half", "pathology", "IO rate times 0.5", io_rate=0.5),
        Circuit("io-double", "pathology", "IO rate times 2", io_rate=2.0),
        *(
            Circuit(f"words-{w}-{t}", "words", f"w and δ {w} bits, trace {t}", fraction_bits=(w, t))
            for w, t in ((24, 15), (22, 15), (20, 15), (18, 15), (16, 15))
        ),
    )
}
"""By name; the first is what the others are compared with."""
