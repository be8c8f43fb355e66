"""The base class of every component: that of Amaranth, with the type of its signature.

A component's ports are in the signature that its constructor makes from the configuration. Each is annotated
in the class, too, with the type that it has in Python, so that mypy, editors and readers see it::

    class Counter(Component):
        enable: Signal
        samples: stream.Interface

In a module with ``from __future__ import annotations`` these are strings, of which Amaranth makes nothing.
A port that is several signals has a protocol, beside the function that makes its signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.lib import wiring

__all__ = ["Component"]

if TYPE_CHECKING:
    Component = wiring.Component[wiring.Signature]
else:
    Component = wiring.Component  # which takes no type in brackets while it runs
