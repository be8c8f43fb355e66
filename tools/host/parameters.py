"""What a running chip can be set to: the words of a configuration, and what no register changes."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import tomli_w

from ...gateware.microcircuit.parameters import FIRST_ROW, PLASTIC, Parameter, parameter_formats
from ...gateware.registers.map import LEVEL_HIGH, WORD_BITS
from ...gateware.stimulation.registers import settings_words
from ...golden_model.chip import electrode_settings
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.files import FileError, atomic_write
from ...golden_model.fixed import QFormat, quantize, to_real
from ...golden_model.inputs import read_toml
from ...golden_model.recalibration import Row, coefficient_words
from ...golden_model.stimulation import StimulationTiming

__all__ = ["RegisterWord", "Weights", "check_loadable", "parameter_groups", "raw_word", "word_format"]

_AT_RUN_TIME = (
    "weight.initial",
    "plasticity.*",
    "recalibration.alpha",
    "recalibration.beta",
    "recalibration.gamma",
    "calibration.*",
    "detection.*",
    "stimulation.rate_hz",
    "stimulation.width_s",
    "stimulation.duration_s",
    "stimulation.shape",
    "stimulation.interphase_s",
    "blanking.*",
)
"""Fields that registers change, or that no word of the chip depends on."""


@dataclass(frozen=True)
class RegisterWord:
    """What one register shall hold.

    Attributes
    ----------
    path : str
        The register's name in the map.
    word : int
        32 bits, unsigned; a negative one in two's complement.
    width : int
        Low bits that count.
    """

    path: str
    word: int
    width: int

    def equals(self, read: int) -> bool:
        """Whether a word read from the chip is this one."""
        return not (read ^ self.word) & ((1 << self.width) - 1)


def parameter_groups(
    config: ChipConfig, *, without: Container[Parameter] = (Parameter.WEIGHT,)
) -> list[list[RegisterWord]]:
    """Every word that a running chip can be given, in the order in which to write them.

    Parameters
    ----------
    config : ChipConfig
    without : container of Parameter
        What is left as the microcircuits have learnt it.

    Returns
    -------
    list of list of RegisterWord
        A group takes effect as a whole, or the chip would work with half a setting: the words of an
        electrode, the settings of the stimulation, a microcircuit's parameters. Electrodes come first.
    """
    groups = [list(_electrode(config, electrode)) for electrode in range(config.amplifier.electrodes)]
    settings = settings_words(StimulationTiming(config).settings)
    groups.append(
        [RegisterWord(f"stimulation.{register.name}", word, WORD_BITS) for register, word in settings.items()]
    )
    circuits = range(len(config.electrodes.pn))
    return groups + [list(_circuit(config, circuit, without)) for circuit in circuits]


def _electrode(config: ChipConfig, electrode: int) -> Iterator[RegisterWord]:
    parameters = _detection(config)
    for row in parameters.rows:
        word, width = int(parameters.words(row)[electrode]), parameters.row_format(row).width
        path = f"electrodes[{electrode}]"
        if row is DetectionRow.LEVEL and width > WORD_BITS:
            yield RegisterWord(f"{path}.{LEVEL_HIGH}", _unsigned(word >> WORD_BITS), width - WORD_BITS)
        yield RegisterWord(f"{path}.{row.name}", _unsigned(word), min(width, WORD_BITS))


def _circuit(config: ChipConfig, circuit: int, without: Container[Parameter]) -> Iterator[RegisterWord]:
    quantised, coefficients = config.quantised, config.recalibration.coefficients
    words = {
        Parameter.WEIGHT: quantised.weight_initial,
        Parameter.POTENTIATION: quantised.potentiation,
        Parameter.DEPRESSION: quantised.depression,
    }
    if config.recalibration.enabled and coefficients is not None:
        rows = coefficient_words(coefficients, config)
        words |= {Parameter(FIRST_ROW + row): rows[row] for row in Row}
    formats = parameter_formats(config)
    for parameter, word in words.items():
        if parameter not in without:
            yield RegisterWord(
                f"circuits[{circuit}].{parameter.name}", _unsigned(word), formats[parameter].width
            )


def _detection(config: ChipConfig) -> DetectionParameters:
    return DetectionParameters(config, electrode_settings(config), config.amplifier.rate_hz)


def _unsigned(word: int) -> int:
    return word & ((1 << WORD_BITS) - 1)


def raw_word(bits: int, fmt: QFormat) -> int:
    """The raw word whose bits a register or a record has."""
    kept = bits & ((1 << fmt.width) - 1)
    return kept - (1 << fmt.width) if fmt.signed and kept > fmt.raw_max else kept


def word_format(config: ChipConfig, path: str) -> QFormat | None:
    """Format of the real value that a register's word stands for; None where it is a plain number."""
    block, _, name = path.partition(".")
    if block.startswith("circuits[") and name in Parameter.__members__:
        return parameter_formats(config).get(Parameter[name])
    if block.startswith("electrodes[") and name in DetectionRow.__members__:
        parameters, row = _detection(config), DetectionRow[name]
        fmt = parameters.row_format(row) if row in parameters.rows else None
        return fmt if fmt is not None and fmt.width <= WORD_BITS else None
    return None


