"""The host of a chip: talk to one over a serial port or in simulation, load it, monitor it, record it.

The names it exports are in ``__init__.pyi``; what they do is in ``microzone.tools.host``.
"""

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
