"""What a package exports, loaded name by name when it is asked for.

A package's ``__init__.pyi`` says it once: ``from .config import ChipConfig as ChipConfig``. Type checkers and
editors read that file as it is; at run time :func:`facade` reads the same lines. So importing one module of a
package, ``microzone.golden_model.config`` say, does not load all the others.

Modules of microzone import from each other's modules, never from a facade: what a computation imports is then
what it is computed with.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["facade"]


def facade(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Parameters
    ----------
    package : str
        Its ``__name__``; its ``__init__.pyi`` lies beside its ``__init__.py``.

    Examples
    --------
    All that the ``__init__.py`` of such a package has, beside its docstring::

        __all__, __getattr__, __dir__ = facade(__name__)
    """
    namespace = vars(sys.modules[package])
    modules = exports(Path(namespace["__file__"]).with_suffix(".pyi"))

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(importlib.import_module(modules[name], package), name)
        return value  # the next time it is found in the namespace

    names = sorted(modules)
    return names, load, lambda: sorted({*namespace, *names})


def exports(stub: Path) -> dict[str, str]:
    """The module, relative to its package, of each name that a stub exports.

    Raises
    ------
    ValueError
        If the stub has anything but lines ``from .module import Name as Name``.
    """
    found = {}
    for line in ast.parse(stub.read_text(encoding="utf-8"), str(stub)).body:
        if not isinstance(line, ast.ImportFrom) or any(name.asname != name.name for name in line.names):
            raise ValueError(
                f"{stub}, line {line.lineno}: not of the form `from .module import Name as Name`"
            )
        found.update({name.name: "." * line.level + (line.module or "") for name in line.names})
    return found
