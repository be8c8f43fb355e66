"""Boards that stand in for the VLSI prosthesis, and the synthesis for them.

The names it exports are in ``__init__.pyi``.
"""

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
