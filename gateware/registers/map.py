"""The registers by name, from ``chip.rdl``: where each is, its fields, and what it is for.

The one source is the SystemRDL; nothing here repeats an address. A configuration has the registers of its
microcircuits and electrodes only, and those of recalibration and band-pass where it has them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import colorama  # type: ignore[import-untyped]  # comes with systemrdl
from systemrdl.compiler import RDLCompiler
from systemrdl.node import AddrmapNode, RegNode

from ...golden_model.chip import electrode_settings
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.fixed import QFormat
from ..microcircuit.parameters import Parameter, parameter_formats
from ..stimulation.registers import StimulationRegister

colorama.deinit()  # systemrdl wraps the streams of output, and takes escapes out of what others print

__all__ = [
    "BLOCKS",
    "LEVEL_HIGH",
    "WORD_BITS",
    "Field",
    "Register",
    "RegisterMap",
    "compile_map",
    "compile_rdl",
    "compile_source",
    "register_map",
]

SOURCE = Path(__file__).with_name("chip.rdl")
WORD_BITS = 32
_WORD_BYTES = WORD_BITS // 8

LEVEL_HIGH = "LEVEL_HIGH"
"""The one register of a parameter block that is not a parameter of its own: the top bits of LEVEL."""

BLOCKS: dict[str, type[enum.Enum]] = {
    "stimulation": StimulationRegister,
    "circuits": Parameter,
    "electrodes": DetectionRow,
}
"""The blocks whose registers are parameters, and what numbers them there."""


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes
    ----------
    low, width : int
        Lowest bit, and how many.
    description : str
    """

    low: int
    width: int
    description: str = ""

    @property
    def mask(self) -> int:
        """The bits, in their place."""
        return ((1 << self.width) - 1) << self.low

    def of(self, word: int) -> int:
        """What the field is in a word of its register."""
        return (word & self.mask) >> self.low


@dataclass(frozen=True)
class Register:
    """One register.

    Attributes
    ----------
    path : str
        Its name, such as ``circuits[0].WEIGHT``.
    address : int
        Byte address.
    readable, writable : bool
    fields : mapping of str to Field
    description : str
    """

    path: str
    address: int
    readable: bool
    writable: bool
    fields: Mapping[str, Field]
    description: str

    @property
    def block(self) -> str:
        """First part of its path, without a number."""
        return self.path.partition(".")[0].partition("[")[0]

    @property
    def name(self) -> str:
        """Last part of its path."""
        return self.path.partition(".")[2]

    def word(self, values: Mapping[str, int]) -> int:
        """The word with these values in its fields; ValueError if one has not the bits for it."""
        word = 0
        for name, value in values.items():
            field = self.fields[name]
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"{self.path}.{name} = {value}: it has {field.width} bits")
            word |= value << field.low
        return word


@dataclass(frozen=True)
class RegisterMap:
    """All registers of a configuration, by path and by byte address.

    Attributes
    ----------
    registers : mapping of str to Register
        By path, in ascending order of their addresses.
    by_address : mapping of int to Register
    """

    registers: Mapping[str, Register]
    by_address: Mapping[int, Register]

    @classmethod
    def of(cls, top: AddrmapNode) -> Self:
        """The registers of a compiled SystemRDL."""
        registers = sorted(map(_register, _nodes(top)), key=lambda register: register.address)
        return cls(
            MappingProxyType({register.path: register for register in registers}),
            MappingProxyType({register.address: register for register in registers}),
        )

    def __getitem__(self, path: str) -> Register:
        return self.registers[path]

    def block(self, name: str) -> tuple[Register, ...]:
        """The registers of a block, of all its numbers."""
        return tuple(register for register in self.registers.values() if register.block == name)


@cache
def register_map(config: ChipConfig) -> RegisterMap:
    """The registers that a configuration has.

    Parameters
    ----------
    config : ChipConfig

    Returns
    -------
    RegisterMap

    Raises
    ------
    ConfigError
        If there are more microcircuits or electrodes than addresses, or a format is wider than a register.
    ValueError
        If the SystemRDL and the parameters of the blocks do not agree.
    """
    top = compile_map(config)
    _check_parameters(_nodes(top), config)
    return RegisterMap.of(top)


