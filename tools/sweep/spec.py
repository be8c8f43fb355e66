"""What is swept: a TOML file of experiments, and the points that it stands for."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Self

import pydantic
from pydantic import BaseModel, Field, model_validator

from ...golden_model.calibration.calibration import calibrate
from ...golden_model.config import ChipConfig, ConfigError, PrecisionWarning
from ...golden_model.events import MAX_STEPS
from ...golden_model.experiment.protocol import TRAINING
from ...golden_model.files import FileError
from ...golden_model.inputs import parse_toml, read_toml
from ..errors import UserError
from .scenario import Scenario, Strict

__all__ = ["BUILT_IN", "Axis", "Experiment", "Point", "Setting", "Spec", "with_settings"]

BUILT_IN = ("word-lengths", "detection")
"""Specifications that come along, by the names that stand for their files."""
_NO_FILE = "0" * 64
"""A drawn training session has no file to name."""
_TRAINING_SEED = 1
_PROTOCOL = "protocol"

_MOST_POINTS, _MOST_SESSIONS = 10_000, 100_000_000
"""Of a sweep: points in all, and sessions of all points together."""

Setting = Any
"""What a swept field is set to: a number, a text such as ``UQ(0,24)``, or a list where the field is one."""


Seed = Annotated[int, Field(strict=True, ge=0, le=10**9)]


class Axis(Strict):
    """``[[experiment.axis]]``: fields that move together, and the values that they take.

    A field is ``section.name`` of the configuration, or ``protocol.name``. One value is for all fields; a
    list gives each its own where there are several.
    """

    fields: tuple[str, ...] = Field(min_length=1, max_length=64)
    values: tuple[Setting, ...] = Field(min_length=1, max_length=_MOST_POINTS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in self.fields:
            section, _, name = field.partition(".")
            if name not in _fields(section):
                raise ValueError(f"{field}: no such field; such as formats.weight or protocol.io_tdr")
        for value in self.values:
            for field, setting in self.settings(value).items():
                _check_setting(field, setting)
        return self

    def settings(self, value: Setting) -> dict[str, Setting]:
        """What each field is set to by a value."""
        if len(self.fields) == 1 or not isinstance(value, list | tuple):
            return dict.fromkeys(self.fields, value)
        if len(value) != len(self.fields):
            raise ValueError(f"values: {_shown(value)} has {len(value)}, fields {len(self.fields)}")
        return dict(zip(self.fields, value, strict=True))

    @property
    def is_format(self) -> bool:
        """All fields are word formats."""
        return all(field.startswith("formats.") for field in self.fields)


class Experiment(Strict):
    """``[[experiment]]``: every combination of the values of its axes, on one kind of session.

    `recalibrate`: δp, δd and the coefficients come from a synthetic training session, and follow the IO rate.
    """

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    axis: tuple[Axis, ...] = Field(min_length=1, max_length=16)
    protocol: Scenario = Scenario()
    config: dict[str, dict[str, Any]] = Field(default_factory=dict)
    recalibrate: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        swept = [field for axis in self.axis for field in axis.fields]
        for field in swept:
            if swept.count(field) > 1:
                raise ValueError(f"{field}: is on two axes, or twice on one")
        return self

    def settings(self) -> Iterator[dict[str, Setting]]:
        """Of each point, the last axis fastest."""
        for values in itertools.product(*(axis.values for axis in self.axis)):
            merged: dict[str, Setting] = {}
            for axis, value in zip(self.axis, values, strict=True):
                merged |= axis.settings(value)
            yield merged


@dataclass(frozen=True)
class Point:
    """One set of formats and parameters, on one kind of session.

    Attributes
    ----------
    experiment : str
    settings : mapping of str to Setting
        What was swept.
    scenario : Scenario
    config, reference : ChipConfig or None
        Of the fixed-point model; of the float model that it is compared with, which has the formats that are
        not swept. None where refused.
    refused : str
        Why the formats cannot represent the parameters; empty if they can.
    warning : str
        What they represent badly; empty if nothing.
    """

    experiment: str
    settings: Mapping[str, Setting]
    scenario: Scenario
    config: ChipConfig | None
    reference: ChipConfig | None
    refused: str = ""
    warning: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of everything that its sessions depend on, but their seeds."""
        assert self.config is not None and self.reference is not None
        parts = [self.config.to_toml(), self.reference.to_toml(), self.scenario.model_dump_json()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def formats(self) -> dict[str, str]:
        """The swept formats, by the name of the field."""
        return {
            field.removeprefix("formats."): str(value)
            for field, value in self.settings.items()
            if field.startswith("formats.")
        }

    @property
    def condition(self) -> dict[str, Setting]:
        """What is swept besides."""
        return {field: value for field, value in self.settings.items() if not field.startswith("formats.")}

    def describe(self) -> str:
        """What was swept, in a line."""
        return ", ".join(f"{field} = {value}" for field, value in self.settings.items())


class Spec(Strict):
    """A sweep.

    Attributes
    ----------
    sessions : int
        Of each point, with the seeds from `seed` on: every point gets the same.
    margin_bits : int
        What a proposed format has more than the smallest one.
    experiment : tuple of Experiment
    """

    sessions: Annotated[int, Field(strict=True, ge=2, le=1_000_000)] = 2500
    seed: Seed = 0
    margin_bits: Annotated[int, Field(strict=True, ge=0, le=16)] = 2
    experiment: tuple[Experiment, ...] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        points = sum(
            math.prod(len(axis.values) for axis in experiment.axis) for experiment in self.experiment
        )
        if points > _MOST_POINTS:
            raise ValueError(f"experiment: {points} points in all, limit is {_MOST_POINTS}")
        if points * self.sessions > _MOST_SESSIONS:
            raise ValueError(
                f"sessions = {self.sessions}: of {points} points, limit is {_MOST_SESSIONS} sessions in all"
            )
        names = [experiment.name for experiment in self.experiment]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"experiment {name}: is there twice")
        return self

    @classmethod
    def load(cls, source: str, **replaced: Any) -> Spec:
        """A specification from a file, or a built-in one by its name.

        Parameters
        ----------
        source : str
            Path, or one of :data:`BUILT_IN`.
        **replaced
            Fields to use in place of the file's; None for those that stay.

        Raises
        ------
        UserError
            One line that names file, field and limit.
        """
        try:
            given = parse_toml(cls.built_in(source)) if source in BUILT_IN else read_toml(source)
            fields = given | {k: v for k, v in replaced.items() if v is not None}
            return cls.model_validate(fields)
        except FileError as error:
            raise UserError(f"{error}; built in are {', '.join(BUILT_IN)}") from None
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{source}: {field}: {message}" if field else f"{source}: {message}") from None

    @staticmethod
    def built_in(name: str) -> str:
        """The text of a specification that comes along."""
        return files(__package__).joinpath(f"{name.replace('-', '_')}.toml").read_text(encoding="utf-8")

    def points(self, base: ChipConfig) -> list[Point]:
        """Every point, in order.

        Raises
        ------
        ConfigError
            If an experiment's own `config` is none.
        """
        return [
            _point(experiment, _start(experiment, base), settings)
            for experiment in self.experiment
            for settings in experiment.settings()
        ]


