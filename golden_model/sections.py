"""What configurations share: sections checked by pydantic, TOML in and out, errors of one line."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from .files import FileError
from .fixed import QFormat
from .inputs import parse_toml, read_toml

__all__ = ["Config", "ConfigError", "Format", "Real", "Section", "check_magnitudes"]


class ConfigError(ValueError):
    """A configuration that is malformed or that its formats cannot represent."""


def _as_format(value: Any) -> Any:
    return QFormat.parse(value) if isinstance(value, str) else value


Format = Annotated[
    QFormat,
    pydantic.BeforeValidator(_as_format),
    PlainSerializer(str, return_type=str),
]


Real = Annotated[float, Field(strict=True)]
"""A number; TOML's true and "0.3" are none."""


class Section(BaseModel):
    """A section of a configuration: frozen, no unknown fields, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Config(Section):
    """A whole configuration, in physical units.

    Attributes
    ----------
    of : str
        What is configured, for messages.

    Raises
    ------
    ConfigError
        From :meth:`make`, :meth:`from_toml` and :meth:`load`: one line naming field, value and limit.
    """

    of: ClassVar[str]

    @classmethod
    def make(cls, /, **sections: Any) -> Self:
        """A configuration from section dictionaries: ``make(noi={"delay_s": 0.0})``."""
        try:
            return cls.model_validate(sections)
        except pydantic.ValidationError as error:
            raise ConfigError(_one_line(error)) from None

    @classmethod
    def from_toml(cls, text: str, base: Self | None = None) -> Self:
        """A configuration from TOML text; what it lacks is as in `base`, else the default."""
        try:
            sections = parse_toml(text)
        except FileError as error:
            raise ConfigError(str(error)) from None
        return cls._of(sections, base)

    @classmethod
    def _of(cls, sections: dict[str, Any], base: Self | None) -> Self:
        for other in Config.__subclasses__():
            if sections.keys() - cls.model_fields.keys() and sections.keys() <= other.model_fields.keys():
                raise ConfigError(f"a configuration of {other.of}, needs one of {cls.of}")
        if sections and not sections.keys() & cls.model_fields.keys():
            has = ", ".join(" ".join(name.split())[:60] for name in list(sections)[:3])
            raise ConfigError(
                f"no configuration of {cls.of}: has {has}, needs some of {', '.join(cls.model_fields)}"
            )
        return cls.make(**cls.over(sections, base or cls()))

    @classmethod
    def over(cls, given: dict[str, Any], base: Self) -> dict[str, Any]:
        """The sections of `base` with the given fields in them; what is malformed is left to ``make``."""
        sections = base.model_dump()
        for name, fields in given.items():
            before = sections.get(name)
            if isinstance(fields, dict) and isinstance(before, dict):
                sections[name] = {**before, **fields}
            else:
                sections[name] = fields
        return sections

    @classmethod
    def load(cls, path: Path | str, base: Self | None = None) -> Self:
        """A configuration from a TOML file, as :meth:`from_toml`; the message names the file."""
        try:
            sections = read_toml(path)
        except FileError as error:
            raise ConfigError(str(error)) from None
        try:
            return cls._of(sections, base)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def to_toml(self) -> str:
        """The complete configuration as TOML text; :meth:`from_toml` gives an equal one back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def replace(self, **sections: dict[str, Any]) -> Self:
        """A copy with some fields changed: ``replace(plasticity={"depression": 0.02})``."""
        merged = self.model_dump()
        for name, fields in sections.items():
            merged[name] = {**(merged.get(name) or {}), **fields}
        return self.make(**merged)

    @property
    def digest(self) -> str:
        """SHA-256 of the complete TOML text, in hex: what a board reports as its configuration."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()


_MAGNITUDES = {"_s": (1e-9, 1e6), "_hz": (1e-6, 1e10), "": (1e-310, 1e100)}
"""Least and most of a number that is not 0, by the end of its field's name: seconds, hertz, all others.

A fraction of a clock cycle and eleven days; once in eleven days and no clock of an FPGA; and for the others
what has digits in floating point, and leaves room for products.
"""


def check_magnitudes(section: BaseModel, name: str = "") -> None:
    """ValueError, with field, value and limits, for a number beyond what can be meant or computed with."""
    for field, value in section:
        path = f"{name}.{field}" if name else field
        if isinstance(value, BaseModel):
            check_magnitudes(value, path)
            continue
        least, most = next(limits for end, limits in _MAGNITUDES.items() if field.endswith(end))
        for number in _numbers(value):
            if number and not least <= abs(number) <= most:
                raise ValueError(f"{path} = {number:g}: limits are {least:g} and {most:g}, or 0")


def _numbers(value: Any) -> Iterator[float]:
    """Of a field: itself, or those in its list."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, tuple) and not isinstance(value, QFormat):
        for each in value:
            yield from _numbers(each)


def _one_line(error: pydantic.ValidationError) -> str:
    """The first complaint of pydantic as ``section.field = value: what is wrong``."""
    return " ".join(_first(error).split())


def _first(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if not field:
        return message + more
    given = first["input"]
    if first["type"] in ("missing", "extra_forbidden") or isinstance(given, dict):
        return f"{field}: {message}{more}"
    shown = f"{given:g}" if isinstance(given, float) and math.isfinite(given) else repr(given)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{field} = {shown}: {message}{more}"