def _nodes(top: AddrmapNode) -> list[RegNode]:
    return [node for node in top.descendants(unroll=True) if isinstance(node, RegNode)]


def compile_map(config: ChipConfig) -> AddrmapNode:
    """The compiled SystemRDL with the parameters of a configuration, for exporters.

    Parameters
    ----------
    config : ChipConfig

    Returns
    -------
    AddrmapNode

    Raises
    ------
    ConfigError
        As :func:`register_map`.
    """
    detection = _detection(config)
    wide = [
        f"{kind.name} = {fmt}"
        for kind, fmt in (
            *parameter_formats(config).items(),
            *((row, detection.row_format(row)) for row in detection.rows if row is not DetectionRow.LEVEL),
        )
        if fmt.width > WORD_BITS
    ]
    if wide:
        raise ConfigError(f"formats: {wide[0]} has more than the {WORD_BITS} bits of a register")
    level = detection.row_format(DetectionRow.LEVEL)
    if level.width > 2 * WORD_BITS:
        raise ConfigError(f"formats.detection_state = {level}: limit is {2 * WORD_BITS} bits, two registers")
    return compile_source(
        CIRCUITS=len(config.electrodes.pn),
        ELECTRODES=config.amplifier.electrodes,
        RECALIBRATION=config.recalibration.enabled,
        BANDPASS=detection.filtered,
        WIDE_LEVEL=level.width > WORD_BITS,
    )


def compile_source(**parameters: int) -> AddrmapNode:
    """The compiled SystemRDL with some of its parameters given; by default it has every register."""
    return compile_rdl(SOURCE, **parameters)


def compile_rdl(source: Path, **parameters: int) -> AddrmapNode:
    """A compiled SystemRDL with some of its parameters given."""
    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    return compiler.elaborate(parameters=dict(parameters)).top


def present_parameters(config: ChipConfig) -> dict[str, tuple[enum.Enum, ...]]:
    """The parameters that a configuration has, by block."""
    return {
        "stimulation": tuple(StimulationRegister),
        "circuits": tuple(parameter_formats(config)),
        "electrodes": _detection(config).rows,
    }


def level_format(config: ChipConfig) -> QFormat:
    """Format of LEVEL, the one word that may be wider than a register."""
    return _detection(config).row_format(DetectionRow.LEVEL)


@cache
def _detection(config: ChipConfig) -> DetectionParameters:
    return DetectionParameters(config, electrode_settings(config), config.amplifier.rate_hz)


def _register(node: RegNode) -> Register:
    fields = {
        field.inst_name: Field(field.low, field.width, _said(field.get_property("desc")))
        for field in node.fields()
    }
    return Register(
        path=node.get_path().partition(".")[2],
        address=node.absolute_address,
        readable=node.has_sw_readable,
        writable=node.has_sw_writable,
        fields=MappingProxyType(fields),
        description=_said(node.get_property("desc")),
    )


def _said(text: Any) -> str:
    return " ".join(str(text or "").split())


def _check_parameters(nodes: list[RegNode], config: ChipConfig) -> None:
    """Every parameter has its register at its number, and no other register is among them."""
    numbers = {
        block: {parameter.name: parameter.value for parameter in parameters}
        for block, parameters in present_parameters(config).items()
    }
    if level_format(config).width > WORD_BITS:
        numbers["electrodes"][LEVEL_HIGH] = DetectionRow.LEVEL.value + 1
    found: dict[str, set[str]] = {}
    for node in nodes:
        register = _register(node)
        if register.block in numbers:
            found.setdefault(register.path.partition(".")[0], set()).add(register.name)
            number = numbers[register.block].get(register.name)
            if number is None or node.address_offset != _WORD_BYTES * number:
                raise ValueError(
                    f"{SOURCE.name}: {register.path} is at offset {node.address_offset:#x} of its block, "
                    f"{BLOCKS[register.block].__name__} says {number}"
                )
    for owner, names in found.items():
        absent = numbers[owner.partition("[")[0]].keys() - names
        if absent:
            raise ValueError(f"{SOURCE.name}: {owner} has no register for {', '.join(sorted(absent))}")
