"""The registers of the CFPC filter by name, from ``registers.rdl``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from systemrdl.node import AddrmapNode

from ..registers.map import RegisterMap, compile_rdl

__all__ = ["CFPC_MAGIC", "cfpc_register_map", "compile_cfpc_source"]

CFPC_MAGIC = int.from_bytes(b"CFPC", "big")
_SOURCE = Path(__file__).with_name("registers.rdl")


@cache
def cfpc_register_map(synapses: int, inputs: int) -> RegisterMap:
    """The registers of a filter.

    Parameters
    ----------
    synapses : int
        G.
    inputs : int
        Basis words a step, see ``FilterWords.inputs``.
    """
    return RegisterMap.of(compile_cfpc_source(SYNAPSES=synapses, INPUTS=inputs))


def compile_cfpc_source(**parameters: int) -> AddrmapNode:
    """The compiled SystemRDL with some of its parameters given."""
    return compile_rdl(_SOURCE, **parameters)
