"""The chip in Amaranth HDL, bit for bit the fixed-point model of ``microzone.golden_model``.

The components it exports are in ``__init__.pyi``.
"""

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
