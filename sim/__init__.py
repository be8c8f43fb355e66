"""Simulators, cocotb benches, and what they share: drivers, monitors, scenarios, the replay of sessions.

The names it exports are in ``__init__.pyi``.
"""

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