def check_loadable(built: ChipConfig, wanted: ChipConfig) -> None:
    """ConfigError, naming field and values, unless registers make a chip of `built` one of `wanted`."""
    StimulationTiming(wanted)
    have, want = _flat(built), _flat(wanted)
    for field in dict.fromkeys([*have, *want]):
        if have.get(field) != want.get(field) and not any(fnmatchcase(field, p) for p in _AT_RUN_TIME):
            raise ConfigError(
                f"{field} = {want.get(field, 'absent')}: the chip is built with "
                f"{have.get(field, 'absent')}, which no register changes"
            )
    before, after = _detection(built), _detection(wanted)
    if before.filtered is not after.filtered:
        has, asked = ("has a", "none") if before.filtered else ("has no", "one")
        raise ConfigError(f"detection bandpass_hz: the chip {has} band-pass, the configuration {asked}")
    for row in (DetectionRow.REFRACTORY, DetectionRow.SETTLE):
        field, most = f"{row.name.lower()}_s", before.row_format(row).raw_max
        for electrode, samples in enumerate(after.words(row)):
            if samples > most:
                raise ConfigError(
                    f"detection {field} = {getattr(after.settings[electrode], field):g}: {samples} samples, "
                    f"limit of the chip's words is {most}"
                )


def _flat(config: ChipConfig) -> dict[str, Any]:
    """Every field under its dotted name."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value

    return dict(walk("", config.model_dump(mode="json", exclude_none=True)))


@dataclass(frozen=True)
class Weights:
    """What the microcircuits have learnt: w, and the δp and δd that they learn with.

    Attributes
    ----------
    digest : str
        Of the configuration that the chip is built with.
    formats : mapping of str to str
        Of the three words.
    words : mapping of str to tuple of int
        Raw words by ``Parameter`` in lower case, one a microcircuit.
    """

    digest: str
    formats: dict[str, str]
    words: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, config: ChipConfig, words: dict[Parameter, list[int]]) -> Self:
        """From raw words as registers have them."""
        formats = parameter_formats(config)
        return cls(
            config.digest,
            {p.name.lower(): str(formats[p]) for p in PLASTIC},
            {p.name.lower(): tuple(raw_word(word, formats[p]) for word in words[p]) for p in PLASTIC},
        )

    @property
    def groups(self) -> list[list[RegisterWord]]:
        """The words, for the registers: a group a microcircuit."""
        return [
            [
                RegisterWord(f"circuits[{circuit}].{name.upper()}", _unsigned(words[circuit]), WORD_BITS)
                for name, words in self.words.items()
            ]
            for circuit in range(len(self.words["weight"]))
        ]

    def check_fits(self, config: ChipConfig, *, other_config: bool = False) -> None:
        """FileError unless these are a chip's of `config`, or of one with the same words (`other_config`)."""
        fitting = Weights.of(config, {p: [0] * len(config.electrodes.pn) for p in PLASTIC})
        if self.digest != config.digest and not other_config:
            raise FileError(
                f"weights of a chip with configuration {self.digest[:12]}, not {config.digest[:12]}"
            )
        if self.formats != fitting.formats:
            raise FileError(f"weights in formats {self.formats}, the chip has {fitting.formats}")
        if len(self.words["weight"]) != len(config.electrodes.pn):
            raise FileError(
                f"weights of {len(self.words['weight'])} microcircuits, "
                f"the chip has {len(config.electrodes.pn)}"
            )

    def in_config(self, config: ChipConfig, circuit: int) -> ChipConfig:
        """The configuration that begins with what this microcircuit has learnt, to the bit.

        ConfigError if a word is beyond the 53 bits of a real number.
        """
        fields = {"weight": ("weight", "initial"), "potentiation": ("plasticity", "potentiation")}
        fields["depression"] = ("plasticity", "depression")
        quantised = config.quantised.model_dump() | {"weight": config.quantised.weight_initial}
        for name, (section, field) in fields.items():
            word, fmt = self.words[name][circuit], QFormat.parse(self.formats[name])
            if word == quantised[name]:
                continue
            value = to_real(word, fmt)
            if quantize(value, fmt) != word:
                raise ConfigError(f"{section}.{field}: raw word {word} of {fmt} is no exact real number")
            config = config.replace(**{section: {field: value}})
        return config

    def save(self, path: Path | str) -> None:
        """Write them as TOML; FileError if that cannot be done."""
        text = tomli_w.dumps(
            {"config_sha256": self.digest, "formats": self.formats}
            | {"words": {name: list(words) for name, words in self.words.items()}}
        )
        with atomic_write(path) as file:
            file.write(text.encode())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read them; FileError names the file and the entry."""
        entries = read_toml(path)
        names = [p.name.lower() for p in PLASTIC]
        try:
            digest = entries.get("config_sha256")
            if not isinstance(digest, str):
                raise FileError("config_sha256: must be text")
            sections: list[dict[str, Any]] = []
            for section in ("formats", "words"):
                given = entries.get(section)
                if not isinstance(given, dict) or sorted(given) != sorted(names):
                    raise FileError(f"{section}: must have {', '.join(names)}")
                sections.append({name: given[name] for name in names})
            formats, words = sections
            known = {name: tuple(_checked(name, formats[name], words[name])) for name in names}
            if len({len(row) for row in known.values()}) != 1:
                raise FileError("words: must have as many entries each")
        except (FileError, TypeError, ValueError) as error:
            raise FileError(f"{path}: {error}") from None
        return cls(digest, formats, known)


def _checked(name: str, fmt: str, words: list[int]) -> Iterator[int]:
    """Raw words of a file; FileError or ValueError unless they are in their format."""
    limits = QFormat.parse(fmt)
    for place, word in enumerate(words):
        if type(word) is not int or not limits.raw_min <= word <= limits.raw_max:
            raise FileError(f"words.{name}[{place}] = {word}: no raw word of {fmt}")
        yield word
