"""What is generated from the SystemRDL of ``gateware/`` for readers: tables, C headers, and an HTML page.

The tables and the headers are part of the repository, ``make docs`` writes them. The HTML page brings eight
megabytes of scripts and fonts with it, so that it is made where it is wanted::

    PYTHONPATH=docs python -m generate.registers FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from microzone.gateware.cfpc.map import compile_cfpc_source
from microzone.gateware.registers.map import compile_source
from peakrdl_cheader.exporter import CHeaderExporter
from peakrdl_html.exporter import HTMLExporter
from systemrdl.node import AddrmapNode, FieldNode, Node, RegfileNode, RegNode

__all__ = ["CFPC_HEADER", "HEADER", "cfpc_register_table", "register_table", "write_html", "write_registers"]

HEADER, CFPC_HEADER = "microzone.h", "cfpc.h"


def write_registers(folder: Path) -> None:
    """Write the C headers into a folder: all registers of one microcircuit and two electrodes; of pursuit.

    More of them follow at the same distance. A header for other numbers: see :func:`main`.
    """
    _write_header(compile_source(), folder / HEADER)
    _write_header(compile_cfpc_source(), folder / CFPC_HEADER)


def write_html(folder: Path, **parameters: int) -> None:
    """Write the HTML page into a folder, ``index.html`` and what it needs.

    Parameters
    ----------
    folder : Path
    **parameters : int
        Of the SystemRDL, such as ``CIRCUITS``.
    """
    exporter = HTMLExporter(generate_source_links=False)
    exporter.export(compile_source(**parameters), str(folder), title="microzone registers")


def register_table() -> str:
    """The registers of the chip in Markdown, a table a block."""
    return _register_table(compile_source())


def cfpc_register_table() -> str:
    """The registers of the CFPC filter in Markdown, a table a block."""
    return _register_table(compile_cfpc_source())


def _register_table(top: AddrmapNode) -> str:
    parts = []
    for block in top.children():
        assert isinstance(block, RegfileNode)
        where = f"{block.raw_address_offset:#06x}"
        if block.is_array:
            where += f" + {block.array_stride:#x}·i"
        parts += [f"**`{block.inst_name}`** at {where}. {_said(block)}", ""]
        parts += ["| offset | register | access | fields |", "| --- | --- | --- | --- |"]
        for register in block.children():
            assert isinstance(register, RegNode)
            parts.append(
                f"| {_offset(register)} | {_name(register)} | {_access(register)} | {_fields(register)} |"
            )
        parts.append("")
    return "\n".join(parts).strip() + "\n"


def _offset(register: RegNode) -> str:
    return f"{register.raw_address_offset:#04x}"


def _name(register: RegNode) -> str:
    number = f"[{register.array_dimensions[0]}]" if register.array_dimensions else ""
    return f"`{register.inst_name}{number}` {_said(register)}"


def _access(register: RegNode) -> str:
    return ("r" if register.has_sw_readable else "") + ("w" if register.has_sw_writable else "")


def _fields(register: RegNode) -> str:
    """Its fields, where they are more than the one that is all of it."""
    fields = list(register.fields())
    if len(fields) == 1 and fields[0].width == register.get_property("regwidth"):
        return ""
    return "<br>".join(f"`{field.inst_name}` {_bits(field)}: {_said(field)}" for field in fields)


def _bits(field: FieldNode) -> str:
    return f"{field.low}" if field.width == 1 else f"{field.high}..{field.low}"


def _said(node: Node) -> str:
    return " ".join(str(node.get_property("desc") or "").split())


def _write_header(top: AddrmapNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    CHeaderExporter().export(top, str(path), reuse_typedefs=False)


def main() -> None:
    """Write header and HTML page for some numbers of microcircuits and electrodes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--circuits", type=int, default=1)
    parser.add_argument("--electrodes", type=int, default=2)
    given = parser.parse_args()
    numbers = {"CIRCUITS": given.circuits, "ELECTRODES": given.electrodes}
    _write_header(compile_source(**numbers), given.folder / HEADER)
    write_html(given.folder, **numbers)


if __name__ == "__main__":
    main()