def with_settings(experiment: Experiment, base: ChipConfig, settings: Mapping[str, Setting]) -> Point:
    """A point of an experiment that is on none of its axes."""
    return _point(experiment, _start(experiment, base), settings)


def _start(experiment: Experiment, base: ChipConfig) -> ChipConfig:
    try:
        config = base.replace(**experiment.config) if experiment.config else base
    except ConfigError as error:
        raise ConfigError(f"experiment {experiment.name}: config: {error}") from None
    return _calibrated(config.to_toml()) if experiment.recalibrate else config


@cache
def _calibrated(toml: str) -> ChipConfig:
    config = ChipConfig.from_toml(toml)
    return calibrate(TRAINING.training(config, _TRAINING_SEED), config, training_sha256=_NO_FILE)


def _point(experiment: Experiment, start: ChipConfig, settings: Mapping[str, Setting]) -> Point:
    sections: dict[str, dict[str, Setting]] = {}
    for field, value in settings.items():
        section, _, name = field.partition(".")
        sections.setdefault(section, {})[name] = value
    try:
        swept = experiment.protocol.model_dump() | sections.pop(_PROTOCOL, {})
        scenario = Scenario.model_validate(swept)
    except pydantic.ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"experiment {experiment.name}: protocol: {message}") from None
    longest_s = (len(scenario.protocol().trials) + 1) * scenario.iti_s[1]
    if longest_s > MAX_STEPS * start.time.step_s:
        raise ConfigError(
            f"experiment {experiment.name}: protocol: a session may take {longest_s:g} s, limit is "
            f"{MAX_STEPS * start.time.step_s:g} s"
        )
    parameters = {name: fields for name, fields in sections.items() if name != "formats"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrecisionWarning)
        try:
            reference = start.replace(**parameters)
            caught.clear()
            config = start.replace(**sections)
        except ConfigError as error:
            return Point(experiment.name, settings, scenario, None, None, refused=str(error))
    warning = "; ".join(str(warned.message) for warned in caught)
    return Point(experiment.name, settings, scenario, config, reference, warning=warning)


def _fields(section: str) -> dict[str, Any]:
    """Fields of a section of the configuration, or of ``protocol``; none if there is no such section."""
    if section == _PROTOCOL:
        return dict(Scenario.model_fields)
    field = ChipConfig.model_fields.get(section)
    kind = field.annotation if field else None
    return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _shown(value: Setting) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_setting(field: str, value: Setting) -> None:
    """ValueError if a field cannot take a value at all, whatever the formats."""
    section, _, name = field.partition(".")
    if section == "formats" and not isinstance(value, str):
        raise ValueError(f"{field} = {_shown(value)}: needs a format such as 'UQ(0,24)'")
    info = _fields(section)[name]
    annotated: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        pydantic.TypeAdapter(annotated).validate_python(value)
    except pydantic.ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{field} = {_shown(value)}: {message}") from None
