"""What the chip computes, in floating point and in fixed point. Needs no hardware tools.

The names it exports are in ``__init__.pyi``; those of CFPC and inference in their own packages.
"""

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
