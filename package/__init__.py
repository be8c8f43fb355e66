"""A cerebellar microcircuit that learns, as open gateware.

``golden_model``, ``gateware``, ``sim``, ``boards`` and ``host`` say what they export; ``tools`` is behind the
command line. Nothing of them is loaded before it is asked for.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
