"""What configurations share: sections checked by pydantic, TOML in and out, errors of one line."""

from __future__ import annotations

import hashlib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from .fixed import QFormat

__all__ = ["Config", "ConfigError", "Format", "Real", "Section"]


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
            sections = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"not TOML: {error}") from None
        for other in Config.__subclasses__():
            if sections.keys() - cls.model_fields.keys() and sections.keys() <= other.model_fields.keys():
                raise ConfigError(f"a configuration of {other.of}, needs one of {cls.of}")
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
            return cls.from_toml(Path(path).read_text(encoding="utf-8"), base)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{path}: {reason}") from None
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


def _one_line(error: pydantic.ValidationError) -> str:
    """The first complaint of pydantic as ``section.field = value: what is wrong``."""
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
    return f"{field} = {shown}: {message}{more}"
